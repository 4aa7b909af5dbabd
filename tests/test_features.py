"""Log-mel features against librosa, and their extraction from a whole corpus."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import soundfile

from earshot.features import audio, extract, log_mel, views
from earshot.params import Features, Views
from earshot.tables.sequences import Store

SOURCE = Path(__file__).parents[1] / "src"


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * 16_000)).astype(np.float32)


def by_librosa(samples: np.ndarray, p: Features) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=samples,
        sr=p.sample_rate,
        n_fft=p.n_fft,
        win_length=p.win_length,
        hop_length=p.hop_length,
        window=p.window,
        n_mels=p.n_mels,
        fmin=p.fmin,
        fmax=p.fmax,
    )
    return np.log(np.maximum(power, 1e-10)).T


@pytest.mark.filterwarnings("ignore:n_fft=")  # librosa, of clips shorter than a window
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_fft": 512},
        {"n_fft": 512, "win_length": 320, "hop_length": 200},
        {"n_fft": 1024, "win_length": 1024, "hop_length": 256, "n_mels": 80, "window": "hamming"},
        {"n_fft": 401, "win_length": 400},
        {"n_mels": 37, "fmin": 50.0, "fmax": 7600.0},
        {
            "sample_rate": 8000,
            "n_fft": 256,
            "win_length": 200,
            "hop_length": 80,
            "fmax": 4000.0,
            "n_mels": 23,
        },
    ],
)
def test_equals_librosa(settings):
    params = Features(**settings, norm="none")
    lengths = (1, 159, 160, 161, 320, 20_480, 20_481)  # on either side of a hop
    for samples in (np.zeros(1000, np.float32), *(noise(2)[:length] for length in lengths)):
        ours = log_mel.log_mel(samples, params)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, by_librosa(samples, params), rtol=1e-5, atol=2e-5)


def test_normalize_by_hand():
    mel = np.array([[1.0, 5.0], [3.0, 5.0]], np.float32)
    np.testing.assert_array_equal(log_mel.normalize(mel, "none"), mel)
    np.testing.assert_array_equal(log_mel.normalize(mel, "mean"), [[-1, 0], [1, 0]])
    np.testing.assert_allclose(
        log_mel.normalize(mel, "meanvar"), [[-1 / (1 + 1e-5), 0], [1 / (1 + 1e-5), 0]], rtol=1e-6
    )


def test_silence_counts_for_nothing_by_hand():
    power = np.array([[1e-4, 1e-4], [1.0, 3.0], [3e-4, 0], [5.0, 3.0]], np.float32)
    audible = log_mel.above(power, 40)  # the loudest is 8: all up to 8e-4 is silence
    assert audible.tolist() == [False, True, False, True]
    frames = log_mel.normalize(power, "mean", audible)
    np.testing.assert_array_equal(frames, [[0, 0], [-2, 0], [0, 0], [2, 0]])
    frames = log_mel.normalize(power, "mean", audible, "quietest")
    np.testing.assert_array_equal(frames, [[-2, 0], [-2, 0], [-2, 0], [2, 0]])


def test_silence_at_both_ends_changes_no_other_frame():
    params = Features(silence_db=40)
    clip = noise(1.0) * np.hanning(16_000).astype(np.float32) ** 4
    half = np.zeros(8_000, np.float32)
    frames = log_mel.log_mel(np.concatenate([half, clip, half]), params)
    inner = frames[50:-50]
    assert not frames[:49].any() and not frames[-49:].any()
    np.testing.assert_allclose(inner[2:-2], log_mel.log_mel(clip, params)[2:-2], atol=0.01)
    assert np.abs(log_mel.log_mel(np.concatenate([half, clip, half]), Features())[:40]).min() > 0.1


def make_corpus(folder: Path, clips: int) -> pd.DataFrame:
    for number in range(clips):
        soundfile.write(folder / f"c{number:02d}.flac", noise(0.3 + 0.01 * number, number), 16_000)
    files = sorted(folder.glob("c*.flac"))
    return pd.DataFrame(
        {"id": [file.stem for file in files], "path": [str(file) for file in files]}
    )


def spoil(corpus: pd.DataFrame) -> dict[str, str]:
    """Damage five of the clips; return their ids and why they are bad."""
    corrupt, empty, silent, text, short = (
        Path(path) for path in corpus["path"].iloc[[2, 3, 9, 11, 12]]
    )
    corrupt.write_bytes(corrupt.read_bytes()[:500])
    empty.write_bytes(b"")
    soundfile.write(silent, np.zeros(16_000), 16_000)
    text.write_text("not audio, but a text")
    soundfile.write(short, noise(0.1), 16_000)
    return {
        corrupt.stem: "cut short, 4096 of 5120 samples",
        empty.stem: "empty file",
        silent.stem: "silent",
        text.stem: "not readable audio (Format not recognised)",
        short.stem: "too short",
    }


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(extract, "PART", 4)


def outputs(folder: Path) -> tuple[Path, Path, Path]:
    return folder / "out/mel.parquet", folder / "out/rejected.csv", folder / "scratch"


def test_bad_clips_are_listed_and_the_rest_goes_on(tmp_path, small_parts):
    corpus, params = make_corpus(tmp_path, 14), Features(max_bad_share=5 / 14)
    reasons = spoil(corpus)
    mel, rejected, scratch = outputs(tmp_path)
    extract.extract(corpus, params, Views(), 0, mel, rejected, scratch)
    listed = pd.read_csv(rejected)
    assert list(listed.columns) == ["id", "path", "reason"]
    assert dict(zip(listed["id"], listed["reason"], strict=True)) == reasons
    assert set(listed["path"]) < set(corpus["path"])
    store = Store(mel)
    good = [id for id in corpus["id"] if id not in reasons]
    assert list(store) == [(id, 0) for id in good]
    for id, path in zip(corpus["id"], corpus["path"], strict=True):
        if id in good:
            expected = log_mel.log_mel(audio.decode(path, 16_000), params)
            np.testing.assert_allclose(store[id], expected, atol=2e-3)
    assert store.width == 40 and store.metadata["features"] == params.model_dump()
    assert store.metadata["versions"]["numpy"] == np.__version__
    assert not scratch.exists()


def test_too_many_bad_clips_stop_the_stage(tmp_path, small_parts):
    corpus = make_corpus(tmp_path, 14)
    spoil(corpus)
    mel, rejected, scratch = outputs(tmp_path)
    with pytest.raises(extract.FeatureError) as error:
        extract.extract(corpus, Features(max_bad_share=0.3), Views(), 0, mel, rejected, scratch)
    assert str(error.value).startswith(
        "5 of 14 clips are unusable, 35.7%; max_bad_share allows 30.0%: "
    )
    assert "c02.flac (cut short" in str(error.value) and "\n" not in str(error.value)
    assert len(pd.read_csv(rejected)) == 5 and not mel.exists()


SLOW_EXTRACT = """
import json, sys, time
from pathlib import Path
import pandas as pd
from earshot.features import audio, extract
from earshot.params import Features, Views
decode = audio.decode
def slow(path, rate):
    time.sleep(0.05)
    return decode(path, rate)
