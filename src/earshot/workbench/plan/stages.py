"""How long each stage will take: the work that the parameters imply times the speeds of this
machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

from earshot.features.log_mel import PART
from earshot.params import Recipe, SyntheticScenes, SyntheticSpeech, Track
from earshot.workbench.plan.work import Work

DVC = 1.5  # seconds in which DVC itself looks at a stage


class Term(NamedTuple):
    """A part of a stage: what is multiplied, and the seconds that come out."""

    what: str
    seconds: float


@dataclass(frozen=True)
class Expected:
    """A stage's work and its expected seconds; `seconds` is None where the network or something
    unknown decides.
    """

    stage: str
    terms: tuple[Term, ...]
    unknown: str | None = None

    @property
    def seconds(self) -> float | None:
        """The sum of the terms."""
        return None if self.unknown else DVC + sum(term.seconds for term in self.terms)

    @property
    def work(self) -> str:
        """What is multiplied, the largest part first."""
        told = sorted((term for term in self.terms if term.what), key=lambda term: -term.seconds)
        return self.unknown or " + ".join(term.what for term in told[:3]) or "–"


def expected(
    name: str,
    track: Track,
    recipes: Mapping[str, Recipe],
    work: Work | None,
    speeds: Mapping[str, Any],
) -> dict[str, Expected]:
    """Return what each stage of a track takes, by the stage's name."""
    found = [_download(name, track, work, speeds)]
    per_track = {"features": _features, "fewshot": _fewshot, "teacher": _teacher, "cache": _cache}
    jobs = [(f"{stage}@{name}", stage, call, None) for stage, call in per_track.items()]
    jobs += [(f"distill@{key}", "distill", _distill, key) for key in recipes]
    jobs += [(f"quantize@{key}", "quantize", _quantize, key) for key in recipes]
    jobs.append((f"evaluate@{name}", "evaluate", _evaluate, None))
    for stage, kind, call, key in jobs:
        if work is None:
            found.append(Expected(stage, (), "unknown before the corpus is there"))
        elif kind not in ("features", "fewshot") and "lower" not in speeds:
            found.append(
                Expected(stage, (), "unknown: the encoder's size is not known before it is here")
            )
        else:
            terms = call(track, recipes if key is None else recipes[key], work, speeds, key)
            found.append(Expected(stage, tuple(terms)))
    return {one.stage: one for one in found}


def span(seconds: float) -> str:
    """Return seconds of audio as people say them."""
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 36_000 else f"{seconds / 3600:,.0f} h"


def _download(name: str, track: Track, work: Work | None, speeds: Mapping[str, Any]) -> Expected:
    stage, corpus = f"download@{name}", track.corpus
    if isinstance(corpus, SyntheticSpeech):
        number = work.corpus.clips
        return Expected(
            stage,
            (
                Term("", speeds["start_light"]),
                Term(f"{number:,.0f} utterances", number * speeds["make"]),
            ),
        )
    if isinstance(corpus, SyntheticScenes):
        number = 10 * sum(corpus.segments.values())
        return Expected(
            stage,
            (
                Term("", speeds["start_light"]),
                Term(f"{number:,} segments", number * speeds["make"]),
            ),
        )
    if getattr(corpus, "download", None):
        return Expected(stage, (), "as fast as the network and the disk")
    return Expected(stage, (), "as fast as the disk: a look at each clip")


def _features(track: Track, _: Any, work: Work, speeds: Mapping[str, Any], __: Any) -> list[Term]:
    heard, cores = work.corpus.heard, min(speeds["cores"], ceil(max(1.0, work.corpus.clips) / PART))
    return [
        Term("", speeds["start_light"]),
        Term(f"{span(heard)} to log-mel on {cores}", heard * speeds["mel"] / cores),
    ]


def _fewshot(track: Track, _: Any, work: Work, speeds: Mapping[str, Any], __: Any) -> list[Term]:
    number = sum(of.passages for role, of in work.roles.items() if role != "paper")
    kind = "clips" if track.task == "classes" else "passages"
    return [
        Term("", speeds["start_light"]),
        Term(f"{number:,.0f} {kind}", number * speeds["items"]),
    ]


