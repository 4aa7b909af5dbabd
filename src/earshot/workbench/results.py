"""A track's results, read from metrics and plots, whatever models and breakdowns they hold."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from earshot.evaluation import charts
from earshot.evaluation.charts import FORMS, Estimate

Scores = dict[str, Any]
METRICS = ("accuracy", "wer")  # what a track is judged by: the first of these that its models have


@dataclass(frozen=True)
class Track:
    """A track's results; what is not there is empty.

    `quality`, `cost` and `robustness` are as in metrics/<track>/, with `latency_ms` and
    `train_minutes` added to a model's costs where they were measured (times lie outside Git).
    `tables` holds plots/<track>/test/*.csv by name; `sources` are the files read.
    """

    name: str
    quality: Scores
    cost: Scores
    validation: dict[str, Scores]
    tables: dict[str, pd.DataFrame]
    robustness: dict[str, dict[str, Scores]]
    sources: tuple[Path, ...] = ()

    @property
    def metric(self) -> str:
        """What models are judged by; ValueError when they have none of METRICS."""
        for metric in METRICS:
            if any(metric in self.quality[model] for model in self.models):
                return metric
        raise ValueError(
            f"metrics/{self.name}/quality.json: no model has any of {', '.join(METRICS)}"
        )

    @property
    def models(self) -> list[str]:
        """The models, teachers first, each student with its int8 files, the control last."""
        names = [name for name in self.quality if name != "gain"]
        students = sorted(name for name in names if f"{name}_int8" in names)
        forms = [f"{name}{form}" for name in students for form in ("", *FORMS)]
        teachers = sorted(name for name in names if f"{name}_".startswith("teacher_"))
        means = [f"{name}_teachers" for name in students]  # of several that taught a student
        order = [*teachers, *means, *forms, "audio_blind"]
        known = [name for name in order if name in names]
        return known + [name for name in names if name not in known]

    @property
    def classes(self) -> bool:
        """Whether accuracy is a mean over classes."""
        return "class" in self.quality["teacher"]

    @property
    def gains(self) -> dict[str, Scores]:
        """The paired gains of one model over another, by pair."""
        return self.quality.get("gain") or {}

    @property
    def shipped(self) -> str | None:
        """The student whose confusions are shown, else the best on validation items; maybe none."""
        if "reliability" in self.tables:
            return self.tables["reliability"]["model"].iloc[0]
        found = {f"{recipe}_int8": one["accuracy"] for recipe, one in self.validation.items()}
        known = [model for model in found if model in self.models]
        return max(known, key=found.get, default=None)

    @property
    def chance(self) -> float | None:
        """The accuracy of guessing, or None where it is not known."""
        confusion = self.tables.get("confusion")
        known = confusion is not None and "options" in confusion and self.metric == "accuracy"
        return float((1 / confusion["options"]).mean()) if known else None

    def estimate(self, model: str, scores: Scores | None = None) -> Estimate:
        """Return a model's score with its interval, or the one in `scores`."""
        return charts.estimate(model, scores or self.quality[model], self.metric, self.models)

    def breakdowns(self) -> dict[str, list[str]]:
        """Return what scores are broken down by, `skill`, `device`…, with its values in order: as
        in the metrics, or by the number that each has in its name.
        """
        found: dict[str, list[str]] = {}
        for model in self.models:
            for key, part in self.quality[model].items():
                parts = list(part.values()) if isinstance(part, dict) else []
                if parts and all(isinstance(one, dict) and self.metric in one for one in parts):
                    found.setdefault(key, _in_order(list(part)))
        return found


def recipe(track: Track) -> str | None:
    """Return the recipe of the student that ships; None where there is none."""
    return track.shipped and track.shipped.removesuffix("_int8")


def student_file(root: Path, track: Track, form: str = ".int8") -> Path:
    """Return where a run at `root` leaves the student that ships; `form` "" is the one in float."""
    folder = root / "models" / track.name / "onnx"
    return folder / f"{track.name}-{recipe(track)}" / f"student{form}.onnx"


def _in_order(names: list[str]) -> list[str]:
    numbers = {name: re.findall(r"\d+", name) for name in names}
    if any(len(found) != 1 for found in numbers.values()):
        return names
    return sorted(names, key=lambda name: int(numbers[name][0]))


def read(root: Path) -> list[Track]:
    """Return every track that has results below `root`; ValueError when none has, or a file is not
    what it should be.
    """
    folders = sorted(path.parent for path in (root / "metrics").glob("*/quality.json"))
    if not folders:
        raise ValueError(f"{root / 'metrics'}: no <track>/quality.json; run `make repro` first")
    return [read_track(root, folder.name) for folder in folders]


def read_track(root: Path, name: str) -> Track:
    """Return a track's results; ValueError names a file that is not what it should be."""
    folder, sources = root / "metrics" / name, list[Path]()

    def load(path: Path) -> Any:
        if not path.is_file():
            return {}
        sources.append(path)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: not JSON ({error})") from None

    quality, cost = load(folder / "quality.json"), load(folder / "cost.json")
    if not quality:
        raise ValueError(f"{folder}/quality.json: no results; run `make repro` first")
    timings = {path.stem: load(path) for path in sorted((folder / "timing").glob("*@*.json"))}
    teachers = _teachers(timings, name)
    for stem, timing in timings.items():
        for model, times in _times(stem, timing, name, teachers).items():
            cost[model] = cost.get(model, {}) | times
    minutes = [cost.get(model, {}).get("train_minutes") for model in teachers.values()]
    if "teacher" not in teachers.values() and minutes and None not in minutes:
        cost["teacher"] = cost.get("teacher", {}) | {"train_minutes": sum(minutes)}
    validation = {
        path.stem.removeprefix(f"{name}-"): load(path)
        for path in sorted((folder / "validation").glob("*.json"))
    }
    robustness = load(folder / "robustness.json")
    robustness = {model: one for model, one in robustness.items() if isinstance(one, dict)}
    files = sorted((root / "plots" / name / "test").glob("*.csv"))
    tables = {path.stem: _table(path) for path in files}
    return Track(name, quality, cost, validation, tables, robustness, (*sources, *files))


def _teachers(timings: dict[str, Scores], track: str) -> dict[str, str]:
    """Return what results call each teacher, by key, as `evaluate` noted it; of a run that has not
    got there `teacher`, where there is one alone.
    """
    if noted := timings.get(f"evaluate@{track}", {}).get("teachers"):
        return noted
    keys = [stem.split("@")[1] for stem in timings if stem.startswith("teacher@")]
    return {key: "teacher" for key in keys} if len(keys) == 1 else {}


def _times(
    stem: str, timing: Scores, track: str, teachers: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Return {model: {"latency_ms", "train_minutes"}} of what a stage wrote down."""
    stage, key = stem.split("@")
    found = {
        model: {"latency_ms": latency["latency_median_ms"]}
        for model, latency in timing.get("latency", {}).items()
    }
    if "train_minutes" in timing:
        of_students = key.removeprefix(f"{track}-")
        model = teachers.get(key, f"teacher_{key}") if stage == "teacher" else of_students
        found[model] = {"train_minutes": timing["train_minutes"]}
    return found


def _table(path: Path) -> pd.DataFrame:
    """Return a table as it was written: a class may be called None, and a device NA."""
    labels = {"actual": str, "predicted": str}
    return pd.read_csv(path, dtype=labels, keep_default_na=False, na_values=[""])