audio.decode = slow
extract.PART = 4
corpus, mel, rejected, scratch = json.loads(sys.argv[1])
paths = map(Path, (mel, rejected, scratch))
extract.extract(pd.DataFrame(corpus), Features(max_bad_share=0.2), Views(), 0, *paths)
"""


def test_killed_and_continued_gives_the_same_bytes(tmp_path, small_parts, monkeypatch):
    corpus = make_corpus(tmp_path, 40)
    spoil(corpus)
    params = Features(max_bad_share=0.2)
    whole, whole_rejected, scratch = outputs(tmp_path / "whole")
    extract.extract(corpus, params, Views(), 0, whole, whole_rejected, scratch)

    mel, rejected, scratch = outputs(tmp_path / "killed")
    arguments = json.dumps([corpus.to_dict("list"), str(mel), str(rejected), str(scratch)])
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "EARSHOT_WORKERS": "2"}
    stage = subprocess.Popen([sys.executable, "-c", SLOW_EXTRACT, arguments], env=environment)
    deadline = time.monotonic() + 60
    while len(list(scratch.glob("*.json"))) < 2 and time.monotonic() < deadline:
        assert stage.poll() is None
        time.sleep(0.01)
    workers = Path(f"/proc/{stage.pid}/task/{stage.pid}/children")
    pids = [int(pid) for pid in workers.read_text().split()] if workers.exists() else []
    stage.send_signal(signal.SIGKILL)
    stage.wait()
    for pid in pids:  # no worker goes on alone
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not mel.exists() and 2 <= len(list(scratch.glob("*.json"))) < 10

    done = {
        id
        for part in scratch.glob("*.parquet")
        for id, _ in Store(part)
        if part.with_suffix(".json").exists()
    }
    log, decode = tmp_path / "decoded", audio.decode

    def logged(path, rate):
        with open(log, "a") as file:
            file.write(f"{Path(path).stem}\n")
        return decode(path, rate)

    monkeypatch.setattr(audio, "decode", logged)
    extract.extract(corpus, params, Views(), 0, mel, rejected, scratch)
    assert done and not done & set(log.read_text().split())  # finished parts are taken over
    assert mel.read_bytes() == whole.read_bytes()
    assert rejected.read_bytes() == whole_rejected.read_bytes()


VIEWS = Views(count=2, devices=["a"])


@pytest.fixture
def scenes(tmp_path) -> pd.DataFrame:
    corpus = make_corpus(tmp_path, 9)
    return corpus.assign(split=["pool"] * 6 + ["test"] * 3, device=["a", "a", "s1"] * 3)


def test_views_are_the_clip_through_its_devices(tmp_path, scenes, small_parts):
    mel, rejected, scratch = outputs(tmp_path)
    extract.extract(scenes, Features(norm="none"), VIEWS, 5, mel, rejected, scratch)
    store = Store(mel)
    assert list(store) == views.keys(scenes, VIEWS) and len(store) == 9 + 2 * 4
    assert store.metadata["views"] == VIEWS.model_dump() and store.metadata["seed"] == 5
    paths = dict(zip(scenes["id"], scenes["path"], strict=True))
    for id, view in store:
        heard = views.decode(paths[id], id, view, 16_000, VIEWS, 5)
        np.testing.assert_allclose(
            store[id, view], log_mel.log_mel(heard, Features(norm="none")), atol=2e-2
        )
        assert view == 0 or np.abs(store[id, view] - store[id]).max() > 0.5
    assert np.abs(store["c00", 1] - store["c00", 2]).max() > 0.5


def test_a_bad_clip_is_rejected_once_with_all_its_views(tmp_path, scenes, small_parts):
    soundfile.write(scenes["path"].iloc[1], np.zeros(16_000), 16_000)
    mel, rejected, scratch = outputs(tmp_path)
    # of 9 clips, not of 17 views
    extract.extract(scenes, Features(max_bad_share=0.12), VIEWS, 5, mel, rejected, scratch)
    assert pd.read_csv(rejected)["id"].tolist() == ["c01"]
    assert list(Store(mel)) == [key for key in views.keys(scenes, VIEWS) if key[0] != "c01"]


def test_views_depend_on_the_seed_alone(tmp_path, scenes, small_parts, monkeypatch):
    written = []
    for number, (workers, seed) in enumerate([("1", 5), ("3", 5), ("1", 6)]):
        monkeypatch.setenv("EARSHOT_WORKERS", workers)
        mel, rejected, scratch = outputs(tmp_path / str(number))
        extract.extract(scenes, Features(), VIEWS, seed, mel, rejected, scratch)
        written.append(mel)
    assert written[0].read_bytes() == written[1].read_bytes()
    assert not np.array_equal(Store(written[0])["c00", 1], Store(written[2])["c00", 1])
    np.testing.assert_array_equal(Store(written[0])["c00"], Store(written[2])["c00"])


def test_without_views_nothing_else_is_read_or_written(tmp_path, scenes):
    written = []
    for corpus, seed in ((scenes[["id", "path"]], 5), (scenes, 6)):
        mel, rejected, scratch = outputs(tmp_path / str(seed))
        extract.extract(corpus, Features(), Views(devices=["a"]), seed, mel, rejected, scratch)
        written.append(mel.read_bytes())
    known = {"column", "width", "dtype", "features", "versions"}
    assert written[0] == written[1] and Store(mel).metadata.keys() == known
    assert rejected.read_text() == "id,path,reason\n"
