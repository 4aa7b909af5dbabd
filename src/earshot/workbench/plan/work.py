"""How much there is to do: hours of audio by split, and each stage's amount of work."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from earshot.corpora.synthetic import scenes
from earshot.params import (
    TAU2022,
    BiLSTM,
    Conformer,
    LibriSpeech,
    OpenSpeech,
    Params,
    Recipe,
    SyntheticScenes,
    SyntheticSpeech,
    Track,
)
from earshot.tables.manifest import read_manifest
from earshot.workbench.plan.storage import width

PASSAGE = 3.0  # seconds of audio of a passage of the embedded speech, about
SENTENCE = 3.0  # and of a clip of the embedded open text
# Hours as the corpus' own tables have them (Panayotov et al. 2015).
LIBRISPEECH = {
    "train-clean-100": 100.6,
    "train-clean-360": 363.6,
    "train-other-500": 496.7,
    "dev-clean": 5.4,
    "dev-other": 5.3,
    "test-clean": 5.4,
    "test-other": 5.1,
    "train-clean-5": 5.0,
    "dev-clean-2": 2.0,
}
TAU_TRAIN, TAU_TEST = 139_620, 29_680  # clips of a second


class Work(NamedTuple):
    """A stage's amount: `units` are proportional to its seconds, `size` to the work on each.

    `size` is that of the network (arbitrary scale, the same for all of one task).
    """

    task: str
    units: float
    what: str
    size: float = 1.0


def split_hours(name: str, track: Track, stale: Iterable[str] = ()) -> dict[str, float] | None:
    """Return hours of audio by split: of the manifest, or derived; None where nobody can know."""
    manifest = Path(f"data/{name}/manifest.parquet")
    if manifest.is_file() and f"download@{name}" not in set(stale):
        table = read_manifest(manifest)
        seconds = table.groupby("split")["seconds"].sum()
        return {str(split): float(total) / 3600 for split, total in seconds.items()}
    corpus = track.corpus
    if isinstance(corpus, SyntheticSpeech):
        return {split: number * PASSAGE / 3600 for split, number in corpus.passages.items()}
    if isinstance(corpus, OpenSpeech):
        return {split: number * SENTENCE / 3600 for split, number in corpus.clips.items()}
    if isinstance(corpus, SyntheticScenes):
        each = {part: 10 * corpus.segments[part] * corpus.clips[part] for part in corpus.segments}
        test = each["test"] * len(scenes.DEVICES)
        return _held_out(each["train"], test, corpus.validation_share)
    if isinstance(corpus, TAU2022):
        return _held_out(TAU_TRAIN, TAU_TEST, corpus.validation_share)
    if isinstance(corpus, LibriSpeech) and set(corpus.splits) <= set(LIBRISPEECH):
        return _librispeech(corpus)
    return None


def _held_out(train: float, test: float, share: float) -> dict[str, float]:
    seconds = {"pool": train * (1 - share), "validation": train * share, "test": test}
    return {split: total / 3600 for split, total in seconds.items()}


def _librispeech(corpus: LibriSpeech) -> dict[str, float]:
    found: dict[str, float] = {}
    for subset, split in corpus.splits.items():
        parts = corpus.auto if split == "auto" else {split: 1.0}
        for one, part in parts.items():
            more = LIBRISPEECH[subset] * part / sum(parts.values())
            found[one] = found.get(one, 0.0) + more
    return found


def amounts(params: Params, stale: Iterable[str] = ()) -> dict[str, Work | None]:
    """Return each stage's work by its name, None where it cannot be known before the corpus."""
    found: dict[str, Work | None] = {}
    audio = {name: split_hours(name, track, stale) for name, track in params.tracks.items()}
    for name, track in params.tracks.items():
        found |= _of_track(name, track, audio[name])
    for key, teacher in params.teachers.items():
        track, hours = params.tracks[teacher.track], audio[teacher.track]
        found |= dict.fromkeys((f"teacher@{key}", f"cache@{key}"))
        if hours is not None:
            labelled = _role_hours(track, hours, [teacher.data])
            answered = _role_hours(track, hours, ["fewshot", "pool"]) * (1 + track.views.count)
            size = width(teacher.checkpoint) ** 2
            what = f"{teacher.epochs} epochs of {labelled:,.2f} h"
            units = teacher.epochs * labelled
            found[f"teacher@{key}"] = Work(track.task, units, what, size)
            what = f"{answered:,.2f} h answered"
            found[f"cache@{key}"] = Work(track.task, answered, what, size)
    for key, recipe in params.recipes.items():
        track, hours = params.tracks[recipe.track], audio[recipe.track]
        found |= _of_recipe(key, recipe, track, hours)
    for name, track in params.tracks.items():
        found[f"evaluate@{name}"] = _evaluate(params, name, track, audio[name])
    return found


