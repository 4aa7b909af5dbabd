"""HuBERT's pretraining: its targets, its masks, its loss, and a whole run in miniature."""

import itertools
import json
import math
from typing import get_args

import numpy as np
import pytest
import soundfile
import torch
from learning import copied, noise, same, tiny_checkpoint
from safetensors import safe_open
from torch.nn import functional

from earshot.params import HubertPretrain, Pretrain
from earshot.pretraining import PRETRAIN, clips, hubert, masking, targets
from earshot.tables.manifest import Clip, CorpusError, write_manifest
from earshot.teacher.wav2vec2 import CheckpointError, load_backbone

SECOND = 16_000


def params(**changes) -> HubertPretrain:
    rounds = [{"clusters": 4, "steps": 6}, {"layer": 1, "clusters": 3, "steps": 6}]
    few = {"clips": 12, "batch_clips": 4, "learning_rate": 2e-3, "mask_frames": 3}
    shape = {"hidden": 24, "layers": 2, "heads": 4}
    return HubertPretrain(**{"name": "hubert", "iterations": rounds} | few | shape | changes)


def sound(number: int, seconds: float = 0.3) -> np.ndarray:
    """A clip of one of four pitches in noise, int16."""
    time = np.arange(int(SECOND * seconds)) / SECOND
    tone = np.sin(2 * np.pi * (300, 900, 2000, 4500)[number % 4] * time)
    return (8000 * tone + 2000 * np.random.default_rng(number).normal(size=len(time))).astype(
        np.int16
    )


def heard(folder, number: int = 12, held_out: int = 4, seconds=lambda i: 0.3) -> clips.Clips:
    clips.write(folder, ((sound(i, seconds(i)), i >= number) for i in range(number + held_out)))
    return clips.Clips(folder)


def clustered(read: clips.Clips, folder) -> list[np.ndarray]:
    """Return the clips' targets, from MFCC."""
    path = folder / "codes.safetensors"
    return hubert.cluster(read, hubert._features(None, read, None), 4, False, 1, path)


def train(predictor, read, codes, settings, steps: int, folder, report=lambda *_: None) -> None:
    last = folder / "last.safetensors"
    hubert.train(predictor, read, codes, settings, steps, [0], last, report)


# frames and their features


@pytest.mark.parametrize(
    "samples", [400, 401, 719, 720, 721, 3000, 15_759, 15_760, SECOND, 16_079, 16_080, 40_000]
)
def test_mfcc_lie_on_the_frames_of_the_model(samples):
    wave = np.random.default_rng(samples).normal(size=samples).astype(np.float32)
    backbone = hubert.encoder(params())
    assert len(targets.mfcc(wave)) == targets.frames(samples)
    assert backbone._get_feat_extract_output_lengths(samples) == targets.frames(samples)
    assert [targets.frames(n) for n in (0, 79, 80, 399, 400, SECOND)] == [0, 0, 0, 0, 1, 49]


def test_a_row_of_mfcc_is_of_its_own_400_samples():
    wave = noise(3, 0.4)
    rows = targets.mfcc(wave)
    assert rows.shape == (19, 39) and rows.dtype == np.float32
    for t in (0, 7, 18):
        alone = targets.mfcc(wave[320 * t : 320 * t + 400])
        # the floor of 80 dB below the loudest band of a clip does not bite in noise
        np.testing.assert_allclose(rows[t, :13], alone[0, :13], rtol=1e-4, atol=1e-3)
    slope = (np.arange(-4, 5) @ rows[5:14, :13]) / (
        2 * sum(n * n for n in range(1, 5))
    )  # a line through nine frames
    np.testing.assert_allclose(rows[9, 13:26], slope, rtol=1e-3, atol=1e-3)


