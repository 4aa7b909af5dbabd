"""How much there is to do: hours of audio by split, and each stage's amount of work."""

from collections.abc import Iterable, Iterator, Mapping
from math import ceil, isnan, nan
from pathlib import Path
from typing import Any, NamedTuple, get_args

from earshot.corpora.synthetic import scenes
from earshot.params import (
    TAU2022,
    BiLSTM,
    Budget,
    Conformer,
    ConvNeXt,
    LibriSpeech,
    OpenLanguages,
    OpenSpeech,
    Params,
    SyntheticScenes,
    SyntheticSpeech,
    Track,
    each,
)
from earshot.params.section import Section, Split
from earshot.tables.manifest import read_manifest
from earshot.workbench.plan.storage import config, width, window, writes

PASSAGE = 3.0  # seconds of audio of a passage of the embedded speech, about
SENTENCE = 3.0  # and of a clip of the embedded open text
WRITTEN = "written"  # how its stages' work is called beside that of a task
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
PRODUCTS = 37  # of a frame in a BiLSTM of two layers, over hidden²
Row = tuple[str, float, str, float]  # a stage, its units, what they are, and `size`


class Work(NamedTuple):
    """A stage's amount: `units`, NaN if unknown, are proportional to its seconds, `size` to the
    work on each.

    `size` is that of the network (arbitrary scale, the same for all of one task).
    """

    track: str
    task: str
    units: float
    what: str
    size: float = 1.0


def split_hours(name: str, track: Track, stale: Iterable[str] = ()) -> dict[str, float]:
    """Return hours of audio by split: of the manifest, or derived; NaN where nobody can know."""
    manifest = Path(f"data/{name}/manifest.parquet")
    if manifest.is_file() and f"download@{name}" not in set(stale):
        seconds = read_manifest(manifest).groupby("split")["seconds"].sum()
        return {str(split): float(total) / 3600 for split, total in seconds.items()}
    found: dict[str, float] = {}
    for corpus in each(track.corpus):
        for split, hours in _corpus_hours(corpus).items():
            found[split] = found.get(split, 0.0) + hours
    return found


def _corpus_hours(corpus: Section) -> dict[str, float]:
    if isinstance(corpus, SyntheticSpeech):
        return {split: number * PASSAGE / 3600 for split, number in corpus.passages.items()}
    if isinstance(corpus, OpenSpeech):
        return {split: number * SENTENCE / 3600 for split, number in corpus.clips.items()}
    if isinstance(corpus, OpenLanguages):
        of_split = {
            split: sum(corpus.number(language, split) for language in corpus.languages)
            for split in corpus.clips
        }
        return {split: number * SENTENCE / 3600 for split, number in of_split.items()}
    if isinstance(corpus, LibriSpeech) and set(corpus.splits) <= set(LIBRISPEECH):
        return _librispeech(corpus)
    if isinstance(corpus, TAU2022):
        train, test = TAU_TRAIN, TAU_TEST
    elif isinstance(corpus, SyntheticScenes):
        each = {part: 10 * corpus.segments[part] * corpus.clips[part] for part in corpus.segments}
        train, test = each["train"], each["test"] * len(scenes.DEVICES)
    else:
        return dict.fromkeys(get_args(Split), nan)
    held = train * corpus.validation_share
    return {"pool": (train - held) / 3600, "validation": held / 3600, "test": test / 3600}


def _librispeech(corpus: LibriSpeech) -> dict[str, float]:
    found: dict[str, float] = {}
    for subset, split in corpus.splits.items():
        parts = corpus.auto if split == "auto" else {split: 1.0}
        for one, part in parts.items():
            more = LIBRISPEECH[subset] * part / sum(parts.values())
            found[one] = found.get(one, 0.0) + more
    return found


def role_hours(track: Track, hours: Mapping[str, float], roles: Iterable[str]) -> float:
    """Return the hours of roles; labels are a share (%) of the pool where the track says so."""
    share = getattr(track.fewshot, "share", None)
    of = dict(hours)
    if share is not None:
        pool = hours.get("pool", 0.0)
        of |= {"fewshot": pool * share / 100, "pool": pool * (1 - share / 100)}
    return sum(of.get(role, 0.0) for role in roles)


def answered_hours(track: Track, hours: Mapping[str, float]) -> float:
    """Return the hours that each teacher answers for the students, in all views."""
    answered = role_hours(track, hours, ["fewshot", "pool"]) * (1 + track.views.count)
    return answered + hours.get("validation", 0.0) * track.distill.refit


def framed_hours(track: Track, teachers: Iterable[Any], hours: Mapping[str, float]) -> float:
    """Return the hours whose frames teachers keep: of tuning, and of the pool if layered or for
    each layer of `cache.states`.
    """
    views = 1 + track.views.count
    kept = track.cache.layered + track.cache.states * len(track.cache.layers)
    total, several = 0.0, list(teachers)
    for teacher in several:
        tuned = role_hours(track, hours, [teacher.data]) * views * bool(teacher.epochs)
        framed = (tuned + hours.get("validation", 0.0)) * (2 if teacher.control else 1)
        total += (framed + kept * answered_hours(track, hours)) * heard_share(teacher, several)
    return total


