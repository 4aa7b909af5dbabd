"""A few clips, made here, as long as a track's own, and items about them: what speeds are measured
on.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from earshot.corpora.synthetic import scenes as synthetic_scenes
from earshot.corpora.synthetic import speech as synthetic_speech
from earshot.params import TAU2022, Track
from earshot.runtime import parallel
from earshot.tables.items import CLASS_SKILL, UNKNOWN, Item
from earshot.tables.manifest import SCHEMA, Clip
from earshot.workbench.plan.work import Amount

AUDIO = 48.0  # seconds of a sample, about
LONGEST = 12.0  # seconds of one of its clips
TAU_RATE = 44_100


def length(track: Track, of: Amount) -> float:
    """Return how long the sample's clips are: as a passage, within reason."""
    return (
        1.0
        if track.task == "classes"
        else min(LONGEST, of.seconds / of.passages if of.passages else LONGEST)
    )


def rate(track: Track) -> int:
    """Return the sample rate (Hz) of a track's recordings, as far as it is known."""
    usual = TAU_RATE if isinstance(track.corpus, TAU2022) else synthetic_speech.SAMPLE_RATE
    return getattr(track.corpus, "sample_rate", usual)


def speech(seconds: float, number: int) -> list[np.ndarray]:
    """Return clips of embedded speech, int16 `(16000 × seconds,)`."""
    lines = list(synthetic_speech.script("teacher", number, 1, seed=0))[::2]
    spoken = parallel.run(synthetic_speech._speak, lines, "speech", chunk=4)
    return [np.resize(samples, int(seconds * synthetic_speech.SAMPLE_RATE)) for samples in spoken]


def scenes(rate: int, number: int) -> list[np.ndarray]:
    """Return one-second clips of embedded scenes, int16 `(rate,)`."""
    segments = synthetic_scenes.plan("train", 1, 10, seed=0)[: -(-number // 10)]
    made = parallel.run(partial(synthetic_scenes._hear, rate, 0), segments, "scenes")
    return [second for samples in made for second in samples.reshape(-1, rate)][:number]


def write(track: Track, clips: Sequence[np.ndarray], rate: int, folder: Path) -> pd.DataFrame:
    """Write clips to `folder` and return their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, end = [], "flac" if track.task == "choice" else "wav"
    for number, samples in enumerate(clips):
        path = folder / f"clip-{number:04d}.{end}"
        soundfile.write(path, samples, rate, subtype="PCM_16")
        devices = track.views.devices or ["a"]
        text, label = (
            ("a", None)
            if track.task == "choice"
            else (None, sorted(synthetic_scenes.CLASSES)[number % 10])
        )
        clip = Clip(
            path.stem,
            str(path),
            len(samples) / rate,
            rate,
            "s",
            "pool",
            text,
            path.stem,
            label=label,
        )
        rows.append(asdict(clip) | {"device": devices[0]})
    return pd.DataFrame(rows, columns=SCHEMA.names)


def items(track: Track, manifest: pd.DataFrame, role: str, each: float) -> list[Item]:
    """Return items of a role about every clip, `each` of them a clip."""
    if track.task == "classes":
        classes = tuple(sorted(synthetic_scenes.CLASSES))
        labels = [
            classes.index(label) if role != "pool" else UNKNOWN for label in manifest["label"]
        ]
        return [
            Item(f"{role}/{id}", role, CLASS_SKILL, id, (id,), "", classes, answer)
            for id, answer in zip(manifest["id"], labels, strict=True)
        ]
    options = track.fewshot.pool.options if role == "pool" else track.fewshot.options
    words = synthetic_speech.script("test", options, 1, seed=1)
    texts = tuple(line.text for line in words if not line.id.endswith("-01"))
    question = "Which sentence comes next?"
    return [
        Item(
            f"{role}/{id}/{n}",
            role,
            "inference",
            id,
            (id,),
            question,
            texts,
            UNKNOWN if role == "pool" else n % options,
        )
        for id in manifest["id"]
        for n in range(max(1, round(each)))
    ]
