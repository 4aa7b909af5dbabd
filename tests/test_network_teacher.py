"""A network of ours as teacher: trained on labels or loaded, cached like any other."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from learning import CLASSES, clips, copied, mel_store, noting, same, scene

from earshot.distillation.distill import Distillation
from earshot.features.log_mel import log_mel
from earshot.features.recordings import Recordings
from earshot.models import checkpoint
from earshot.models.students import STUDENTS
from earshot.params import (
    BiLSTM,
    Cache,
    CPMobile,
    Distill,
    Features,
    NetworkTeacher,
    Recipe,
    Terms,
    Views,
)
from earshot.tables import signals
from earshot.teacher import ask, cache, saved, tune
from earshot.teacher.kinds import build
from earshot.training.batches import Loader, pad_frames
from earshot.training.loop import predict

FRONT = Features(n_mels=12, n_fft=512, win_length=512, hop_length=320, norm="none")
WIDE = CPMobile(name="cp_mobile", base_channels=16, momentum=0.5)  # few steps
SECONDS = {f"u{n}": 0.5 + 0.05 * n for n in range(6)}
CLIPS = [scene(f"u{n}", n % 3, ("fewshot", "pool")[n // 3]) for n in range(6)]
LABELLED = CLIPS[:3]
VIEWS = Views(count=1, devices=["a"])  # u0, u2 and u4


def params(**changes) -> NetworkTeacher:
    known = {"track": "any", "network": WIDE, "features": FRONT, "epochs": 2, "batch": 2}
    return NetworkTeacher(**known | changes)


@pytest.fixture
def recordings(tmp_path) -> Recordings:
    return Recordings(clips(tmp_path / "clips", SECONDS), VIEWS, seed=3)


def tuned(one: NetworkTeacher, recordings: Recordings, root: Path, seed: int = 0) -> Path:
    """Tune a teacher; return the folder where it is saved."""
    scratch, out = root / f"scratch-{seed}", root / f"teacher-{seed}"
    silent = noting([])
    tune.tune(one, "classes", recordings, LABELLED, LABELLED, seed, scratch, out, silent)
    return out


def cached(one: NetworkTeacher, recordings: Recordings, folder: Path, out: Path, **changes):
    kept = Cache(**{"part": 2} | changes)
    who = signals.identity(folder)
    asker = ask.Asker(one, "classes", folder, recordings, kept)
    cache.write(out, asker, who, CLIPS, recordings.views, kept)
    return signals.Signals(out, CLIPS, who, kept.model_dump(), recordings.views)


class Tones:
    """Labelled clips and a pool: noisy tones, a pitch for each class; and their log-mel."""

    def __init__(self, folder: Path):
        rng = np.random.default_rng(5)
        ids = [f"{role}-{n}" for role in ("fewshot", "pool") for n in range(18)]
        manifest = clips(folder / "clips", dict.fromkeys(ids, 0.4))
        time = np.arange(6400) / 16_000
        for id, path in zip(manifest["id"], manifest["path"], strict=True):
            pitch = (400, 1200, 3000)[int(id.split("-")[1]) % 3] * rng.uniform(0.95, 1.05)
            samples = 0.3 * np.sin(2 * np.pi * pitch * time) + rng.normal(0, 0.02, len(time))
            soundfile.write(path, samples, 16_000, subtype="PCM_16")
        self.recordings = Recordings(manifest)
        self.labelled = [scene(f"fewshot-{n}", n % 3) for n in range(18)]
        self.pool = [scene(f"pool-{n}", n % 3, "pool") for n in range(18)]
        frames = {id: log_mel(self.recordings[id, 0], FRONT).astype(np.float16) for id in ids}
        self.mel = mel_store(folder / "mel.parquet", frames)


def own_frames(recordings: Recordings, key: tuple[str, int]) -> torch.Tensor:
    """Return a clip's log-mel `(1, T, F)` as it is stored: in half precision."""
    return pad_frames([log_mel(recordings[key], FRONT).astype(np.float16)])


def test_what_is_cached_is_what_the_network_makes_of_the_same_frames(tmp_path, recordings):
    folder = tuned(params(), recordings, tmp_path)
    found = cached(params(), recordings, folder, tmp_path / "cache")
    weights = checkpoint.load_weights(folder / "tuned.safetensors")
    network = STUDENTS["cp_mobile"](WIDE, FRONT.n_mels, CLASSES)
    network.load_state_dict({k.removeprefix("network."): v for k, v in weights.items()})
    network.eval()
    asked = [(clip.id, view) for clip in CLIPS for view in recordings.views[clip.id]]
    assert len(asked) == 6 + 3
    for id, view in asked:
        mel = own_frames(recordings, (id, view))
        with torch.inference_mode():
            pooled = network.pool(mel, torch.tensor([mel.shape[1]]))  # (1, D)
            logits = network.head(pooled)  # (1, C)
        close = {"rtol": 1e-4, "atol": 1e-4}  # there in a batch, padded
        np.testing.assert_allclose(found["logits", id, view][:, 0], logits[0], **close)
        np.testing.assert_allclose(found["hidden", id, view], pooled, rtol=2e-3, atol=2e-3)
    assert found.widths.keys() == {"logits", "hidden"}


