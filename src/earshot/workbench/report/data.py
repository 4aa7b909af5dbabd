"""What a report shows of a track: read from metrics and plots, whatever models and breakdowns they
hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from earshot.evaluation import charts
from earshot.evaluation.charts import Estimate
from earshot.runtime.files import sha256
from earshot.workbench.table import Scores, model_order, read_json, times_of

METRICS = ("accuracy", "wer")  # what a track is judged by: the first of these that its models have


@dataclass(frozen=True)
class Track:
    """A track's results; what is not there is empty.

    `quality` and `cost` are as in metrics/<track>/, with `latency_ms` and `train_minutes` added to
    a model's costs where they were measured. `tables` holds plots/<track>/test/*.csv by name;
    `sources` are the files read, relative to the root.
    """

    name: str
    quality: Scores
    cost: Scores
    validation: dict[str, Scores]
    tables: dict[str, pd.DataFrame]
    sources: tuple[str, ...]

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
        known = model_order(self.quality)
        return known + [model for model in self.quality if model not in (*known, "gain")]

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
        """Return what scores are broken down by, `skill`, `device`…, with its values in order."""
        found: dict[str, list[str]] = {}
        for model in self.models:
            for key, part in self.quality[model].items():
                parts = list(part.values()) if isinstance(part, dict) else []
                if parts and all(isinstance(one, dict) and self.metric in one for one in parts):
                    found.setdefault(key, list(part))
        return found


def read(root: Path) -> list[Track]:
    """Return every track that has results below `root`; ValueError when none has, or a file is not
    what it should be.
    """
    folders = sorted(path.parent for path in (root / "metrics").glob("*/quality.json"))
    if not folders:
        raise ValueError(f"{root / 'metrics'}: no <track>/quality.json; run `make repro` first")
    return [_track(root, folder) for folder in folders]


def _track(root: Path, folder: Path) -> Track:
    name, sources = folder.name, list[str]()

    def load(path: Path) -> Any:
        if not path.is_file():
            return {}
        sources.append(str(path.relative_to(root)))
        return read_json(path)

    quality, cost = (load(folder / f"{part}.json") for part in ("quality", "cost"))
    for model, times in times_of(folder / "timing", name).items():
        cost[model] = cost.get(model, {}) | times
    sources += [
        str(path.relative_to(root)) for path in sorted((folder / "timing").glob("*@*.json"))
    ]
    validation = {
        path.stem.removeprefix(f"{name}-"): load(path)
        for path in sorted((folder / "validation").glob("*.json"))
    }
    tables = {}
    for path in sorted((root / "plots" / name / "test").glob("*.csv")):
        tables[path.stem] = _table(path)
        sources.append(str(path.relative_to(root)))
    return Track(name, quality, cost, validation, tables, tuple(sources))


def _table(path: Path) -> pd.DataFrame:
    """Return a table as it was written: a class may be called None, and a device NA."""
    labels = {"actual": str, "predicted": str}
    return pd.read_csv(path, dtype=labels, keep_default_na=False, na_values=[""])


def hashes(tracks: list[Track], root: Path, params: Path) -> Iterator[tuple[str, str]]:
    """Yield path and SHA-256 of every file that the report shows."""
    sources = {source for track in tracks for source in track.sources}
    for path in sorted({str(params.relative_to(root)), *sources}):
        if (root / path).is_file():
            yield path, sha256(root / path)
