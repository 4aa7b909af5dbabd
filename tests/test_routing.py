"""Attention maps, their similarity and the choice of layers: by hand, by invariance, and where the
answer is known.
"""

from math import sqrt

import pytest
import torch

from earshot.training.routing import attention, similarity, top


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lengths(*each: int) -> torch.Tensor:
    return torch.tensor(each)


def test_map_by_hand():
    # moments a = (2, 0) (mean of (3, 0) and (1, 0)), b = (−1, 1), c = (−1, −1), their mean 0:
    # cosines ab = ac = −1/√2, bc = 0. Off the diagonal, less their mean −√2/3: −1/(3√2), −1/(3√2),
    # 2/(3√2).
    frames = torch.tensor([[[3.0, 0], [1, 0], [-1, 1], [-1, 1], [-1, -1], [-1, -1]]])
    ab, bc = -1 / sqrt(12), 2 / sqrt(12)  # (−1, −1, 2) over the norm of both halves, √(2·6)
    expected = torch.tensor([[[0, ab, ab], [ab, 0, bc], [ab, bc, 0]]])
    torch.testing.assert_close(attention(frames, lengths(6), size=3), expected)


def test_moments_share_the_frames_on_their_borders():
    # four frames in three moments of 4/3: (f0 + f1/3) · 3/4, (2/3 f1 + 2/3 f2) · 3/4, (f2/3 + f3) ·
    # 3/4
    frames = random(1, 4, 5)
    f = frames[0]
    pooled = torch.stack([(f[0] + f[1] / 3), (f[1] + f[2]) * 2 / 3, (f[2] / 3 + f[3])]) * 3 / 4
    torch.testing.assert_close(
        attention(frames, lengths(4), 3), attention(pooled[None], lengths(3), 3)
    )
    every = torch.repeat_interleave(f, 3, dim=0)[None]  # the same clip in frames a third as long
    torch.testing.assert_close(attention(frames, lengths(4), 3), attention(every, lengths(12), 3))


def test_a_map_is_a_unit_vector_without_mean_or_diagonal():
    maps = attention(random(5, 49, 8), lengths(49, 49, 30, 12, 7))
    assert maps.shape == (5, 12, 12)
    torch.testing.assert_close(maps.norm(dim=(1, 2)), torch.ones(5))
    torch.testing.assert_close(maps.sum((1, 2)), torch.zeros(5), atol=1e-5, rtol=0)
    assert maps.diagonal(dim1=1, dim2=2).abs().max() == 0
    torch.testing.assert_close(maps, maps.mT)


@pytest.mark.parametrize("clip_length", [5, 12, 24, 49])
def test_rotation_scale_and_shift_change_nothing(clip_length):
    frames = random(4, clip_length, 6)
    rotation = torch.linalg.qr(random(6, 6, seed=2)).Q
    all_real = torch.full((4,), clip_length)
    expected = attention(frames, all_real)
    for changed in (frames @ rotation, 1e-3 * frames, 1e4 * frames, frames + random(6, seed=3)):
        torch.testing.assert_close(attention(changed, all_real), expected, rtol=1e-3, atol=1e-4)


def test_padding_stays_out():
    frames = random(2, 30, 6)
    padded = torch.cat([frames, torch.full((2, 10, 6), torch.nan)], 1)
    torch.testing.assert_close(
        attention(padded, lengths(30, 30)), attention(frames, lengths(30, 30))
    )
    apart = torch.cat([attention(frames[:1, :17], lengths(17)), attention(frames[1:], lengths(30))])
    torch.testing.assert_close(attention(frames, lengths(17, 30)), apart)


def test_clips_that_never_change_have_no_map():
    constant = random(1, 1, 6).expand(1, 31, 6)
    assert attention(constant * 1e3, lengths(31)).abs().max() == 0
    assert attention(torch.zeros(1, 31, 6), lengths(31)).abs().max() == 0
    assert attention(random(1, 31, 6), lengths(1)).abs().max() == 0  # a single frame
    alike = torch.eye(12)[None]  # every moment differs from every other by as much
    assert attention(alike, lengths(12)).abs().max() == 0


def test_similarity_by_hand():
    a, b = torch.tensor([[0.0, 1], [1, 0]]) / sqrt(2), torch.tensor([[1.0, 0], [0, -1]]) / sqrt(2)
    student = [torch.stack([a, a]), torch.stack([a, b])]  # two stages of two clips
    teacher = torch.stack([torch.stack([a, b]), torch.stack([a, -b])])  # two clips of two layers
    # stage 0: layer 0 (1 + 1)/2, layer 1 (0 + 0)/2; stage 1: layer 0 (1 + 0)/2, layer 1 (0 − 1)/2
    torch.testing.assert_close(similarity(student, teacher), torch.tensor([[1, 0], [0.5, -0.5]]))


def test_the_best_layers_come_first_and_of_equals_the_lower():
    table = torch.tensor([[0.1, 0.9, 0.5, 0.9, 0.2], [0.3, 0.3, 0.3, 0.3, 0.3]])
    assert top(table, 3).tolist() == [[1, 3, 2], [0, 1, 2]]
    equal = torch.zeros(1, 100)  # more than a short sort's length
    assert top(equal, 5).tolist() == [[0, 1, 2, 3, 4]]
    with pytest.raises(ValueError, match="^top=6 layers to learn from, but the teacher has 5$"):
        top(table, 6)


def test_planted_layers_are_found():
    # four layers, each with its own view of time
    clips, events = 6, [random(6, 48, 10, seed=seed) for seed in range(4)]
    teacher = torch.stack(
        [attention(layer @ random(10, 32, seed=9), torch.full((clips,), 48)) for layer in events], 1
    )
    student = []
    # the stage hears the layer's events at half its rate, in its own noisy coordinates
    for layer in (2, 0):
        coarse = events[layer].reshape(clips, 24, 2, 10).mean(2)
        coarse = coarse @ torch.linalg.qr(random(10, 10, seed=5)).Q
        student.append(
            attention(coarse + 0.3 * random(clips, 24, 10, seed=6), torch.full((clips,), 24))
        )
    found = similarity(student, teacher)
    assert top(found, 1).flatten().tolist() == [2, 0]
    assert found[0, 2] > 0.5 and found[0, [0, 1, 3]].abs().max() < 0.25