def test_training_augments_as_a_students_does_and_repeats_to_the_bit(tmp_path, recordings):
    augment = {"roll": {"frames": 3}, "mixup": {"p": 1.0}, "masks": {"frequency": 2}}
    settings = {"one": augment, "again": augment, "plain": {}}
    who, seen = {}, []
    for name, changes in settings.items():
        row = params(augment=changes)
        task = ("classes", recordings, LABELLED, LABELLED, 1, tmp_path / f"scratch-{name}")
        tune.tune(row, *task, tmp_path / name, noting(seen))
        who[name] = signals.identity(tmp_path / name)
    assert who["one"] == who["again"] != who["plain"]
    assert [epoch for epoch, _ in seen] == [0, 1] * 3


def test_weights_of_a_file_teach_as_they_are(tmp_path, recordings):
    torch.manual_seed(4)
    network = STUDENTS["cp_mobile"](WIDE, FRONT.n_mels, CLASSES)
    file = tmp_path / "wide.safetensors"
    checkpoint.save_weights(file, network.state_dict())
    given, seen = params(weights=str(file), epochs=0), []
    assert given.starts == [str(file)] and params().starts == []  # what `inputs` links
    task = ("classes", recordings, LABELLED, LABELLED, 0, tmp_path / "scratch")
    tune.tune(given, *task, tmp_path / "saved", noting(seen))
    loaded, _ = saved.load(given, "classes", tmp_path / "saved")
    assert same(copied(loaded.network), copied(network))
    assert len(seen) == 1 and 0 <= seen[0][1]["validation"] <= 1


def test_weights_of_another_network_are_refused(tmp_path, recordings):
    file = tmp_path / "small.safetensors"
    small = WIDE.model_copy(update={"base_channels": 8})
    checkpoint.save_weights(file, STUDENTS["cp_mobile"](small, FRONT.n_mels, CLASSES).state_dict())
    with pytest.raises(checkpoint.WeightsError, match=r"small.safetensors: weights of another.*is"):
        build(params(weights=str(file)), CLASSES)
    with pytest.raises(checkpoint.WeightsError, match=r"none.safetensors: no such file"):
        build(params(weights=str(tmp_path / "none.safetensors")), CLASSES)
    folder = tuned(params(), recordings, tmp_path)
    other = params(features=FRONT.model_copy(update={"fmin": 50.0}))
    with pytest.raises(ValueError, match=r"teacher-0 was tuned"):
        saved.load(other, "classes", folder)


def test_layers_that_are_equally_wide_are_kept_from_the_top(tmp_path, recordings):
    two = params(network=BiLSTM(name="bilstm", hidden=5, layers=2, stack=2), epochs=1)
    folder = tuned(two, recordings, tmp_path)
    found = cached(two, recordings, folder, tmp_path / "cache", layers=[0, 1])
    model, _ = saved.load(two, "classes", folder)
    mel = own_frames(recordings, ("u1", 0))
    with torch.inference_mode():
        pooled, layers = model.encode(mel, torch.tensor([mel.shape[1]]))
    expected = torch.cat([pooled, layers[0].mean(1)])  # nothing is padded: (2, D)
    np.testing.assert_allclose(found["hidden", "u1", 0], expected, rtol=2e-3, atol=2e-3)


@pytest.mark.slow
def test_two_networks_teach_a_student_that_was_given_no_label(tmp_path):
    """Teachers, caches, students: tones of three pitches, each teacher with a front end of its
    own.
    """
    world = Tones(tmp_path)
    one = params(epochs=14, batch=6, learning_rate=0.02)
    finer = FRONT.model_copy(update={"n_mels": 20, "hop_length": 160})
    rows = {"one": one, "finer": one.model_copy(update={"features": finer})}
    taught = {}
    kept = Cache()
    for name, row in rows.items():
        folder, out = tmp_path / "teachers" / name, tmp_path / "cache" / name
        known = ("classes", world.recordings, world.labelled, world.labelled, 0)
        tune.tune(row, *known, tmp_path / "scratch" / name, folder, noting([]))
        asker = ask.Asker(row, "classes", folder, world.recordings, kept)
        who = signals.identity(folder)
        views = world.recordings.views
        cache.write(out, asker, who, world.pool, views, kept)
        taught[name] = signals.Signals(out, world.pool, who, kept.model_dump(), views)
    terms = Terms(kd={"weight": 1.0, "temperature": 2.0})
    recipe = Recipe(track="any", teachers=list(rows), data=["pool"], epochs=14, terms=terms)
    distilled = Distillation(
        recipe,
        CPMobile(name="cp_mobile", base_channels=8, momentum=0.5),
        Distill(batch=6, learning_rate=0.02),
        CLASSES,
        world.mel,
        world.pool,
        world.labelled,
        signals.Averaged(taught),
        0,
        tmp_path / "scratch/student",
        noting([]),
    ).run()
    loader = Loader(world.labelled, world.mel, CLASSES, 8)
    answers = predict(distilled.student, CLASSES, loader)
    right = [answers[clip.id].argmax() == clip.answer for clip in world.labelled]
    assert np.mean(right) > 0.8
