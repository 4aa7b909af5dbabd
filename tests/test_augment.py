"""Device views and batch augmentation: what they must change, and what they must leave alone."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from earshot.features import audio
from earshot.features import views as augment
from earshot.params import Augment, Masks, MixStyle, Mixup, Roll, Views, Warp
from earshot.training.augment import (
    augment_batch,
    draw_factors,
    draw_partners,
    draw_shifts,
    freq_mixstyle,
    masks,
    mix_batch,
    mix_powers,
    mix_styles,
    roll,
    roll_batch,
    warp,
)
from earshot.training.batches import Batch


@pytest.fixture
def chosen(monkeypatch):
    """Responses that delay by `view` samples; the list of what was asked for."""
    asked = []

    def choose(folder, seed, clip_id, view, sample_rate):
        asked.append((folder, seed, clip_id, view, sample_rate))
        return np.eye(1, 8, view, dtype=np.float32)[0]

    def convolve(samples, response):
        return np.convolve(samples, response)[: len(samples)].astype(np.float32)

    monkeypatch.setattr(augment, "responses", SimpleNamespace(choose=choose, convolve=convolve))
    return asked


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 1600), 16_000)
    return path


def test_view_zero_is_the_clip_itself(chosen, clip):
    np.testing.assert_array_equal(
        augment.decode(clip, "x", 0, 16_000, Views(count=2), 7), audio.decode(clip, 16_000)
    )
    assert chosen == []


def test_a_view_is_the_clip_through_the_chosen_device(chosen, clip):
    samples = audio.decode(clip, 8_000)
    heard = augment.decode(clip, "x", 3, 8_000, Views(count=3, responses="folder"), 7)
    assert chosen == [("folder", 7, "x", 3, 8_000)]
    assert heard.dtype == np.float32 and heard.shape == samples.shape
    np.testing.assert_array_equal(heard[3:], samples[:-3])


MANIFEST = pd.DataFrame(
    {
        "id": ["one", "two", "three", "four"],
        "split": ["pool", "test", "pool", "validation"],
        "device": ["a", "a", "s1", "b"],
    }
)


@pytest.mark.parametrize(
    "views, numbers",
    [
        (Views(count=0), [1, 1, 1, 1]),
        (Views(count=2), [3, 1, 3, 1]),
        (Views(count=2, devices=["a"]), [3, 1, 1, 1]),
        (Views(count=1, devices=["b", "s1"]), [1, 1, 2, 1]),
        (Views(count=1, devices=[]), [1, 1, 1, 1]),
    ],
)
def test_only_training_clips_of_the_named_devices_have_views(views, numbers):
    expected = [
        (id, view) for id, n in zip(MANIFEST["id"], numbers, strict=True) for view in range(n)
    ]
    assert augment.keys(MANIFEST, views) == expected


def test_a_device_nobody_recorded_with_is_named():
    with pytest.raises(
        augment.ViewError, match="^views.devices: the corpus has no clip of device 'A'$"
    ):
        augment.keys(MANIFEST, Views(count=1, devices=["a", "A"]))


def batch(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3 - 5


FULL = torch.tensor([9, 9, 9])


def test_mixed_style_by_hand():
    # clip 0: frames 1, 5 → μ 3, σ 2; clip 1: frames 10, 22 → μ 16, σ 6; λ = ¾: μ = ¾·3 + ¼·16 =
    # 6.25, σ = ¾·2 + ¼·6 = 3 clip 1 with λ = 0 takes μ 3 and σ 2; the third frames are padding, and
    # stay out of μ and σ
    mel = torch.tensor([[1.0, 5.0, 99.0], [10.0, 22.0, -50.0]]).unsqueeze(-1)
    mixed = mix_styles(mel, torch.tensor([2, 2]), torch.tensor([1, 0]), torch.tensor([0.75, 0.0]))
    assert mixed[0].flatten().tolist() == pytest.approx([3.25, 9.25, 99], abs=1e-5)
    assert mixed[1].flatten().tolist() == pytest.approx([1, 5, -50], abs=1e-5)


def test_mixing_is_per_band_and_per_clip():
    mel, order, weights = batch(3, 9, 4), torch.tensor([1, 2, 0]), torch.tensor([0.2, 0.5, 0.9])
    mixed, share = mix_styles(mel, FULL, order, weights), weights[:, None]
    for statistic in (lambda x: x.mean(1), lambda x: x.std(1, correction=0)):
        own = statistic(mel)
        torch.testing.assert_close(
            statistic(mixed), share * own + (1 - share) * own[order], rtol=1e-4, atol=1e-4
        )


def test_mixing_keeps_the_pattern_over_time():
    mel = batch(3, 9, 4)
    mixed = mix_styles(mel, FULL, torch.tensor([1, 2, 0]), torch.tensor([0.2, 0.5, 0.9]))
    assert (mixed - mel).abs().max() > 0.5

    def standard(x):
        return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)

    torch.testing.assert_close(standard(mixed), standard(mel), rtol=1e-4, atol=1e-4)


def test_weight_one_and_oneself_change_nothing():
    mel, order = batch(3, 9, 4), torch.tensor([1, 2, 0])
    torch.testing.assert_close(mix_styles(mel, FULL, order, torch.ones(3)), mel)
    torch.testing.assert_close(mix_styles(mel, FULL, torch.arange(3), torch.full((3,), 0.3)), mel)


def test_padding_is_neither_heard_nor_changed():
    short, lengths, order, weights = (
        batch(2, 5, 4),
        torch.tensor([5, 5]),
        torch.tensor([1, 0]),
        torch.tensor([0.4, 0.7]),
    )
    padded = torch.cat([short, torch.full((2, 4, 4), 1e4)], 1)
    mixed = mix_styles(padded, lengths, order, weights)
    torch.testing.assert_close(mixed[:, :5], mix_styles(short, lengths, order, weights))
    assert torch.equal(mixed[:, 5:], padded[:, 5:])


def test_a_band_that_never_changes_takes_the_level_alone():
    mel = batch(2, 9, 1)
    mel[0] = -23.0259
    mixed = mix_styles(mel, FULL[:2], torch.tensor([1, 0]), torch.tensor([0.5, 0.5]))
    level = (-23.0259 + mel[1].mean()) / 2
    torch.testing.assert_close(mixed[0], level.expand(9, 1), rtol=1e-4, atol=5e-3)
    assert mixed.isfinite().all()


def test_styles_have_no_gradient():
    mel = batch(2, 9, 4).requires_grad_()
    mix_styles(mel, FULL[:2], torch.tensor([1, 0]), torch.tensor([0.5, 0.25])).sum().backward()
    other = mel.detach()
    scale = 0.5 + 0.5 * other[1].std(0, correction=0) / other[0].std(0, correction=0)
    # ∂/∂x of a fixed scale and shift
    torch.testing.assert_close(mel.grad[0], scale.expand(9, 4), rtol=1e-4, atol=1e-5)


def test_mixstyle_draws():
    mel, alpha = batch(3, 9, 4), 0.3
    assert freq_mixstyle(mel, FULL, 0.0, alpha) is mel
    torch.manual_seed(3)
    first = freq_mixstyle(mel, FULL, 1.0, alpha)
    assert not torch.equal(first, freq_mixstyle(mel, FULL, 1.0, alpha))
    torch.manual_seed(3)
    assert torch.equal(first, freq_mixstyle(mel, FULL, 1.0, alpha))
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(first, freq_mixstyle(mel, FULL, 1.0, alpha, generator))
    changed = sum(freq_mixstyle(mel, FULL, 0.4, alpha, generator) is not mel for _ in range(500))
    assert 160 < changed < 240  # 0.4 ± 3.7 deviations


def test_mixing_weights_are_beta():
    # clips of levels 0 and 1, so a clip's own new level is its λ (or 1 − λ): Beta(a, a) has mean ½,
    # variance 1/(4(2a + 1))
    mel, generator = (
        torch.tensor([0.0, 1.0]).repeat_interleave(4).reshape(2, 4, 1),
        torch.Generator().manual_seed(0),
    )
    lengths = torch.tensor([4, 4])
    levels = torch.stack(
        [freq_mixstyle(mel, lengths, 1.0, 0.3, generator)[:, 0, 0] for _ in range(2000)]
    )
    # the others met themselves
    swapped = levels[(levels - torch.tensor([0.0, 1.0])).abs().amax(1) > 1e-6]
    assert len(swapped) == pytest.approx(1000, abs=130)
    assert swapped[:, 0].mean() == pytest.approx(0.5, abs=0.05)
    assert swapped.var(0).tolist() == pytest.approx([1 / (4 * 1.6)] * 2, abs=0.015)
    assert (swapped[:, 0] + swapped[:, 1] - 1).abs().max() > 0.1  # a λ of its own for each clip


def spans(changed: torch.Tensor) -> list[tuple[int, int]]:
    """First index and width of each row's one run of True; (0, 0) without one."""
    found = []
    for row in changed.tolist():
        first, width = (row.index(True), sum(row)) if any(row) else (0, 0)
        assert all(row[first : first + width])
        found.append((first, width))
    return found