def test_a_wave_loses_offset_and_level_only():
    samples = sound(1)
    wave = targets.unit_variance(samples)
    assert wave.dtype == np.float32
    assert wave.mean() == pytest.approx(0, abs=1e-5) and np.square(wave).mean() == pytest.approx(
        1, abs=1e-4
    )
    np.testing.assert_allclose(targets.unit_variance(samples // 2 * 2 + 500), wave, atol=1e-3)
    np.testing.assert_allclose(
        targets.unit_variance(samples.astype(np.float32) / 7), wave, atol=1e-4
    )
    assert np.isfinite(targets.unit_variance(np.zeros(500, np.int16))).all()


# k-means


def lloyd(frames: np.ndarray, clusters: int, restarts: int = 8) -> float:
    """The textbook's k-means: the least Σ‖x − μ‖² of some starts."""
    least = math.inf
    for start in range(restarts):
        chosen = np.random.default_rng(start).choice(len(frames), clusters, replace=False)
        centres = frames[chosen].copy()
        for _ in range(50):
            distance = np.square(frames[:, None] - centres[None]).sum(-1)
            nearest = distance.argmin(1)
            for c in range(clusters):
                if (nearest == c).any():
                    centres[c] = frames[nearest == c].mean(0)
        least = min(least, np.square(frames[:, None] - centres[None]).sum(-1).min(1).sum())
    return least


def test_the_nearest_centre_by_hand():
    codebook = targets.Codebook(
        np.array([1.0, 0.0]), np.array([2.0, 1.0]), np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    )
    # standardised: (0, 0), (1, 0) between the first two, (1.1, 0), (0, 2)
    frames = np.array([[1.0, 0.0], [3.0, 0.0], [3.2, 0.0], [1.0, 2.0]])
    assert codebook.assign(frames).tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("standardise", [True, False])
def test_the_objective_is_lloyds_within_a_few_percent(standardise):
    rng = np.random.default_rng(1)
    middles = rng.normal(size=(8, 4)) * 3  # blobs that run into one another
    frames = (
        (middles[rng.integers(8, size=1200)] + rng.normal(size=(1200, 4))) * [1, 2, 5, 1]
    ).astype(np.float32)
    codebook = targets.fit([frames[:400].copy(), frames[400:].copy()], 8, 1, standardise)
    scale = frames.std(0) if standardise else np.ones(4)
    standard = (frames - frames.mean(0)) / scale
    reference = lloyd(standard, 8)
    found = np.square(standard - codebook.centres[codebook.assign(frames)]).sum()
    guess = (
        np.square(standard[:, None] - standard[None, :8]).sum(-1).min(1).sum()
    )  # centres that nobody moved
    assert 0.99 * reference < found < 1.06 * reference < 0.8 * guess
    assert codebook.scale == pytest.approx(scale, rel=1e-3)


def test_the_same_frames_give_the_same_centres():
    frames = np.random.default_rng(2).normal(size=(3000, 6)).astype(np.float32)
    one, other = (targets.fit([frames.copy()], 16, 5, True).centres for _ in range(2))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, targets.fit([frames.copy()], 16, 6, True).centres)


def test_more_clusters_than_frames_is_an_error():
    with pytest.raises(ValueError, match="3 frames cannot make 4 clusters"):
        targets.fit([np.zeros((3, 2), np.float32)], 4, 0, True)


def test_perplexity_by_hand():
    assert targets.perplexity(np.array([3, 3, 3])) == pytest.approx(1)
    assert targets.perplexity(np.array([0, 1, 2, 5])) == pytest.approx(4)
    assert targets.perplexity(np.array([0, 0, 0, 1])) == pytest.approx(
        math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    )


# masks


@pytest.mark.parametrize(
    ("frames", "span", "chance"), [(2, 1, 0.5), (6, 3, 0.3), (7, 2, 0.1), (4, 4, 0.6)]
)
def test_the_expected_share_is_that_of_all_draws(frames, span, chance):
    starts, expected = frames - span + 1, 0.0
    for draw in itertools.product([0, 1], repeat=starts):
        weight = math.prod(chance if one else 1 - chance for one in draw)
        covered = {t for s, one in enumerate(draw) if one for t in range(s, s + span)}
        expected += weight * (len(covered) if covered else span) / frames
    assert masking.expected_share(chance, frames, span) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("frames", "span", "share"), [(49, 5, 0.5), (49, 10, 0.65), (12, 3, 0.4), (30, 1, 0.2)]
)
def test_masks_have_their_share_in_whole_spans(frames, span, share):
    masked = masking.spans(6000, frames, share, span, np.random.default_rng(7))
    assert masked.shape == (6000, frames) and masked.dtype == bool
    assert masked.mean() == pytest.approx(share, abs=0.01)
    assert masked.any(1).all()
    edges = np.diff(np.pad(masked, ((0, 0), (1, 1))).astype(int), axis=1)
    lengths = np.where(edges == -1)[1] - np.where(edges == 1)[1]
    assert lengths.min() == span
    again = masking.spans(6000, frames, share, span, np.random.default_rng(7))
    assert np.array_equal(masked, again)
    assert not np.array_equal(
        masked, masking.spans(6000, frames, share, span, np.random.default_rng(8))
    )


