"""Convolutional students: normalisation by hand, shapes, sizes by formula, padding."""

import pytest
import torch
from students import cp_mobile, mels, mobilenet, numbered, settle
from torch import nn

from earshot.evaluation import counters as costs
from earshot.models.blocks import (
    Block,
    InputNorm,
    MeanAround,
    activate,
    inside_of,
    residual_norm,
    strided,
)
from earshot.models.cp_mobile import CPMobileStudent, NormedHead, divisible
from earshot.models.heads import ClassHead
from earshot.params import CPMobile


def test_residual_norm_by_hand():
    # 3 frames, 2 bands: means 4 and 20
    clip = torch.tensor([[1.0, 10], [3, 10], [8, 40]])[None, None]
    normed = residual_norm(clip, 0.5)[0, 0]
    # variances (9 + 1 + 16)/3 and (100 + 100 + 400)/3
    first, second = (26 / 3) ** 0.5, 200**0.5
    expected = torch.tensor(
        [
            [0.5 - 3 / first, 5 - 10 / second],
            [1.5 - 1 / first, 5 - 10 / second],
            [4 + 4 / first, 20 + 20 / second],
        ]
    )
    assert torch.allclose(normed, expected, atol=1e-4)
    padded = torch.cat([clip, torch.full((1, 1, 2, 2), 1e3)], 2)
    again = residual_norm(padded, 0.5, inside_of(torch.tensor([3]), 5))[0, 0]
    assert torch.allclose(again[:3], expected, atol=1e-4)


def test_residual_norm_takes_a_devices_response_out_but_for_its_share():
    clip, device = torch.randn(2, 1, 30, 4), torch.randn(1, 1, 1, 4) * 3
    assert torch.allclose(residual_norm(clip + device, 0.0), residual_norm(clip, 0.0), atol=1e-5)
    assert torch.allclose(
        residual_norm(clip + device, 0.1) - residual_norm(clip, 0.1),
        (0.1 * device).expand_as(clip),
        atol=1e-5,
    )


def test_a_band_that_never_moves_stays_finite():
    still = torch.full((1, 1, 5, 3), -23.0)
    assert torch.equal(residual_norm(still, 0.1), 0.1 * still)


def test_each_band_is_normalised_over_the_batch_with_the_given_momentum():
    norm = InputNorm(2, residual=1.0, momentum=0.3)
    mel = torch.tensor([[[1.0, 0], [3, 0]], [[5, 4], [7, 8]]])[:, None]
    norm(mel, None)
    assert torch.allclose(norm.bands.running_mean, 0.3 * torch.tensor([4.0, 3]))
    student = mobilenet(momentum=0.3)
    norms = [
        part for part in student.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)
    ]
    assert len(norms) == 1 + 1 + 3 * 5
    assert {part.momentum for part in norms} == {0.3}


def test_inside_by_hand():
    assert inside_of(torch.tensor([3, 3]), 3) is None
    inside = inside_of(torch.tensor([3, 5]), 5)
    assert inside[:, 0, :, 0].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert strided(inside, (2, 2))[:, 0, :, 0].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert strided(None, (2, 2)) is None


def test_activations_by_hand():
    values = torch.tensor([-1.0, 2, 9])
    assert activate(values, None).tolist() == [-1, 2, 9]
    assert activate(values, 6.0).tolist() == [0, 2, 6]
    assert activate(values, float("inf")).tolist() == [0, 2, 9]


