"""Every loss against numbers worked out by hand, and what must hold whatever the numbers."""

from math import log

import pytest
import torch

from earshot.losses import UNLABELLED, cross_entropy, feature_mse, kd
from earshot.models.heads import ABSENT


def logits(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def test_cross_entropy_by_hand():
    # softmax(ln 2, 0, 0) = (2, 1, 1)/4 → −ln(2/4) = ln 2; softmax(0, ln 3, 0) = (1, 3, 1)/5, answer 2 → −ln(1/5) = ln 5
    value = cross_entropy(logits([log(2), 0, 0], [0, log(3), 0]), torch.tensor([0, 2]))
    assert value.item() == pytest.approx((log(2) + log(5)) / 2, rel=1e-12)


def test_cross_entropy_gradient_by_hand():
    z = logits([log(2), 0, 0])
    cross_entropy(z, torch.tensor([0])).backward()
    assert z.grad.tolist()[0] == pytest.approx([2 / 4 - 1, 1 / 4, 1 / 4])  # softmax − one-hot


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
    # at T = 2 the logits 2·ln w give p ∝ w: teacher (2, 1, 1)/4, student (1, 1, 2)/4.
    # KL = ½ ln 2 + ¼ ln 1 + ¼ ln ½ = ¼ ln 2; T² · KL = ln 2. The second item agrees: 0. Mean over two items: ½ ln 2.
    teacher = logits([2 * log(2), 0, 0], [1, 2, 3])
    student = logits([0, 0, 2 * log(2)], [1, 2, 3])
    value = kd(student, teacher.detach(), 2.0)
    value.backward()
    assert value.item() == pytest.approx(log(2) / 2, rel=1e-12)
    # ∂/∂z = T (p_student − p_teacher) / N = 2 · (−¼, 0, ¼) / 2
    assert student.grad.flatten().tolist() == pytest.approx([-0.25, 0, 0.25, 0, 0, 0], abs=1e-12)


def test_kd_is_the_teacher_to_student_divergence():
    # KL((2, 1, 1)/4 ‖ (6, 1, 1)/8) = ½ ln(4/6) + ½ ln 2 = ½ ln(4/3); the other way round it is ¾ ln(3/2) − ¼ ln 2
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
        assert scaled.item() == pytest.approx(temperature**2 * kd(student, teacher, 1.0).item(), rel=1e-10)


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


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_kd_averages_over_the_batch_not_over_options(temperature):
    student, teacher = random(0, 4, 3), random(1, 4, 3)
    value = kd(student, teacher, temperature).item()
    assert value > 0.1
    assert kd(student.repeat(2, 1), teacher.repeat(2, 1), temperature).item() == pytest.approx(value, rel=1e-12)
    assert sum(kd(s, t, temperature).item() for s, t in zip(student.split(1), teacher.split(1), strict=True)) / 4 == (
        pytest.approx(value, rel=1e-12)
    )


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
    assert cross_entropy(wide, answers).item() == pytest.approx(cross_entropy(student, answers).item(), rel=1e-12)


def test_feature_mse_by_hand():
    # ‖(1, 2) − (0, 0)‖² = 5, ‖(0, 0) − (3, 4)‖² = 25; mean over two items 15 (a mean over units too would say 7.5)
    student, teacher = logits([1, 2], [0, 0]), logits([0, 0], [3, 4]).detach()
    value = feature_mse(student, teacher)
    value.backward()
    assert value.item() == 15
    assert student.grad.tolist() == [[1, 2], [-3, -4]]  # 2 (F_S − F_T) / N
