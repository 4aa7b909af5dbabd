"""Every loss against numbers worked out by hand, and what must hold whatever the numbers."""

from math import e, log, sqrt

import pytest
import torch

from earshot.models.heads import ABSENT
from earshot.training.losses import (
    UNLABELLED,
    cross_entropy,
    feature_mse,
    fixed_projection,
    front_alignment,
    kd,
    layered_kd,
    resample,
)
from earshot.training.losses import temperature as annealed


def logits(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True)


def random(seed: int, *shape: int) -> torch.Tensor:
    return (
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2
    )


def test_cross_entropy_and_its_gradient_by_hand():
    # softmax(ln 2, 0, 0) = (2, 1, 1)/4 → −ln(2/4) = ln 2; softmax(0, ln 3, 0) = (1, 3, 1)/5, answer
    # 2 → −ln(1/5) = ln 5
    value = cross_entropy(logits([log(2), 0, 0], [0, log(3), 0]), torch.tensor([0, 2]))
    assert value.item() == pytest.approx((log(2) + log(5)) / 2, rel=1e-12)
    z = logits([log(2), 0, 0])
    cross_entropy(z, torch.tensor([0])).backward()
    assert z.grad.tolist()[0] == pytest.approx([2 / 4 - 1, 1 / 4, 1 / 4])  # softmax − one-hot


def test_cross_entropy_of_soft_labels_by_hand():
    # ¾ ln(4/2) + ¼ ln(4/1) = 1.25 ln 2; a row of zeros is no labelled item
    z = logits([log(2), 0, 0], [5, 6, 7])
    value = cross_entropy(z, torch.tensor([[0.75, 0, 0.25], [0, 0, 0]], dtype=torch.float64))
    value.backward()
    assert value.item() == pytest.approx(1.25 * log(2), rel=1e-12)
    assert z.grad[1].abs().max() == 0


def test_unlabelled_items_contribute_nothing():
    labelled, answers = random(0, 3, 4), torch.tensor([1, 0, 3])
    mixed = torch.cat([labelled, random(1, 2, 4)]).requires_grad_()
    value = cross_entropy(mixed, torch.cat([answers, torch.tensor([UNLABELLED, UNLABELLED])]))
    value.backward()
    assert value.item() == pytest.approx(cross_entropy(labelled, answers).item(), rel=1e-12)
    assert mixed.grad[3:].abs().max() == 0
    assert mixed.grad[:3].abs().min() > 0


def test_all_unlabelled_is_zero_with_zero_gradient():
    z = random(0, 2, 3).requires_grad_()
    value = cross_entropy(z, torch.tensor([UNLABELLED, UNLABELLED]))
    value.backward()
    assert value.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_kd_by_hand():
    # at T = 2 the logits 2·ln w give p ∝ w: teacher (2, 1, 1)/4, student (1, 1, 2)/4. KL = ½ ln 2 +
    # ¼ ln 1 + ¼ ln ½ = ¼ ln 2; T² · KL = ln 2. The second item agrees: 0. Mean over two items: ½ ln
    # 2.
    teacher = logits([2 * log(2), 0, 0], [1, 2, 3])
    student = logits([0, 0, 2 * log(2)], [1, 2, 3])
    value = kd(student, teacher.detach(), 2.0)
    value.backward()
    assert value.item() == pytest.approx(log(2) / 2, rel=1e-12)
    # ∂/∂z = T (p_student − p_teacher) / N = 2 · (−¼, 0, ¼) / 2
    assert student.grad.flatten().tolist() == pytest.approx([-0.25, 0, 0.25, 0, 0, 0], abs=1e-12)


def test_kd_is_the_teacher_to_student_divergence():
    # KL((2, 1, 1)/4 ‖ (6, 1, 1)/8) = ½ ln(4/6) + ½ ln 2 = ½ ln(4/3); the other way round it is ¾
    # ln(3/2) − ¼ ln 2
    teacher, student = logits([log(2), 0, 0]), logits([log(6), 0, 0])
    assert kd(student, teacher, 1.0).item() == pytest.approx(log(4 / 3) / 2, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 8.0])
def test_kd_and_its_gradient_vanish_when_logits_agree(temperature):
    teacher = random(0, 4, 3)
    student = (teacher + 5.0).requires_grad_()  # a constant cancels in the softmax
    value = kd(student, teacher, temperature)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max().item() < 1e-12


def test_kd_temperature_divides_logits_and_its_square_multiplies():
    student, teacher = random(0, 4, 3), random(1, 4, 3)
    for temperature in (2.0, 5.0):
        scaled = kd(temperature * student, temperature * teacher, temperature)
        assert scaled.item() == pytest.approx(
            temperature**2 * kd(student, teacher, 1.0).item(), rel=1e-10
        )


