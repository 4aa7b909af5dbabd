"""What a page shows of a run: its students, and clips of their test sets with what the teacher
answered.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import soundfile

from earshot import predict
from earshot.evaluation.charts import percent
from earshot.features.recordings import Recordings
from earshot.tables import answers, items
from earshot.tables.items import Item
from earshot.tables.manifest import read_manifest
from earshot.workbench import results
from earshot.workbench.results import Track

TEACHER = "teacher"
FORMAT = "flac"  # every browser reads it, and loses nothing


class Student(NamedTuple):
    """The student of a track that ships: its file, and its score with interval as the page says
    it.
    """

    track: str
    recipe: str
    task: str
    path: Path
    rate: int
    score: dict[str, str]


class Clip(NamedTuple):
    """A test item: what the page says of it, and its sound as a FLAC file."""

    about: dict[str, Any]
    sound: bytes


def students(root: Path, tracks: Sequence[str] | None = None) -> list[Student]:
    """Return the students that a run at `root` left, those of `tracks` alone if given.

    ValueError names a track that has none, and says where there is no track at all.
    """
    found = {}
    for track in results.read(root):
        path = results.student_file(root, track)
        if path.is_file() and (tracks is None or track.name in tracks):
            found[track.name] = _student(track, path)
    missing = [name for name in tracks or () if name not in found]
    if missing or not found:
        what = f"track {missing[0]}: no student" if missing else "no student of any track"
        raise ValueError(f"{root / 'models'}: {what} here; run `make repro` first")
    return list(found.values())


def _student(track: Track, path: Path) -> Student:
    model = predict.load(path)
    one = track.estimate(track.shipped)
    score = {"value": one.middle, "low": one.low, "high": one.high}
    if TEACHER in track.quality:
        score["teacher"] = track.estimate(TEACHER).middle
    shown = {name: percent(value) for name, value in score.items()} | {"metric": track.metric}
    recipe = results.recipe(track)
    return Student(track.name, recipe, model.task, path, model.sample_rate, shown)


def clips(root: Path, student: Student) -> Iterator[Clip]:
    """Yield test items of a student's track, sounds included, in an order in which any number of
    the first ones is a fair choice: questions by their skills in turn and no passage twice before
    all have been asked about, clips by their classes, transcripts by their languages.

    None where the run left no items or sounds.
    """
    data = root / "data" / student.track
    if not (data / "items.parquet").is_file() or not (data / "manifest.parquet").is_file():
        return
    manifest = read_manifest(data / "manifest.parquet")
    manifest = manifest.assign(path=[str(root / path) for path in manifest["path"]])
    recordings = Recordings(manifest, sample_rate=student.rate)
    by_item = _teachers(root / "models" / student.track / "answers.parquet")
    test = items.read(data / "items.parquet", "test")
    for item in _fair(test, GROUPS[student.task]):
        samples = recordings.passage(item.utterances)
        shown = SHOWN[student.task](item, by_item.get(item.id))
        about = {"id": item.id, "task": student.task, "track": student.track} | shown
        yield Clip(about, _flac(samples, student.rate))


def _fair(test: Sequence[Item], group: Callable[[Item], Any]) -> list[Item]:
    """Return items in turns of their groups, each group's passages in turn, by hashes of ids."""
    asked: dict[str, int] = {}
    turns: dict[Any, list[tuple[int, Item]]] = {}
    for item in sorted(test, key=lambda one: hashlib.sha256(one.id.encode()).digest()):
        asked[item.passage] = asked.get(item.passage, -1) + 1
        turns.setdefault(group(item), []).append((asked[item.passage], item))
    ordered = [sorted(one, key=lambda pair: pair[0]) for _, one in sorted(turns.items())]
    return [pair[1] for row in zip_longest(*ordered) for pair in row if pair]


def _question(item: Item, answer: pd.Series | None) -> dict[str, Any]:
    asked = {"question": item.question, "options": list(item.options), "answer": item.answer}
    shares = None if answer is None else [round(float(one), 4) for one in answer["probabilities"]]
    return asked | {"teacher": shares}


def _place(item: Item, answer: pd.Series | None) -> dict[str, Any]:
    return {"label": item.options[item.answer]}


def _speech(item: Item, answer: pd.Series | None) -> dict[str, Any]:
    teacher = None if answer is None else answer["text"]
    return {"transcript": item.transcript, "language": item.language, "teacher": teacher}


# By task: what items are chosen evenly by, and what the page shows of one.
GROUPS = {
    "choice": lambda item: item.skill,
    "classes": lambda item: item.answer,
    "transcript": lambda item: item.language or "",
}
SHOWN = {"choice": _question, "classes": _place, "transcript": _speech}


def _teachers(table: Path) -> dict[str, pd.Series]:
    """Return the teacher's answers by item, of several training runs the first; none where there is
    no table.
    """
    if not table.is_file():
        return {}
    rows = answers.read(table)
    rows = rows[(rows["model"] == TEACHER) & (rows["seed"] == 0)]
    return {row["item"]: row for _, row in rows.iterrows()}


def _flac(samples: np.ndarray, rate: int) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format="FLAC", subtype="PCM_16")
    return content.getvalue()