def test_masks_are_one_span_of_each_kind_and_hold_the_clips_mean():
    torch.manual_seed(0)
    mel, lengths = batch(200, 20, 10), torch.full((200,), 20)
    masked = masks(mel, lengths, Masks(time=5, frequency=3))
    changed = masked != mel
    times, bands = changed.all(2), changed.all(1)
    assert torch.equal(changed, times[:, :, None] | bands[:, None, :])
    widths = [{width for _, width in spans(rows)} for rows in (times, bands)]
    assert widths == [{0, 1, 2, 3, 4, 5}, {0, 1, 2, 3}]
    assert len(set(spans(times))) > 50  # each clip's own
    torch.testing.assert_close(
        masked[changed], mel.mean((1, 2))[:, None, None].expand(200, 20, 10)[changed]
    )


def test_one_kind_of_mask_alone():
    torch.manual_seed(0)
    mel, lengths = batch(50, 20, 10), torch.full((50,), 20)
    assert all(
        rows.all(1).equal(rows.any(1))
        for rows in masks(mel, lengths, Masks(frequency=4)).ne(mel).mT
    )
    assert all(
        rows.all(1).equal(rows.any(1)) for rows in masks(mel, lengths, Masks(time=4)).ne(mel)
    )
    assert torch.equal(masks(mel, lengths, Masks()), mel)