def heard_share(teacher: Any, teachers: Iterable[Any]) -> float:
    """Return which share of a track's clips are a teacher's inputs: of one language, reckoned with
    as many as each of the others has.
    """
    if teacher.language is None:
        return 1.0
    return 1 / len({one.language for one in teachers if one.language is not None})


def amounts(params: Params, stale: Iterable[str] = ()) -> dict[str, Work]:
    """Return each stage's work by its name, a track after the other."""
    found: dict[str, Work] = {}
    for name, track in params.tracks.items():
        hours = split_hours(name, track, stale)
        rows = [*_of_corpus(name, track, hours), *_of_teachers(name, track, params, hours)]
        for stage, units, what, size in [*rows, *_of_students(name, track, params, hours)]:
            found[stage] = Work(name, track.task, units, what, size)
    for key in (key for key, teacher in params.teachers.items() if writes(teacher)):
        for stage in (f"teacher@{key}", f"cache@{key}"):
            found[stage] = found[stage]._replace(task=WRITTEN)
    return found


def _of_corpus(name: str, track: Track, hours: Mapping[str, float]) -> Iterator[Row]:
    total, made = sum(hours.values()), _is_made(track)
    viewed = total * (1 + track.views.count)
    yield f"download@{name}", total if made else nan, f"{total:,.2f} h made", 1.0
    yield f"features@{name}", viewed, f"{viewed:,.2f} h", _frames(track)
    yield f"fewshot@{name}", total, f"{total:,.2f} h", 1.0


def _of_teachers(
    name: str, track: Track, params: Params, hours: Mapping[str, float]
) -> Iterator[Row]:
    teachers = params.teachers_of(name)
    for key, teacher in params.teachers.items():
        if teacher.track == name:
            share = heard_share(teacher, teachers.values())
            answered = share * answered_hours(track, hours)
            labelled = share * role_hours(track, hours, [teacher.data])
            size = width(teacher) ** 2
            what, heard = f"{teacher.epochs} epochs of {labelled:,.2f} h", answered
            told = f"{answered:,.2f} h answered"
            if writes(teacher):
                size *= config(teacher)["encoder_layers"]
            if seconds := window(teacher):
                heard *= max(1.0, seconds / _clip(name, track))
                told += f", in windows of {heard:,.2f} h"
            yield f"teacher@{key}", teacher.epochs * labelled, what, size
            yield f"cache@{key}", heard, told, size


def _clip(name: str, track: Track) -> float:
    """Return the seconds of a clip: the mean of the manifest, else of what is reckoned with."""
    manifest = Path(f"data/{name}/manifest.parquet")
    if manifest.is_file():
        return float(read_manifest(manifest)["seconds"].mean())
    return track.evaluate.reference_seconds


def _of_students(
    name: str, track: Track, params: Params, hours: Mapping[str, float]
) -> Iterator[Row]:
    seeds, test = track.distill.seeds, hours.get("test", 0.0)
    size = _student(track)
    recipes = {key: one for key, one in params.recipes.items() if one.track == name}
    for key, recipe in recipes.items():
        trained = role_hours(track, hours, recipe.data)
        budgets = [one for one in (recipe, recipe.qat, recipe.prune, recipe.adapt) if one]
        epochs = sum(_passes(one, track, trained) for one in budgets)
        epochs *= 1 + track.distill.refit
        validated = hours.get("validation", 0.0) / track.distill.validate_every
        units = seeds * epochs * (trained + validated)
        what = f"{seeds} seeds × {epochs} epochs of {trained:,.2f} h"
        yield f"distill@{key}", units, what, size
    students = len(recipes) * seeds
    yield f"quantize@{name}", students, f"{students} files", size
    what = f"{students} students × {test:,.2f} h"
    yield f"evaluate@{name}", students * test, what, size


def _passes(budget: Budget, track: Track, hours: float) -> float:
    """Return how often a budget goes over so many hours of audio, the last time maybe in part."""
    if budget.epochs or isnan(hours):
        return budget.epochs or nan
    hours_a_batch = track.distill.batch * track.evaluate.reference_seconds / 3600
    return ceil(budget.steps / max(1, round(hours / hours_a_batch)))


def _is_made(track: Track) -> bool:
    """Return whether a corpus is made here, not fetched or handed in."""
    return isinstance(track.corpus, SyntheticSpeech | SyntheticScenes | OpenSpeech | OpenLanguages)


def _frames(track: Track) -> float:
    """Return the numbers of a second of log-mel."""
    front = track.features
    return front.sample_rate / front.hop_length * front.n_mels


def _student(track: Track) -> float:
    """Return the size of a student's work on a second: its input, or its recurrent weights."""
    student = track.student
    if isinstance(student, Conformer):
        return student.layers * student.width**2 / student.stride
    if isinstance(student, ConvNeXt):
        products = 2 * student.layers * student.width * student.units
        return products / PRODUCTS / student.stack
    return student.hidden**2 / student.stack if isinstance(student, BiLSTM) else _frames(track)