def test_kd_at_high_temperature_is_half_the_variance_of_the_difference():
    # T² KL(p_T ‖ p_S) → 1/(2C) Σ (dᵢ − d̄)²: d = (3, 0, −3), C = 3 → 18/6 = 3, whatever T
    student, teacher = logits([1, -2, 4]), logits([4, -2, 1]).detach()
    values, gradients = [], []
    for temperature in (1_000.0, 10_000.0):
        student.grad = None
        value = kd(student, teacher, temperature)
        value.backward()
        values.append(value.item())
        gradients.append(student.grad.flatten().tolist())
    assert values == pytest.approx([3, 3], rel=2e-3)
    for gradient in gradients:  # −(dᵢ − d̄)/C, so terms of any temperature weigh alike
        assert gradient == pytest.approx([-1, 0, 1], abs=5e-3)


@pytest.mark.parametrize("temperature", [0.5, 2.0, 8.0])
def test_an_absent_option_changes_nothing(temperature):
    student, teacher = random(0, 4, 3), random(1, 4, 3)
    absent = torch.full((4, 2), ABSENT, dtype=torch.float64)
    wide = torch.cat([student, absent], 1).requires_grad_()
    value = kd(wide, torch.cat([teacher, absent], 1), temperature)
    value.backward()
    assert value.item() == pytest.approx(kd(student, teacher, temperature).item(), rel=1e-12)
    assert torch.equal(wide.grad[:, 3:], torch.zeros(4, 2, dtype=torch.float64))

    answers = torch.tensor([0, 1, 2, 0])
    assert cross_entropy(wide, answers).item() == pytest.approx(
        cross_entropy(student, answers).item(), rel=1e-12
    )


def test_feature_mse_by_hand():
    # ‖(1, 2) − (0, 0)‖² = 5, ‖(0, 0) − (3, 4)‖² = 25; mean over two items 15 (a mean over units too
    # would say 7.5)
    student, teacher = logits([1, 2], [0, 0]), logits([0, 0], [3, 4]).detach()
    value = feature_mse(student, teacher)
    value.backward()
    assert value.item() == 15
    assert student.grad.tolist() == [[1, 2], [-3, -4]]  # 2 (F_S − F_T) / N


def test_front_alignment_by_hand():
    # W = identity, b = 0: LayerNorm(3, 1) = (1, −1), LayerNorm(1, 5) = (−1, 1). Student (1, 0): cos
    # 1/√2; (−2, 2): cos 1
    teacher = torch.tensor([[[3.0, 1.0], [1.0, 5.0]]], dtype=torch.float64)
    student = torch.tensor([[[1.0, 0.0], [-2.0, 2.0]]], dtype=torch.float64)
    value = front_alignment(student, teacher, torch.eye(2).double(), torch.zeros(2).double())
    assert value.item() == pytest.approx((1 - 1 / sqrt(2)) / 2, abs=1e-5)


def fronts(clips: int) -> tuple[torch.Tensor, ...]:
    """Student `(N, 7, 4)`, teacher `(N, 11, 6)`, weight `(4, 6)` and bias `(4,)`."""
    return random(0, clips, 7, 4), random(1, clips, 11, 6), random(2, 4, 6), random(3, 4)


def test_front_alignment_projects_then_resamples():
    student, teacher, weight, bias = fronts(3)
    projected = torch.nn.functional.layer_norm(teacher @ weight.T + bias, (4,))
    target = torch.nn.functional.interpolate(projected.mT, 7, mode="linear", align_corners=False).mT
    expected = 1 - (student * target).sum(-1) / (student.norm(dim=-1) * target.norm(dim=-1))
    value = front_alignment(student, teacher, weight, bias)
    assert value.item() == pytest.approx(expected.mean().item(), rel=1e-6)


def test_front_alignment_of_silent_frames_is_one_without_gradient():
    student, teacher = random(0, 1, 2, 4), random(1, 1, 2, 4)
    student[0, 1] = 0
    identity = torch.eye(4).double(), torch.zeros(4).double()
    value = front_alignment(student.requires_grad_(), teacher, *identity)
    value.backward()
    alone = front_alignment(student[:, :1], teacher[:, :1], *identity)
    assert value.item() == pytest.approx((alone.item() + 1) / 2, rel=1e-6)
    assert student.grad[0, 1].abs().max() == 0 and student.grad[0, 0].abs().max() > 0


def test_front_alignment_leaves_padding_out():
    student, teacher, weight, bias = fronts(2)
    short = front_alignment(student[:1, :3], teacher[:1, :5], weight, bias)
    whole = front_alignment(student[1:], teacher[1:], weight, bias)
    both = front_alignment(
        student, teacher, weight, bias, torch.tensor([3, 7]), torch.tensor([5, 11])
    )
    assert both.item() == pytest.approx((3 * short + 7 * whole).item() / 10, rel=1e-6)


