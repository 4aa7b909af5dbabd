"""What a report shows of a track: read from metrics and plots, whatever models and breakdowns they
hold.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from earshot.runtime.files import sha256
from earshot.workbench.table import Scores, model_order

METRICS = ("accuracy", "wer")  # what a track is judged by: the first of these that its models have
FORMS = ("_int8", "_ptq")


@dataclass(frozen=True)
class Track:
    """A track's results; a table that is not there is None.

    `quality` and `cost` are as in metrics/<track>/; `tables` holds plots/<track>/test/*.csv by
    name. `sources` are the files read, relative to the root. `minutes` is what each stage took, all
    recipes together.
    """

    name: str
    quality: Scores
    cost: Scores
    items: Scores
    minutes: dict[str, float]
    tables: dict[str, pd.DataFrame]
    sources: tuple[str, ...]

    @property
    def metric(self) -> str:
        """What models are judged by; ValueError when they have none of METRICS."""
        found = [
            metric
            for metric in METRICS
            if any(metric in self.quality[model] for model in self.models)
        ]
        if not found:
            raise ValueError(
                f"metrics/{self.name}/quality.json: no model has any of {', '.join(METRICS)}"
            )
        return found[0]

    @property
    def models(self) -> list[str]:
        """The models, teachers first, each student with its int8 files, the control last; then any
        others.
        """
        known = model_order(self.quality)
        return known + [model for model in self.quality if model != "gain" and model not in known]

    @property
    def told(self) -> list[str]:
        """The models that charts with little room show: teachers, what is shipped of each recipe,
        the control.
        """
        shipped = {model.removesuffix("_int8") for model in self.models if model.endswith("_int8")}
        return [
            model for model in self.models if model not in shipped and not model.endswith("_ptq")
        ]

    @property
    def shipped(self) -> str | None:
        """The model whose answers confusion.csv holds: the int8 file with just that accuracy, if
        there is one.
        """
        confusion = self.tables.get("confusion")
        if confusion is None or confusion.empty:
            return None
        right = float((confusion["actual"] == confusion["predicted"]).mean())
        files = [
            model
            for model in self.models
            if model.endswith("_int8") and "accuracy" in self.quality[model]
        ]
        exact = [model for model in files if abs(self.quality[model]["accuracy"] - right) < 1e-9]
        return exact[0] if exact else None

    def series(self, model: str) -> tuple[int, bool]:
        """Return the place of a model's colour, the same in every chart, and whether it is a
        quantized form of another.
        """
        bases = list(dict.fromkeys(base(one) for one in self.models))
        return bases.index(base(model)) if base(model) in bases else len(bases), base(
            model
        ) != model

    def breakdowns(self) -> dict[str, list[str]]:
        """Return what scores are broken down by, `skill`, `device`…, and the values of each, in
        order.
        """
        found: dict[str, list[str]] = {}
        for model in self.models:
            for key, part in self.quality[model].items():
                if (
                    isinstance(part, dict)
                    and part
                    and all(isinstance(one, dict) and self.metric in one for one in part.values())
                ):
                    found.setdefault(key, list(part))
        return found


def base(model: str) -> str:
    """Return the student whose quantized form `model` is, or `model` itself."""
    return next((model.removesuffix(form) for form in FORMS if model.endswith(form)), model)


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
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path}: not JSON ({error})") from None

    quality, cost, items = (load(folder / f"{part}.json") for part in ("quality", "cost", "items"))
    minutes: dict[str, float] = {}
    for path in sorted((folder / "seconds").glob("*.json")):
        stage = path.stem.split("@")[0]
        minutes[stage] = minutes.get(stage, 0.0) + load(path)["seconds"] / 60
    tables = {}
    for path in sorted((root / "plots" / name / "test").glob("*.csv")):
        tables[path.stem] = pd.read_csv(
            path, dtype={"actual": str, "predicted": str}, float_precision="round_trip"
        )
        sources.append(str(path.relative_to(root)))
    return Track(name, quality, cost, items, minutes, tables, tuple(sources))


def hashes(tracks: list[Track], root: Path, params: Path) -> Iterator[tuple[str, str]]:
    """Yield path and SHA-256 of every file that the report shows."""
    for path in sorted(
        {str(params.relative_to(root)), *(source for track in tracks for source in track.sources)}
    ):
        if (root / path).is_file():
            yield path, sha256(root / path)
