"""Simulated 8-bit arithmetic: folding, rounding by hand, ranges, gradients, files."""

from functools import partial

import pytest
import torch
from students import bilstm, cp_mobile, learning, mels, mobilenet, numbered, recurrent
from torch import nn

from earshot.models import checkpoint, fake_quant
from earshot.models.blocks import ConvNorm
from earshot.models.fake_quant import (
    FoldedConv,
    RangeError,
    Rounded,
    calibrate,
    freeze,
    load,
    prepare,
    rounded_bias,
    rounded_weight,
)
from earshot.params import CPMobile, MobileNet

BOTH = pytest.mark.parametrize("make", [mobilenet, cp_mobile])


def rounded(model: nn.Module) -> dict[str, Rounded]:
    return {name: part for name, part in model.named_modules() if isinstance(part, Rounded)}


def calibrated(make=mobilenet, **changes) -> nn.Module:
    return calibrate(prepare(make(**changes)), [mels(51, 51, 51, 51)])


@BOTH
def test_folding_changes_nothing(make):
    model, (mel, lengths) = make(), mels(51, 40, 7)
    folded = prepare(model, int8=False)
    assert not any(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) for part in folded.modules())
    pooled, stages = model.encode(mel, lengths)
    again, others = folded.encode(mel, lengths)
    assert torch.allclose(pooled, again, atol=1e-5)
    assert torch.allclose(model.head(pooled), folded.head(again), atol=1e-5)
    for one, other in zip(stages, others, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert folded.width == model.width
    assert model.head(pooled).std() > 0.01


def test_a_batch_norm_is_folded_by_hand():
    unit = ConvNorm(1, 2, 0.1, kernel=1).eval()
    unit.conv.weight.data = torch.tensor([2.0, 3])[:, None, None, None]
    unit.norm.running_mean = torch.tensor([1.0, 2])
    unit.norm.running_var = torch.tensor([4.0, 9]) - unit.norm.eps
    unit.norm.weight.data, unit.norm.bias.data = torch.tensor([1.0, 6]), torch.tensor([0.5, 0])
    folded = FoldedConv(unit, None)
    assert folded.weight.flatten().tolist() == pytest.approx([1, 6])  # 2 · 1/2 and 3 · 6/3
    assert folded.bias.tolist() == pytest.approx([0, -4])  # 0.5 − 1 · 1/2 and 0 − 2 · 2


def test_preparing_leaves_the_student_alone():
    model, (mel, lengths) = mobilenet(), mels(51)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prepared = calibrate(prepare(model), [(mel, lengths)]).train()
    torch.optim.SGD(prepared.parameters(), 0.1).step()
    nn.functional.cross_entropy(prepared(mel, lengths), torch.tensor([1])).backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_weights_are_rounded_by_hand():
    weight = torch.tensor([[1.28, 0.011, -0.029], [-0.64, 0.004, 0.0]])  # scales 0.02 and 0.01
    expected = [1.28, 0.02, -0.02], [-0.64, 0.0, 0.0]
    for row, other in zip(rounded_weight(weight), expected, strict=True):
        assert row.tolist() == pytest.approx(list(other), abs=1e-6)
    assert torch.equal(rounded_weight(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_every_channel_has_its_own_scale_and_seven_bits():
    weight = (
        torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0))
        * torch.logspace(-3, 1, 5)[:, None, None, None]
    )
    levels = rounded_weight(weight) / fake_quant.weight_scale(weight)[:, None, None, None]
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert levels.abs().flatten(1).amax(1).round().tolist() == [64] * 5


def test_biases_are_rounded_by_hand_and_their_gradient_is_not():
    bias = torch.tensor([0.9, -1.6], requires_grad=True)
    rounded = rounded_bias(bias, torch.tensor([0.5, 1.0]))
    assert rounded.tolist() == [1, -2]
    (rounded * torch.tensor([3.0, 4])).sum().backward()
    assert bias.grad.tolist() == [3, 4]


def test_ranges_by_hand():
    values = Rounded(momentum=0.25)
    values(torch.tensor([-1.0, 2]))
    assert (values.low.item(), values.high.item()) == (-1, 2)
    values(torch.tensor([-3.0, 6]))  # the mean of two batches
    assert (values.low.item(), values.high.item()) == (-2, 4)
    for _ in range(2):
        values(torch.tensor([-2.0, 4]))
    values(torch.tensor([-2.0, 8]))  # from the fourth on, EMA
    assert (values.low.item(), values.high.item()) == pytest.approx((-2, 5))
    values(torch.tensor([1.0, 5]))  # zero stays within
    assert values.low.item() == pytest.approx(-1.5)
    assert values.batches == 6


def test_rounding_by_hand():
    values = Rounded().eval()
    values.low, values.high = torch.tensor(-1.0), torch.tensor(1.55)  # scale 0.01, zero point 100
    scale, zero = values.grid()
    assert (scale.item(), zero.item()) == (pytest.approx(0.01), 100)
    assert values(torch.tensor([0.0, 0.012, 0.018, -3, 3])).tolist() == pytest.approx(
        [0, 0.01, 0.02, -1, 1.55], abs=1e-6
    )
    assert Rounded().eval()(torch.tensor([0.0])).tolist() == [0]


@pytest.mark.parametrize(("ceiling", "high"), [(6.0, 6.0), (float("inf"), 9.0)])
def test_behind_an_activation_clipping_to_the_range_is_the_activation(ceiling, high):
    values = Rounded(ceiling)
    values(torch.tensor([-5.0, 9]))
    assert (values.low.item(), values.high.item(), values.grid()[1].item()) == (0, high, 0)
    assert values.eval()(torch.tensor([-1.0, 100])).tolist() == pytest.approx([0, high])


def test_ranges_move_in_training_alone_and_not_when_frozen():
    model, (mel, lengths) = calibrated(), mels(51, 51)
    assert all(part.batches == 1 for part in rounded(model).values())

    def ranges() -> list[tuple[float, float]]:
        return [(part.low.item(), part.high.item()) for part in rounded(model).values()]

    before = ranges()
    model.pool(5 * mel, lengths)
    freeze(model.train())
    model.pool(5 * mel, lengths)
    assert ranges() == before
    freeze(model, False)
    model.pool(5 * mel, lengths)
    assert all(part.batches == 2 for part in rounded(model).values())
    assert ranges() != before


def test_calibration_is_the_mean_of_the_batches_extremes():
    first, second = mels(51), mels(30)
    model = prepare(mobilenet())
    extremes = [model.front.part(mel[:, None], None).aminmax() for mel, _ in (first, second)]
    calibrate(model, [first, second])
    assert model.front.rounded.low.item() == pytest.approx(
        sum(low.item() for low, _ in extremes) / 2, rel=1e-5
    )
    assert model.front.rounded.high.item() == pytest.approx(
        sum(high.item() for _, high in extremes) / 2, rel=1e-5
    )
    assert not model.training
    for unit in (model.stem[0], model.stages[1][0].expand, model.stages[1][0].depth):
        assert unit.rounded.low == 0 < unit.rounded.high <= 6
    assert model.stages[1][0].project.rounded.low < 0


@BOTH
def test_rounded_answers_are_near_the_floats(make):
    model, (mel, lengths) = make(), mels(51, 51, 51, 51)
    simulated = calibrate(prepare(model), [(mel, lengths)])
    exact, found = model(mel, lengths), simulated(mel, lengths)
    assert 1e-4 < (exact - found).abs().max() < 0.2 * exact.std()


@BOTH
def test_padding_changes_nothing_when_rounded_either(make):
    model, (mel, lengths) = calibrated(make), mels(51, 33, 8)
    together, noisy = model.pool(mel, lengths), mel.clone()
    for clip, length in zip(noisy, lengths, strict=True):
        clip[length:] = 9
    assert torch.equal(model.pool(noisy, lengths), together)
    # Sums of another shape differ in their last bit, which may lie between two levels.
    level = model.mean.rounded.grid()[0].item()
    for clip, length, pooled in zip(mel, lengths, together, strict=True):
        alone = model.pool(clip[None, :length], length[None])[0]
        assert torch.allclose(alone, pooled, atol=1.01 * level)
        assert torch.isclose(alone, pooled, atol=1e-5).float().mean() > 0.95


@BOTH
def test_every_value_between_layers_is_a_level_of_its_range(make):
    model, seen = calibrated(make), {}

    def note(name, part, inputs, output):
        seen[name] = (part, inputs[0], output)

    for name, part in model.named_modules():
        if isinstance(part, FoldedConv):
            part.register_forward_hook(partial(note, name))
    model.pool(*mels(51))
    assert len(seen) == sum(isinstance(part, ConvNorm) for part in make().modules())
    for name, (part, maps, output) in seen.items():
        for values, by in ((maps, part.input_range), (output, part.rounded)):
            scale, zero = by.grid()
            levels = values / scale + zero
            assert torch.allclose(levels, levels.round(), atol=1e-3), name
            assert levels.min() > -0.5 and levels.max() < 255.5, name


@BOTH
def test_gradients_reach_every_weight(make):
    model, (mel, lengths) = calibrated(make).train(), mels(51, 51)
    nn.functional.cross_entropy(model(mel, lengths), torch.tensor([1, 2])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_training_when_rounded_learns():
    first, last = learning(calibrated(widths=[8, 12], blocks=[1, 1], stem=8, classes=2))
    assert last < 0.5 * first


@pytest.mark.parametrize(
    ("make", "params"),
    [(mobilenet, MobileNet(name="mobilenet")), (cp_mobile, CPMobile(name="cp_mobile"))],
)
def test_a_file_holds_weights_and_ranges(tmp_path, make, params):
    model, (mel, lengths) = calibrated(make), mels(51, 20)
    checkpoint.save_weights(tmp_path / "ptq.safetensors", model.state_dict())
    again = load(params, 40, numbered(10), tmp_path / "ptq.safetensors")
    assert not again.training
    assert torch.equal(again(mel, lengths), model(mel, lengths))


def test_ranges_that_were_never_set_are_refused(tmp_path):
    model = prepare(mobilenet())
    checkpoint.save_weights(tmp_path / "raw.safetensors", model.state_dict())
    with pytest.raises(RangeError, match=r"front\.rounded: its range was never set"):
        load(MobileNet(name="mobilenet"), 40, numbered(10), tmp_path / "raw.safetensors")
    with pytest.raises(RangeError, match="never set"):
        calibrate(model, [])
    with pytest.raises(RangeError, match="no ranges"):
        calibrate(mobilenet(), [mels(51)])


def test_which_students_have_fixed_ranges():
    for student in (mobilenet(), cp_mobile(), calibrated()):
        assert fake_quant.is_static(student)
    assert not fake_quant.is_static(bilstm(recurrent()))


def test_a_prepared_student_is_its_own_folded_form():
    model = calibrated()
    assert fake_quant.folded_student(model) is model
    assert not rounded(fake_quant.folded_student(mobilenet()))