def test_masks_leave_padding_alone():
    torch.manual_seed(0)
    mel, lengths = batch(60, 20, 10), torch.tensor([20, 8, 3]).repeat(20)
    real = torch.arange(20) < lengths[:, None]
    mel[~real] = 1e4
    masked = masks(mel, lengths, Masks(time=6, frequency=2))
    assert torch.equal(masked[~real], mel[~real])
    assert masked[real].max() < 100
    hit = (masked != mel).all(2).any(1)
    # short clips as often as long ones
    assert all(hit[lengths == length].sum() > 10 for length in (20, 8, 3))


def test_masks_fall_on_their_share_of_the_clips():
    torch.manual_seed(0)
    mel = torch.arange(1.0, 401).view(400, 1, 1) * torch.tensor([1.0, 2.0])  # no mean is a value
    masked = masks(mel, torch.ones(400, dtype=torch.int64), Masks(p=0.25, time=1))
    # a quarter of the clips, of which one frame in two is hit: 50 ± 7
    assert 29 < (masked != mel).any(2).sum() < 71


# time roll


def test_a_roll_by_hand():
    frames = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 99], [8, 9, 0, 1]]).unsqueeze(-1)
    rolled = roll(frames, torch.tensor([4, 3, 4]), torch.tensor([1, -1, 0])).squeeze(-1)
    assert rolled.tolist() == [[4, 1, 2, 3], [6, 7, 5, 99], [8, 9, 0, 1]]  # 99 is padding


def test_the_teachers_front_end_is_rolled_by_as_much_time():
    batch = labelled([0, 1], frames=4)
    frames = torch.tensor([[1.0, 2], [3, 4]]).unsqueeze(-1)  # half the student's pace
    batch.signals = {"front": frames, "front_lengths": torch.tensor([2, 2]), "logits": LOGITS}
    roll_batch(batch, torch.tensor([2, 0]))  # 2 of 4 frames are 1 of 2
    assert batch.signals["front"].squeeze(-1).tolist() == [[2, 1], [3, 4]]
    assert batch.signals["logits"] is LOGITS


def test_shifts_are_even_and_spare_the_rest():
    torch.manual_seed(0)
    counts = torch.bincount(draw_shifts(7000, Roll(frames=3)) + 3)
    assert counts.numel() == 7 and (counts - 1000).abs().max() < 120  # four deviations
    still = (draw_shifts(7000, Roll(p=0.3, frames=3)) == 0).sum().item()
    assert still == pytest.approx(7000 * (0.7 + 0.3 / 7), abs=160)


# mixup

LOGITS = torch.tensor([[4.0, 0, 0], [0, 8, 0]])


def labelled(answers: list[int], frames: int = 1, classes: int = 3) -> Batch:
    """A batch of clips of the given classes, −1 unknown; clip b's one band is at b."""
    items = [SimpleNamespace(options=tuple("abcdef"[:classes])) for _ in answers]
    clips = len(answers)
    return Batch(
        items=items,
        views=[0] * clips,
        sequences=torch.arange(float(clips))[:, None, None].repeat(1, frames, 1),
        lengths=torch.full((clips,), frames),
        passage=torch.arange(clips),
        inputs={},
        targets={"answers": torch.tensor(answers)},
    )


