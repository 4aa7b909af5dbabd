"""Robustness: the test items evaluated again in other rooms, noises, levels and lines.

Training uses none of the sounds here: its noise is steady, this one comes in gusts over a
hum; its rooms are drawn tails, these have walls that answer one by one, and last longer.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy

from earshot.evaluation import metrics
from earshot.evaluation.ask import file_answers
from earshot.evaluation.metrics import Answers
from earshot.features import conditions
from earshot.features.recordings import Change, Recordings
from earshot.params import Evaluate
from earshot.runtime.progress import track
from earshot.tables.items import Item
from earshot.tasks.task import Task
from earshot.teacher.ask import answers as teacher_answers
from earshot.teacher.kinds import AnyTeacher
from earshot.training.batches import by_audio

CLEAN = "clean"
HUM = (50, 100, 150, 250)  # Hz
GUSTS = 3.0  # a second, on average
RT60 = 0.6  # seconds
WALLS = 12  # single reflections, within the first 50 ms


def pause(samples: np.ndarray, rate: int, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Return samples `(N,)` with digital silence of so many seconds at either end."""
    ends = round(seconds * rate)
    return conditions.silence(samples, ends, ends)


def machine(length: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return the noise of a machine `(length,)`: the hum of the mains, and gusts of rushing air."""
    seconds = np.arange(length) / rate
    phases = rng.uniform(0, 2 * np.pi, (len(HUM), 1))
    hum = np.sin(2 * np.pi * np.array(HUM)[:, None] * seconds + phases).sum(0)
    dull = scipy.signal.butter(2, 800, fs=rate, output="sos")
    rushing = scipy.signal.sosfilt(dull, rng.normal(size=length))
    swell = scipy.signal.butter(1, GUSTS, fs=rate, output="sos")
    slow = scipy.signal.sosfilt(swell, rng.normal(size=length))
    gusts = rushing * (0.3 + np.abs(slow) / np.abs(slow).mean())
    return (gusts / gusts.std() + 0.3 * hum / hum.std()).astype(np.float32)


def noisy(samples: np.ndarray, rate: int, rng: np.random.Generator, snr_db: float) -> np.ndarray:
    """Return samples `(N,)` beside a machine, its power so many dB below theirs."""
    return conditions.noise(samples, machine(len(samples), rate, rng), snr_db)


def hall(samples: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return samples in a hall: walls that answer one by one, then a tail of `RT60` seconds."""
    response = conditions.reverberation(RT60, rate, rng)
    walls = rng.integers(round(0.004 * rate), round(0.05 * rate), WALLS)
    response[walls] += rng.uniform(-0.5, 0.5, WALLS).astype(np.float32)
    return conditions.room(samples, response)


def quiet(samples: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return samples 30 dB below what they were."""
    return conditions.level(samples, -30.0)


def telephone(samples: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return the samples over a telephone's band."""
    return conditions.telephone(samples, rate)


def mp3(samples: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return the samples as an MP3 of 32 kbit/s."""
    return conditions.mp3(samples, rate)


TESTS: dict[str, Change] = {
    "silence_500ms": partial(pause, seconds=0.5),
    "silence_2s": partial(pause, seconds=2.0),
    "noise_20db": partial(noisy, snr_db=20.0),
    "noise_10db": partial(noisy, snr_db=10.0),
    "hall": hall,
    "telephone": telephone,
    "quiet_30db": quiet,
    "mp3_32kbit": mp3,
}


def some(items: Sequence[Item], passages: int | None, seed: int) -> list[Item]:
    """Return the items about so many passages, drawn by `seed`; all where there are no more."""
    groups = list(by_audio(items).values())
    if passages is None or passages >= len(groups):
        return list(items)
    drawn = np.random.default_rng(seed).permutation(len(groups))[:passages]
    return [item for place in sorted(drawn) for item in groups[place]]


class LoadedTeacher(NamedTuple):
    """A teacher, its task, and the ids of the items that it answers."""

    teacher: AnyTeacher
    task: Task
    ids: Collection[str]


def answers(
    teachers: Sequence[LoadedTeacher],
    files: Mapping[str, Path],
    items: Sequence[Item],
    manifest: pd.DataFrame,
    seed: int,
) -> dict[str, dict[str, Answers]]:
    """Return, for each condition of `TESTS`, the answers of the teacher, which may be several with
    items of their own, and of each ONNX file.
    """
    found = {}
    for name, change in track(TESTS.items(), "robustness", total=len(TESTS), unit="condition"):
        given = file_answers(list(files.values()), items, manifest, seed, change)
        found[name] = dict(zip(files, given, strict=True))
        found[name]["teacher"] = {}
        for teacher, task, ids in teachers:
            rate = teacher.sample_rate
            recordings = Recordings(manifest, seed=seed, sample_rate=rate, change=change)
            about = [item for item in items if item.id in ids]
            if about:
                found[name]["teacher"] |= teacher_answers(teacher, task, recordings, about)
    return found


def measure(
    teachers: Sequence[LoadedTeacher],
    files: Mapping[str, Path],
    clean: Mapping[str, Answers],
    items: Sequence[Item],
    manifest: pd.DataFrame,
    params: Evaluate,
    seed: int,
    standing: Callable[..., dict[str, Any]],
) -> dict[str, Any]:
    """Return how teachers and ONNX files stand the conditions of `TESTS`, on
    `params.robustness_passages` of the items; `clean` are their answers without any, `standing`
    is the task's way to score them, such as `table`.
    """
    about = some(items, params.robustness_passages, seed)
    changed = answers(teachers, files, about, manifest, seed)
    return standing(clean, changed, about, params.resamples, seed)


def table(
    clean: Mapping[str, Answers],
    changed: Mapping[str, Mapping[str, Answers]],
    items: Sequence[Item],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return each model's accuracy, clean and under each condition, with intervals, and what it
    gains by the condition, paired with clean on the same items.
    """
    ids = [item.id for item in items]
    right = np.array([item.answer for item in items])
    clusters = np.array([item.passage for item in items])
    settings = {"resamples": resamples, "seed": seed}
    scores: dict[str, Any] = {"items": len(items), "passages": len(set(clusters))}
    for model, answers in clean.items():
        before = metrics.stack([answers], ids)
        scores[model] = {CLEAN: metrics.accuracy_interval(before, right, clusters, **settings)}
        for name, of_models in changed.items():
            after = metrics.stack([of_models[model]], ids)
            interval = metrics.accuracy_interval(after, right, clusters, **settings)
            gain = metrics.paired_gain(after, before, right, clusters, **settings)
            scores[model][name] = interval | {"gain": gain}
    return scores