def test_the_mean_around_counts_zeros_beyond_the_edge():
    maps = torch.arange(1.0, 13).reshape(1, 1, 3, 4)  # rows 1 2 3 4 · 5 6 7 8 · 9 10 11 12
    means = MeanAround((1, 2))(maps, None)
    assert means.shape == (1, 1, 3, 2)
    assert means[0, 0, 0, 0] == pytest.approx((1 + 2 + 5 + 6) / 9)
    assert means[0, 0, 1, 1] == pytest.approx((2 + 3 + 4 + 6 + 7 + 8 + 10 + 11 + 12) / 9)


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "pooled", "joined", "shortcut"),
    [
        (8, 8, (1, 1), False, True, False),
        (8, 12, (1, 1), True, False, False),
        (8, 8, (2, 2), False, False, False),
        (8, 8, (1, 2), True, True, True),
        (8, 12, (1, 2), True, False, False),
    ],
)
def test_blocks_are_joined_where_shapes_agree(inputs, outputs, stride, pooled, joined, shortcut):
    block = Block(inputs, 24, outputs, stride, 0.1, 6.0, pooled_shortcut=pooled).eval()
    assert (block.sum is not None, block.shortcut is not None) == (joined, shortcut)
    maps = torch.rand(2, inputs, 6, 4)
    found = block(maps, None)
    assert found.shape == (2, outputs, 6 // stride[0], 4 // stride[1])
    nn.init.zeros_(block.project.conv.weight)
    rest = block(maps, None)
    expected = MeanAround(stride)(maps, None) if shortcut else maps
    expected = expected if joined else torch.zeros_like(rest)
    assert torch.allclose(rest, expected, atol=1e-6)


def test_a_block_may_end_with_an_activation_after_the_sum():
    block = Block(8, 24, 8, (1, 1), 0.1, 6.0, final=float("inf")).eval()
    nn.init.zeros_(block.project.conv.weight)
    assert torch.equal(block(torch.full((1, 8, 3, 3), -1.0), None), torch.zeros(1, 8, 3, 3))


def test_an_expansion_of_one_has_no_first_convolution():
    assert mobilenet(expansion=1).stages[0][0].expand is None
    assert mobilenet(expansion=2).stages[0][0].expand is not None


def size(
    stem: int, widths: list[int], blocks: list[int], expansion: int, n_mels: int, classes: int
) -> int:
    total, inputs = 2 * n_mels + 9 * stem + 2 * stem, stem
    for width, number in zip(widths, blocks, strict=True):
        for _ in range(number):
            wide = expansion * inputs
            total += inputs * wide + 9 * wide + wide * width + 2 * (2 * wide + width)
            inputs = width
    return total + classes * (inputs + 1)


@pytest.mark.parametrize(
    "shape",
    [
        {"stem": 16, "widths": [16, 24, 40], "blocks": [1, 2, 2], "expansion": 4},
        {"stem": 8, "widths": [8, 12], "blocks": [3, 1], "expansion": 2},
        {"stem": 16, "widths": [16, 32, 64, 96], "blocks": [1, 1, 2, 1], "expansion": 3},
    ],
)
def test_parameters_by_formula(shape):
    assert costs.parameters(mobilenet(64, 7, **shape)) == size(**shape, n_mels=64, classes=7)


def test_what_the_stages_say():
    model = mobilenet(widths=[12, 20, 28], blocks=[2, 1, 1], stem=8)
    pooled, stages = model.encode(*mels(51, 51))
    assert pooled.shape == (2, 28) and model.width == 28
    shapes = [(2, 26, 8 * 20), (2, 26, 12), (2, 13, 20), (2, 7, 28)]
    assert [tuple(stage.shape) for stage in stages] == shapes
    assert torch.allclose(stages[-1].mean(1), pooled, atol=1e-6)
    assert torch.equal(model.pool(*mels(51, 51)), pooled)
    assert torch.equal(model(*mels(51, 51)), model.head(pooled))
    assert isinstance(model.head, ClassHead)
    assert model.head(pooled).shape == (2, 10)


def test_the_stem_says_channels_and_frequencies_side_by_side():
    model = mobilenet(n_mels=4, stem=3, widths=[4], blocks=[1])
    mel, lengths = mels(6, width=4)
    maps, _ = model.stem(model.front(mel[:, None], None), None)
    stem = model.encode(mel, lengths)[1][0]
    assert stem.shape == (1, 3, 3 * 2)
    for channel in range(3):
        assert torch.equal(stem[0, :, 2 * channel : 2 * channel + 2], maps[0, channel])


@pytest.mark.parametrize("make", [mobilenet, cp_mobile])
def test_padding_changes_nothing(make):
    model, (mel, lengths) = make(), mels(51, 50, 33, 8, 1)
    together = model.pool(torch.nn.functional.pad(mel, (0, 0, 0, 9), value=5.0), lengths)
    assert together.std() > 1e-3
    for clip, length, pooled in zip(mel, lengths, together, strict=True):
        assert torch.allclose(model.pool(clip[None, :length], length[None])[0], pooled, atol=1e-5)


def test_padding_changes_no_gradient():
    mel, lengths = mels(51, 20)
    together, alone = mobilenet(), mobilenet()
    together.pool(mel, lengths).square().sum().backward()
    for clip, length in zip(mel, lengths, strict=True):
        alone.pool(clip[None, :length], length[None]).square().sum().backward()
    for (name, one), other in zip(together.named_parameters(), alone.parameters(), strict=True):
        if not name.startswith("head"):
            assert one.grad.abs().max() > 0, name
            assert torch.allclose(one.grad, other.grad, atol=1e-4), name


def test_every_band_and_frame_is_heard():
    model, (mel, lengths) = mobilenet(), mels(20)
    pooled = model.pool(mel, lengths)
    for place in [(frame, 7) for frame in range(20)] + [(7, band) for band in range(40)]:
        changed = mel.clone()
        changed[0][place] += 3
        assert not torch.allclose(model.pool(changed, lengths), pooled, atol=1e-6), place


def test_dropout_acts_in_training_alone():
    model, (mel, lengths) = mobilenet(dropout=0.5), mels(20, 20)
    assert torch.equal(model.pool(mel, lengths), model.pool(mel, lengths))
    model.dropout.train()
    dropped = model.pool(mel, lengths)
    assert (dropped == 0).any() and not (model.eval().pool(mel, lengths) == 0).any()


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(57.6, 56), (103.68, 104), (67.2, 64), (117.6, 120), (3, 8), (18, 24)],
)
def test_channels_are_multiples_of_eight(channels, expected):
    assert divisible(channels) == expected


def test_cp_mobile_is_the_baseline():
    """256 mel, a second at 32 kHz with hop 500: 61,148 parameters and, as published, 29,419,156
    MACs, counting the factors of batch norms and a classifier of every place of the map.
    """
    model = CPMobileStudent(CPMobile(name="cp_mobile"), 256, numbered(10)).eval()
    assert costs.parameters(model) == 61_148
    frames = torch.zeros(1, 65, 256), torch.tensor([65])
    pooled, stages = model.encode(*frames)
    assert pooled.shape == (1, 104)
    shapes = [(1, 17, 32 * 64), (1, 9, 32), (1, 9, 56), (1, 9, 104)]
    assert [tuple(stage.shape) for stage in stages] == shapes
    places = 9 * 32  # the third block halves time, the fourth frequency
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    factors = sum(len(norm.weight) + len(norm.bias) for norm in norms)
    everywhere = (places - 1) * 104 * 10
    assert costs.macs(model, *frames) + everywhere + factors == 29_419_156


def test_mean_and_classifier_of_cp_mobile_change_places():
    torch.manual_seed(2)
    head, maps = settle(NormedHead(6, 3, 0.1)), torch.randn(2, 6, 4, 5)
    everywhere = head(maps.permute(0, 2, 3, 1).reshape(-1, 6)).reshape(2, 20, 3).mean(1)
    assert torch.allclose(head(maps.mean((2, 3))), everywhere, atol=1e-5)