def test_a_clip_has_one_span_even_where_that_is_more_than_its_share():
    masked = masking.spans(500, 8, 0.2, 4, np.random.default_rng(0))
    assert (masked.sum(1) == 4).all()
    assert set(masked.argmax(1)) == {0, 1, 2, 3, 4}
    assert masking.spans(3, 2, 0.2, 4, np.random.default_rng(0)).all()


# the loss


def test_logits_are_cosines_over_the_temperature():
    projected = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    codes = torch.tensor([[1.0, 0.0], [0.0, 5.0], [-6.0, -8.0]])
    wanted = torch.tensor([[6.0, 8.0, -10.0], [0.0, -10.0, 8.0]])
    torch.testing.assert_close(hubert.logits(projected, codes, 0.1), wanted)
    torch.testing.assert_close(hubert.logits(7 * projected, codes, 0.1), wanted)


def test_the_loss_is_eq_7_and_8_frame_by_frame():
    torch.manual_seed(3)
    predictor = hubert.Predictor(hubert.encoder(params()), 5, 0.1)
    rng = np.random.default_rng(0)
    waves = torch.from_numpy(np.stack([targets.unit_variance(sound(i)) for i in range(3)]))
    masked, wanted = masking.spans(3, 14, 0.5, 3, rng), rng.integers(5, size=(3, 14))
    with torch.inference_mode():
        found = functional.cross_entropy(
            predictor(waves, torch.from_numpy(masked)), torch.from_numpy(wanted[masked])
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = predictor.backbone(
                waves, mask_time_indices=torch.from_numpy(masked)
            ).last_hidden_state
            outputs = predictor.project(outputs).double().numpy()
    codes, total, frames = predictor.codes.detach().double().numpy(), 0.0, 0
    for clip in range(3):
        for t in range(14):
            if masked[clip, t]:
                seen = outputs[clip, t]
                similar = [seen @ e / (np.linalg.norm(seen) * np.linalg.norm(e)) for e in codes]
                odds = [math.exp(value / 0.1) for value in similar]
                total -= math.log(odds[wanted[clip, t]] / sum(odds))
                frames += 1
    assert found.item() == pytest.approx(total / frames, rel=1e-4)


@pytest.mark.parametrize("start", [False, True])
def test_masked_frames_reach_the_transformer_as_the_masks_embedding(tmp_path, start):
    checkpoint = tiny_checkpoint(tmp_path, "hubert", apply_spec_augment=False) if start else None
    predictor = hubert.Predictor(hubert.encoder(params(start=checkpoint)), 3, 0.1)
    reached = []
    predictor.backbone.encoder.register_forward_pre_hook(
        lambda module, inputs: reached.append(inputs[0].float())
    )
    waves = torch.from_numpy(targets.unit_variance(sound(0)))[None]
    masked = torch.zeros(1, 14, dtype=torch.bool)
    masked[0, 4:9] = True
    assert predictor(waves, masked).shape == (5, 3)
    predictor(waves, ~masked)
    embedding = predictor.backbone.masked_spec_embed.detach().bfloat16().float()
    assert (reached[0][masked] == embedding).all() and (reached[1][~masked] == embedding).all()
    assert not (reached[0][~masked] == embedding).all(-1).any()


# clips, and how they are dealt out


def test_clips_come_back_and_those_held_out_apart(tmp_path):
    lengths = [0.3, 0.02, 0.5, 0.3, 0.2]
    clips.write(tmp_path, [*((sound(i, s), i > 3) for i, s in enumerate(lengths)), None])
    read = clips.Clips(tmp_path)
    assert [len(read[i]) for i in range(4)] == [4800, 8000, 4800, 3200] == read.lengths.tolist()
    assert all(np.array_equal(read[i], sound(j, lengths[j])) for i, j in enumerate((0, 2, 3, 4)))
    assert (read.training.tolist(), read.held_out.tolist(), read.skipped) == ([0, 1, 2], [3], 2)


@pytest.mark.parametrize("held_out", [False, True])
def test_clips_that_are_all_of_one_kind_are_an_error(tmp_path, held_out):
    with pytest.raises(
        CorpusError, match=r"pretrain: 3 usable clips, [03] of them held out: too few"
    ):
        clips.write(tmp_path, [(sound(i), held_out) for i in range(3)])


def test_made_clips_are_written_once(tmp_path, monkeypatch):
    asked = []

    def unlabelled(number, sample_rate, seed):
        asked.append((number, sample_rate, seed))
        return (sound(i) for i in range(number))

    monkeypatch.setattr(clips.scenes, "unlabelled", unlabelled)
    for _ in range(2):
        read = clips.collect(params(clips=20), 9, tmp_path / "none.parquet", tmp_path)
        assert (len(read.training), len(read.held_out)) == (20, 2)
        assert np.array_equal(read[21], sound(21))
    assert asked == [(22, SECOND, 9)]


def table(folder, splits: dict[str, str]) -> None:
    """Write a manifest of clips of 44.1 kHz: passage → split, three clips each, quiet; the first
    clip is damaged.
    """
    rows = []
    for number, (passage, split) in enumerate(splits.items()):
        for index in range(3):
            path = folder / f"{passage}-{index}.wav"
            wave = 1e-3 * noise(number * 3 + index, 0.4)
            soundfile.write(path, np.clip(wave, -1, 1), 44_100, subtype="FLOAT")
            rows.append(Clip(path.stem, str(path), 0.0, 44_100, passage, split, None, passage))
    (folder / "p0-0.wav").write_bytes(b"RIFF")
    write_manifest(rows, folder / "manifest.parquet")


def test_the_pool_is_decoded_and_whole_passages_are_held_out(tmp_path, monkeypatch):
    opened = []
    decode = clips.audio.decode
    monkeypatch.setattr(
        clips.audio, "decode", lambda path, rate: opened.append(path) or decode(path, rate)
    )
    table(tmp_path, {f"p{i}": "pool" for i in range(8)} | {"v": "validation", "t": "test"})
    read = clips.collect(
        params(clips=None, manifest="there"), 0, tmp_path / "manifest.parquet", tmp_path / "scratch"
    )
    names = [path.rsplit("/", 1)[1][:-6] for path in opened]
    assert set(names) == {f"p{i}" for i in range(8)} and len(names) == 24
    assert (
        read.skipped == 1 and len(read) == 23 and len(read.held_out) == 3
    )  # a tenth of 24 is 2: one passage
    kept = [name for name in names if name != "p0"] if names[-1] != "p0" else names
    assert len(set(kept[-3:])) == 1 and kept[-1] not in kept[:-3]
    assert all(
        20_000 < np.abs(read[i]).max() <= 32_767 for i in range(len(read))
    )  # quiet ones keep their bits
    assert abs(len(read[0]) - 0.4 * SECOND * SECOND / 44_100) < 2


def test_an_epoch_is_every_clip_once_and_batches_are_alike(tmp_path):
    lengths = np.random.default_rng(0).integers(1000, 9000, size=50)
    rows = hubert.batches(lengths, 4, [1, 0])
    assert sorted(np.concatenate(rows)) == list(range(50))
    assert np.mean([np.ptp(lengths[row]) for row in rows]) < 0.3 * np.ptp(lengths)
    again, other = hubert.batches(lengths, 4, [1, 0]), hubert.batches(lengths, 4, [1, 1])
    assert all(np.array_equal(a, b) for a, b in zip(rows, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(rows, other, strict=True))


def test_clips_of_a_batch_are_cut_with_their_targets(tmp_path):
    read = heard(tmp_path, 3, 1, seconds=lambda i: 0.3 + 0.2 * i)
    codes = [
        np.arange(targets.frames(length)) for length in read.lengths
    ]  # a frame's target says where it was
    begins = set()
    for seed in range(20):
        waves, wanted = hubert.collate(read, codes, range(3), np.random.default_rng(seed))
        assert waves.shape == (3, 400 + 13 * 320) and wanted.shape == (3, 14)
        for row in range(3):
            whole, begin = targets.unit_variance(read[row]), 320 * wanted[row, 0]
            assert np.array_equal(waves[row], whole[begin : begin + waves.shape[1]])
            assert wanted[row].tolist() == list(range(wanted[row, 0], wanted[row, 0] + 14))
        begins.add(int(wanted[2, 0]))
    assert len(begins) > 5 and max(begins) > 10


# training


def test_targets_are_every_clips_frames_and_kept(tmp_path):
    read = heard(tmp_path, seconds=lambda i: 0.3 + 0.1 * (i % 2))
    codes = clustered(read, tmp_path)
    assert [len(one) for one in codes] == [targets.frames(length) for length in read.lengths]
    pitches = [int(np.bincount(one).argmax()) for one in codes]
    assert (
        len(set(pitches)) == 4 and pitches == pitches[:4] * 4
    )  # the four pitches, those held out too

    def never(numbers):
        raise AssertionError

    again = hubert.cluster(read, never, 4, False, 1, tmp_path / "codes.safetensors")
    assert all(np.array_equal(one, other) for one, other in zip(codes, again, strict=True))


def test_it_learns_to_tell_four_pitches(tmp_path):
    torch.manual_seed(0)
    read, settings, seen = heard(tmp_path), params(learning_rate=5e-3), []
    codes = clustered(read, tmp_path)
    predictor = hubert.Predictor(hubert.encoder(settings), 4, 0.1)
    before = hubert.evaluate(predictor, read, codes, settings, 0)
    train(predictor, read, codes, settings, 80, tmp_path, lambda _, figures: seen.append(figures))
    after = hubert.evaluate(predictor, read, codes, settings, 0)
    assert seen[-1]["loss"] < 0.5 * seen[0]["loss"]
    assert after["accuracy"] > 0.8 > 0.5 > max(before["accuracy"], after["majority"])
    assert 0 <= after["accuracy_low"] <= after["accuracy"] <= after["accuracy_high"] <= 1


def test_nothing_is_learnt_from_clips_held_out(tmp_path, monkeypatch):
    read, fitted, trained = heard(tmp_path), [], []
    fit, collate = targets.fit, hubert.collate

    def counted(frames, *rest):
        frames = list(frames)
        fitted.append(sum(map(len, frames)))
        return fit(frames, *rest)

    def noted(clips, codes, numbers, rng):
        trained.extend(numbers)
        return collate(clips, codes, numbers, rng)

    monkeypatch.setattr(targets, "fit", counted)
    monkeypatch.setattr(hubert, "collate", noted)
    codes = clustered(read, tmp_path)
    assert fitted == [12 * 14]
    predictor = hubert.Predictor(hubert.encoder(params()), 4, 0.1)
    train(predictor, read, codes, params(), 6, tmp_path)
    assert sorted(trained) == sorted([*range(12), *range(12)])  # two epochs of three batches


def test_scores_of_an_oracle_and_of_one_who_always_says_the_same(tmp_path):
    read = heard(tmp_path, 6, 4, seconds=lambda i: 0.3 + 0.1 * (i % 2))
    codes = [np.full(targets.frames(length), i % 2) for i, length in enumerate(read.lengths)]

    def answer(right: bool):
        def guess(waves, masked):
            kind = (
                0 if waves.shape[1] < 5000 or not right else 1
            )  # the longer clips are of cluster 1
            return 10 * functional.one_hot(torch.full((int(masked.sum()),), kind), 2).float()

        return guess

    oracle, stubborn = (
        hubert.evaluate(answer(right), read, codes, params(), 0) for right in (True, False)
    )
    assert oracle["accuracy"] == oracle["accuracy_low"] == oracle["accuracy_high"] == 1
    assert stubborn["accuracy"] in (
        pytest.approx(oracle["majority"]),
        pytest.approx(1 - oracle["majority"]),
    )
    assert stubborn["accuracy_low"] < stubborn["accuracy"] < stubborn["accuracy_high"]
    assert oracle["loss"] == pytest.approx(math.log(1 + math.exp(-10)), rel=1e-3)
    assert oracle["clusters_used"] == 2 and 1.9 < oracle["perplexity"] <= 2


def whole(folder, report=lambda *_: None, **changes) -> dict:
    read = clips.Clips(folder / "made") if (folder / "made").exists() else heard(folder / "made")
    return hubert.run(read, params(**changes), 5, folder, folder / "checkpoint-out", report)


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> tuple[dict, dict, dict[str, torch.Tensor]]:
    """A run without interruption: its metrics, what it reported, the weights of its checkpoint."""
    folder, reported = tmp_path_factory.mktemp("straight"), {}
    metrics = whole(folder, reported.__setitem__)
    backbone, extractor = load_backbone(str(folder / "checkpoint-out"), None)
    assert extractor.do_normalize is True and not backbone.training
    assert backbone.config.hidden_size == 24
    with safe_open(folder / "checkpoint-out/model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}
        assert "masked_spec_embed" in file.keys()
    return metrics, reported, copied(backbone)


def test_a_run_reports_every_step_of_every_round(straight):
    metrics, reported, _ = straight
    assert list(reported) == list(range(12))
    for step, figures in reported.items():
        assert list(figures) == [
            f"iteration_{1 + step // 6}/{name}" for name in ("loss", "accuracy")
        ]
        assert all(map(math.isfinite, figures.values()))
    assert (metrics["clips"], metrics["held_out_clips"], metrics["skipped_clips"]) == (12, 4, 0)
    assert {len(metrics[f"iteration_{n}"]) for n in (1, 2)} == {7}
    json.dumps(metrics, allow_nan=False)


@pytest.mark.parametrize("killed_at", [1, 5, 6, 9])
def test_a_killed_run_ends_in_the_same_weights_and_scores(
    tmp_path, monkeypatch, straight, killed_at
):
    monkeypatch.setattr(hubert, "CHECKPOINT_EVERY", 2)

    def kill(step, _):
        if step == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whole(tmp_path, kill)
    reported: dict[int, dict] = {}
    metrics = whole(tmp_path, reported.__setitem__)
    assert (metrics, reported) == straight[:2]
    assert same(copied(load_backbone(str(tmp_path / "checkpoint-out"), None)[0]), straight[2])


def test_another_seed_is_another_run(tmp_path, straight):
    read, seen = heard(tmp_path / "made"), {}
    hubert.run(read, params(), 6, tmp_path, tmp_path / "out", seen.__setitem__)
    assert seen[0] != straight[1][0]


def test_pretraining_goes_on_from_a_checkpoint(tmp_path):
    start = tiny_checkpoint(tmp_path / "start", "hubert")
    seen: dict[int, dict] = {}
    rounds = [{"layer": 2, "clusters": 3, "steps": 3}]
    metrics = whole(tmp_path, seen.__setitem__, start=start, iterations=rounds)
    before, _ = load_backbone(start, None)
    after, _ = load_backbone(str(tmp_path / "checkpoint-out"), None)
    assert after.config.hidden_size == 32 and len(after.encoder.layers) == 3
    assert list(seen) == [0, 1, 2]
    weights = copied(after)
    moved = [(one - weights[name]).abs().max().item() for name, one in before.named_parameters()]
    assert 0 < max(moved) < 0.1 and "iteration_1" in metrics


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"iterations": [{"layer": 1, "clusters": 2, "steps": 1}]},
            r"iterations\.0\.layer=1 needs pretrain\.start",
        ),
        (
            {"iterations": [{"clusters": 2, "steps": 1}, {"layer": 3, "clusters": 2, "steps": 1}]},
            r"iterations\.1\.layer=3 must be at most 2",
        ),
        ({"start": "nobody/nothing"}, r"pretrain\.start: .*'nobody/nothing'"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_done(tmp_path, changes, complaint):
    with pytest.raises((ValueError, CheckpointError), match=complaint):
        whole(tmp_path, **changes)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_other_frames_are_refused(tmp_path):
    start = tiny_checkpoint(tmp_path, "hubert", conv_stride=(5, 2, 2, 2, 2, 2, 1))
    with pytest.raises(CheckpointError, match="a frame every 160 samples, not 320"):
        hubert.encoder(params(start=start))


def test_every_way_to_pretrain_can_be_asked_for():
    kinds = {
        get_args(kind.model_fields["name"].annotation)[0]
        for kind in get_args(get_args(Pretrain)[0])
    }
    assert set(PRETRAIN) == kinds


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    read = heard(tmp_path)
    codes = clustered(read, tmp_path)
    predictor = hubert.Predictor(hubert.encoder(params()), 4, 0.1)
    predictor.codes.data[0, 0] = math.nan
    with pytest.raises(FloatingPointError, match="step 0: the loss is nan"):
        train(predictor, read, codes, params(), 2, tmp_path)