def _teacher(track: Track, _: Any, work: Work, speeds: Mapping[str, Any], __: Any) -> list[Term]:
    params, trained, validation = track.teacher, work.of(track.teacher.data), work.of("validation")
    times, said = (2, "2 × ") if params.control else (1, "")
    lower = trained.heard + validation.seconds
    tune = params.epochs * (trained.seconds * speeds["tune"] + validation.seconds * speeds["judge"])
    terms = [
        Term("", speeds["start_heavy"]),
        Term(
            f"{said}{span(lower)} through frozen layers",
            times * lower * speeds["lower"] / speeds["cores"],
        ),
        Term(f"{said}{params.epochs} epochs of {span(trained.seconds)}", times * tune),
    ]
    if params.auxiliary:
        terms.append(
            Term(
                f"{said}heads on {span(trained.heard)}", times * trained.heard * speeds["auxiliary"]
            )
        )
    return terms


def _cache(track: Track, _: Any, work: Work, speeds: Mapping[str, Any], __: Any) -> list[Term]:
    heard = work.of("fewshot", "pool").heard
    return [
        Term("", speeds["start_heavy"]),
        Term(f"{span(heard)} answered", heard * speeds["cache"]),
    ]


def _distill(
    track: Track, recipe: Recipe, work: Work, speeds: Mapping[str, Any], key: str
) -> list[Term]:
    seeds, own = track.distill.seeds, speeds["recipes"][key]
    rounds = ceil(seeds / speeds["cores"])  # a process a seed
    trained, judged = work.of(*recipe.data).seconds, work.of("validation").seconds * own["judge"]
    said = f"{seeds} seeds × {recipe.epochs} epochs of {span(trained)}"
    terms = [
        Term("", speeds["start_light"] + rounds * speeds["start_heavy"]),
        Term(said, rounds * recipe.epochs * (trained * own["step"] + judged)),
    ]
    if recipe.qat:
        terms.append(
            Term(
                f"{recipe.qat.epochs} of QAT",
                rounds * recipe.qat.epochs * (trained * own["qat"] + judged),
            )
        )
    return terms


def _quantize(
    track: Track, recipe: Recipe, work: Work, speeds: Mapping[str, Any], key: str
) -> list[Term]:
    validation, seeds = work.of("validation"), track.distill.seeds
    items = min(track.quantize.agreement_items, validation.items)
    seconds = items * validation.seconds / max(1.0, validation.passages)
    return [
        Term("", speeds["start_heavy"]),
        Term(f"{seeds} files", seeds * speeds["export"] * (1.5 if recipe.qat else 1)),
        Term(f"{seeds} × {items:.0f} clips compared", seeds * seconds * speeds["agree"]),
    ]


def _evaluate(
    track: Track, recipes: Mapping[str, Recipe], work: Work, speeds: Mapping[str, Any], _: Any
) -> list[Term]:
    tested, seeds, latencies = (
        work.of("test", "paper").seconds,
        track.distill.seeds,
        track.evaluate.latency_clips,
    )
    teachers = 2 if track.teacher.control else 1
    students = sum(seeds * speeds["recipes"][key]["judge"] for key in recipes)
    files = seeds * sum(2 if recipe.qat else 1 for recipe in recipes.values())
    reference = track.evaluate.reference_seconds * latencies
    return [
        Term("", speeds["start_heavy"]),
        Term(f"{teachers} × {span(tested)} to the teacher", teachers * tested * speeds["answers"]),
        Term("", tested * students),
        Term(f"{files} int8 files × {span(tested)}", files * tested * speeds["int8"]),
        Term("", reference * (speeds["lower"] + 2 * len(recipes) * speeds["int8"])),
        Term(
            f"intervals of {work.of('test').items:,.0f} items",
            work.of("test").items * speeds["quality"],
        ),
    ]