def test_powers_are_mixed_by_hand():
    # ln(¾·2 + ¼·6) = ln 3; the second keeps itself; the third's partner ends after a frame, behind
    # it λ·8 = 4 remain of 8
    mel = torch.tensor([[2.0, 2], [6, 6], [8, 8], [4, 9]]).log().unsqueeze(-1)
    lengths, order = torch.tensor([2, 2, 2, 1]), torch.tensor([1, 0, 3, 2])
    mixed = mix_powers(mel, lengths, order, torch.tensor([0.75, 1, 0.5, 0.5])).exp().squeeze(-1)
    torch.testing.assert_close(mixed, torch.tensor([[3.0, 3], [6, 6], [6, 4], [6, 9]]))


def test_labels_and_the_teachers_signals_are_mixed_by_hand():
    batch = labelled([0, 2])
    maps = torch.randn(2, 3, 12, 12)
    batch.signals = {"logits": LOGITS, "attention": maps}
    mix_batch(batch, torch.tensor([1, 0]), torch.tensor([0.75, 1.0]))
    assert batch.targets["answers"].tolist() == [[0.75, 0, 0.25], [0, 0, 1]]
    assert batch.signals["logits"].tolist() == [[3, 2, 0], [0, 8, 0]]
    assert batch.signals["attention"] is maps


def test_an_unknown_label_stays_unknown():
    batch = labelled([-1, 1, -1])
    mix_batch(batch, torch.tensor([2, 1, 0]), torch.full((3,), 0.5))
    assert batch.targets["answers"].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_partners_are_of_the_same_kind_and_a_share_keeps_to_itself():
    torch.manual_seed(0)
    known = torch.arange(4000) % 3 == 0
    order, weights = draw_partners(known, Mixup(p=0.25, alpha=0.3))
    assert torch.equal(known[order], known)
    assert sorted(order.tolist()) == list(range(4000))
    assert weights.min() >= 0.5 and weights.max() <= 1
    assert (weights < 1).sum().item() == pytest.approx(1000, abs=120)


def test_mixing_nothing_changes_no_bit():
    batch = labelled([0, 1, 2], frames=5)
    before = batch.sequences + torch.randn(3, 5, 1) / 3
    batch.sequences = before
    mix_batch(batch, torch.tensor([1, 2, 0]), torch.ones(3))
    roll_batch(batch, torch.zeros(3, dtype=torch.int64))
    assert torch.equal(batch.sequences, before)


def test_a_warp_by_hand():
    mel = torch.tensor([[[0.0, 2.0, 4.0, 8.0]]]).repeat(3, 1, 1)  # (3, 1, 4)
    warped = warp(mel, torch.tensor([1.0, 1.5, 0.5]))
    # bands 0, 1.5, 3 and beyond the last, 4.5; bands 0, 0.5, 1, 1.5
    expected = [[[0.0, 2.0, 4.0, 8.0]], [[0.0, 3.0, 8.0, 8.0]], [[0.0, 1.0, 2.0, 3.0]]]
    torch.testing.assert_close(warped, torch.tensor(expected))
    assert torch.equal(warped[0], mel[0])


def test_factors_are_even_and_spare_the_rest():
    torch.manual_seed(0)
    factors = draw_factors(40_000, Warp(p=0.5, by=0.2))
    moved = factors[factors != 1]
    assert len(moved) == pytest.approx(20_000, rel=0.05)
    assert 0.8 <= moved.min() < 0.81 and 1.19 < moved.max() <= 1.2
    assert moved.mean() == pytest.approx(1, abs=0.005)


# all of it


def test_a_batch_is_rolled_mixed_and_masked_and_repeats_with_its_seed():
    params = Augment(
        roll=Roll(frames=2),
        mixup=Mixup(p=0.5),
        mixstyle=MixStyle(p=1.0),
        warp=Warp(by=0.3),
        masks=Masks(time=3, frequency=2),
    )
    mel, changed = batch(3, 9, 4), labelled([0, 1, 2])
    changed.sequences, changed.lengths = mel, FULL
    torch.manual_seed(5)
    augment_batch(changed, params)
    torch.manual_seed(5)
    expected = roll(mel, FULL, draw_shifts(3, params.roll))
    expected = mix_powers(expected, FULL, *draw_partners(torch.ones(3).bool(), params.mixup))
    expected = freq_mixstyle(expected, FULL, 1.0, 0.3)
    expected = masks(warp(expected, draw_factors(3, params.warp)), FULL, params.masks)
    assert torch.equal(changed.sequences, expected)
    assert not torch.equal(expected, mel)


def test_without_augmentation_a_batch_is_the_same_and_nothing_is_drawn():
    plain = labelled([0, 1])
    mel, answers, state = plain.sequences, plain.targets["answers"], torch.get_rng_state()
    augment_batch(plain, Augment())
    assert plain.sequences is mel and plain.targets["answers"] is answers
    assert torch.equal(torch.get_rng_state(), state)