def _role_hours(track: Track, hours: Mapping[str, float], roles: Iterable[str]) -> float:
    """Return the hours of roles; labels are a share (%) of the pool where the track says so."""
    share = getattr(track.fewshot, "share", None)
    of = dict(hours)
    if share is not None:
        pool = hours.get("pool", 0.0)
        of |= {"fewshot": pool * share / 100, "pool": pool * (1 - share / 100)}
    return sum(of.get(role, 0.0) for role in roles)


def framed_hours(track: Track, teachers: Iterable[Any], hours: Mapping[str, float]) -> float:
    """Return the hours whose frames teachers keep: of tuning, and of the pool if layered."""
    views = 1 + track.views.count
    total = 0.0
    for teacher in teachers:
        tuned = _role_hours(track, hours, [teacher.data]) * views + hours.get("validation", 0.0)
        total += tuned * (2 if teacher.control else 1)
        if track.cache.layered:
            total += _role_hours(track, hours, ["fewshot", "pool"]) * views
    return total


def _of_track(name: str, track: Track, hours: Mapping[str, float] | None) -> dict:
    made = isinstance(track.corpus, (SyntheticSpeech, SyntheticScenes, OpenSpeech))
    if hours is None:
        return dict.fromkeys(f"{stage}@{name}" for stage in ("download", "features", "fewshot"))
    total = sum(hours.values())
    views = total * (1 + track.views.count)
    what = f"{total:,.2f} h"
    return {
        f"download@{name}": Work(track.task, total, f"{what} made") if made else None,
        f"features@{name}": Work(track.task, views, f"{views:,.2f} h", _frames(track)),
        f"fewshot@{name}": Work(track.task, total, what),
    }


def _of_recipe(
    key: str, recipe: Recipe, track: Track, hours: Mapping[str, float] | None
) -> dict[str, Work | None]:
    if hours is None:
        return dict.fromkeys((f"distill@{key}", f"quantize@{key}"))
    seeds, trained = track.distill.seeds, _role_hours(track, hours, recipe.data)
    epochs = recipe.epochs + (recipe.qat.epochs if recipe.qat else 0)
    epoch = trained + hours.get("validation", 0.0)
    what = f"{seeds} seeds × {epochs} epochs of {trained:,.2f} h"
    size = _student(track)
    return {
        f"distill@{key}": Work(track.task, seeds * epochs * epoch, what, size),
        f"quantize@{key}": Work(track.task, seeds, f"{seeds} files", size),
    }


def _evaluate(
    params: Params, name: str, track: Track, hours: Mapping[str, float] | None
) -> Work | None:
    if hours is None:
        return None
    students = sum(recipe.track == name for recipe in params.recipes.values())
    students *= track.distill.seeds
    what = f"{students} students × {hours.get('test', 0.0):,.2f} h"
    return Work(track.task, students * hours.get("test", 0.0), what, _student(track))


def _frames(track: Track) -> float:
    """Return the numbers of a second of log-mel."""
    front = track.features
    return front.sample_rate / front.hop_length * front.n_mels


def _student(track: Track) -> float:
    """Return the size of a student's work on a second: its input, or its recurrent weights."""
    student = track.student
    if isinstance(student, Conformer):
        return student.layers * student.width**2 / student.stride
    return student.hidden**2 / student.stack if isinstance(student, BiLSTM) else _frames(track)