@pytest.mark.parametrize("frames, to", [(5, 5), (4, 9), (9, 4), (1, 3), (3, 1), (49, 26)])
def test_resampling_equals_torch(frames, to):
    sequences = random(0, 2, frames, 3)
    expected = torch.nn.functional.interpolate(
        sequences.mT, to, mode="linear", align_corners=False
    ).mT
    same = resample(sequences, torch.tensor([frames, frames]), to, torch.tensor([to, to]))
    torch.testing.assert_close(same, expected, rtol=1e-5, atol=1e-6)


def best_constant(
    teacher: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, learned: bool
) -> float:
    """Front alignment after training a student that says the same whatever it hears, with W_p or
    without.
    """
    trained = [random(9, weight.shape[0]), *([weight.clone(), bias.clone()] if learned else [])]
    for _ in range(300):
        constant, *projection = [each.detach().requires_grad_() for each in trained]
        said = constant.expand(*teacher.shape[:2], -1)
        value = front_alignment(said, teacher, *(projection or (weight, bias)))
        value.backward()
        trained = [each - each.grad for each in (constant, *projection)]
    return value.item()


def test_a_learned_projection_lets_a_constant_student_win():
    """The flaw of eqs. (14)–(15) as printed, and why our projection is fixed and centred."""
    teacher = random(0, 8, 5, 12) + 3  # frames share a mean, as a network's do
    weight, bias = fixed_projection(teacher.mean((0, 1)), 10, seed=0)
    nothing, constant = torch.zeros_like(weight), random(1, 10)
    same = constant.sub(constant.mean()).expand(8, 5, 10)
    assert front_alignment(same, teacher, nothing, constant).item() == pytest.approx(0, abs=1e-5)
    assert best_constant(teacher, weight, bias, learned=True) < 0.01  # and training finds it
    fixed = best_constant(teacher, weight, bias, learned=False)
    assert fixed > 0.7
    # why it is centred
    assert best_constant(teacher, weight, torch.zeros_like(bias), learned=False) < fixed - 0.2


@pytest.mark.parametrize("width, teacher_width", [(4, 9), (9, 4), (6, 6)])
def test_fixed_projection(width, teacher_width):
    frames = random(0, 50, teacher_width) + 2
    weight, bias = fixed_projection(frames.mean(0), width, seed=3)
    assert weight.shape == (width, teacher_width) and bias.shape == (width,)
    gram = weight @ weight.T if width <= teacher_width else weight.T @ weight
    torch.testing.assert_close(gram, torch.eye(min(width, teacher_width), dtype=torch.float64))
    torch.testing.assert_close(
        (frames @ weight.T + bias).mean(0), torch.zeros(width, dtype=torch.float64)
    )
    assert torch.equal(fixed_projection(frames.mean(0), width, seed=3)[0], weight)
    assert not torch.equal(fixed_projection(frames.mean(0), width, seed=4)[0], weight)


def test_temperature_falls_from_the_highest_to_the_lowest():
    assert annealed(0, 8.0, 2.0, 0.01) == 8  # as printed, eq. (16) would say 10
    assert annealed(100, 8.0, 2.0, 0.01) == pytest.approx(2 + 6 / e)
    assert annealed(10_000, 8.0, 2.0, 0.01) == pytest.approx(2)
    assert annealed(500, 8.0, 2.0, 0.0) == 8


def test_layered_kd_by_hand():
    # T = 1. One item, one stage, p_S = (1, 1)/2; layers (3, 1)/4, (1, 1)/2 and (1, 3)/4; routes 0
    # and 1: KL((3, 1)/4 ‖ ½) = ¾ ln 3/2 + ¼ ln ½, and 0
    teacher = torch.tensor([[[log(3), 0], [0, 0], [0, log(3)]]], dtype=torch.float64)
    alone = 0.75 * log(1.5) + 0.25 * log(0.5)
    value = layered_kd([logits([5, 5])], teacher, torch.tensor([[0, 1]]), 1.0)
    assert value.item() == pytest.approx(alone, rel=1e-12)  # a sum over layers, not their mean
    two = layered_kd([logits([5, 5]), logits([0, 0])], teacher, torch.tensor([[0, 1], [0, 2]]), 1.0)
    assert two.item() == pytest.approx((alone + 2 * alone) / 2, rel=1e-12)  # the mean over stages


def test_layered_kd_is_the_sum_of_what_each_stage_learns_from_each_layer():
    student, teacher = [random(seed, 5, 3) for seed in (0, 1)], random(2, 5, 4, 3)
    routes = torch.tensor([[3, 0, 2], [1, 3, 0]])
    terms = [[kd(student[s], teacher[:, layer], 3.0) for layer in routes[s]] for s in range(2)]
    value = layered_kd(student, teacher, routes, 3.0).item()
    assert value == pytest.approx((sum(terms[0]) + sum(terms[1])).item() / 2, rel=1e-12)
