"""What a run would cost, before anything is fetched: bytes to come, room on the disk, and times.

Times are estimates: the seconds of the last run, scaled by hours of audio, epochs and seeds; where
a stage never ran here, those of `reference.json`, measured on the embedded corpora on two cores.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from statistics import median
from typing import Any

from earshot.params import ParameterError, Params, parse
from earshot.runtime import yaml_file
from earshot.runtime.files import write_json
from earshot.workbench.plan import pipeline, storage
from earshot.workbench.plan.work import (
    Work,
    amounts,
    answered_hours,
    framed_hours,
    split_hours,
)

REFERENCE = Path(__file__).with_name("reference.json")  # {stage: {task: {"seconds", "size"}}}
START = 5.0  # seconds of a stage, whatever it works on
LIKELY = 1.5  # a time is between a `LIKELY`th and `LIKELY` times the estimate
OTHER_MACHINE, OTHER_SIZE = 1.5, 2.0  # and so much wider for another machine's, another network's


@dataclass(frozen=True)
class Line:
    """A stage: its work, expected seconds (low, high; None: unknown), and whether it will run."""

    stage: str
    work: str
    low: float | None
    high: float | None
    runs: bool | None
    why: str


@dataclass(frozen=True)
class Plan:
    """All that `earshot plan` says; `frozen` are the stages that only `make pretrain` runs."""

    downloads: list[storage.Piece]
    disk: list[storage.Room]
    free: int
    stages: list[Line]
    frozen: list[str]
    status: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain data with its totals."""
        return asdict(self) | {"totals": self.totals()}

    def totals(self) -> dict[str, Any]:
        """Return sums of what is known, and how much is not."""
        coming = [piece for piece in self.downloads if not piece.there]
        running = [line for line in self.stages if line.runs is not False]
        return {
            "download_bytes": sum(piece.left or 0 for piece in coming),
            "downloads_of_unknown_size": sum(piece.left is None for piece in coming),
            "disk_bytes": round(sum(room.bytes or 0 for room in self.disk)),
            "disk_of_unknown_size": sum(room.bytes is None for room in self.disk),
            "seconds_low": round(sum(line.low or 0 for line in running), 1),
            "seconds_high": round(sum(line.high or 0 for line in running), 1),
            "stages": len(running),
            "stages_of_unknown_time": sum(line.low is None for line in running),
        }


def make(
    params: Params, tracks: Sequence[str], status: Callable[[], dict] = pipeline.stages
) -> Plan:
    """Return the plan of some tracks; `status` returns DVC's stages.

    ParameterError names a term that its teacher cannot teach, as far as that is here.
    """
    _check_terms(params)
    try:
        known, problem = status(), None
    except pipeline.PipelineError as error:
        known, problem = {}, str(error)
    stale = {f"download@{name}" for name in params.tracks}
    if known:
        stale = {one.name for one in known.values() if one.reason}
    pieces: dict[tuple[str, str], storage.Piece] = {}  # by place and name
    rooms = []
    for name in tracks:
        track = params.tracks[name]
        teachers = [one for one in params.teachers.values() if one.track == name]
        encoders = [one for one in teachers if not storage.writes(one)]
        wide = max((storage.width(teacher) for teacher in encoders), default=0)
        found = {(one.place, one.name): one for one in storage.downloads(name, track, teachers)}
        fetched = {key: one for key, one in found.items() if key not in pieces}
        hours = split_hours(name, track, stale)
        answered = answered_hours(track, hours) if encoders else 0.0
        framed = framed_hours(track, encoders, hours) * wide
        sizes = sum(hours.values()), answered, framed
        rooms += storage.disk(name, track, list(fetched.values()), *sizes)
        pieces |= fetched
    before = amounts(_last_run(params))
    lines = [
        _line(stage, amount, before.get(stage), known.get(stage))
        for stage, amount in amounts(params, stale).items()
        if amount.track in tracks
    ]
    frozen = [name for name, one in known.items() if one.frozen]
    frozen = [name for name in frozen if name.partition("@")[2] in tracks]
    return Plan(list(pieces.values()), rooms, shutil.disk_usage(".").free, lines, frozen, problem)


def _check_terms(params: Params) -> None:
    for key, recipe in params.recipes.items():
        only = [one for one in recipe.teachers if storage.writes(params.teachers[one])]
        for term in recipe.taught():
            if only and len(only) == len(recipe.teachers) and term != "pseudo":
                raise ParameterError(
                    f"params.yaml: recipes.{key}.terms.{term}: teachers.{only[0]} only "
                    "transcribes, which teaches terms.pseudo alone"
                )


def record(params: Params) -> int:
    """Write the seconds a unit of the stages that ran here to the reference; return how many."""
    found: dict[tuple[str, str], list[float]] = {}
    sizes: dict[tuple[str, str], float] = {}
    for stage, amount in amounts(params).items():
        seconds = _recorded(stage, amount.track)
        if amount.units > 0 and seconds is not None:
            kind = stage.partition("@")[0], amount.task
            found.setdefault(kind, []).append(max(0.0, seconds - START) / amount.units)
            sizes.setdefault(kind, amount.size)
    table = json.loads(REFERENCE.read_text(encoding="utf-8")) if REFERENCE.is_file() else {}
    for (kind, task), rates in found.items():
        row = {"seconds": float(f"{median(rates):.3g}"), "size": sizes[kind, task]}
        table.setdefault(kind, {})[task] = row
    write_json(REFERENCE, table)
    return len(found)


def _recorded(stage: str, track: str) -> float | None:
    """Return the seconds of a stage's last run here, None where it never ran."""
    path = Path(f"metrics/{track}/timing/{stage}.json")
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError):
        return None


def _last_run(params: Params) -> Params:
    """Return the parameters of the last run, as dvc.lock has them; `params` where it has none."""
    content = params.model_dump()
    try:
        for stage in yaml_file.read("dvc.lock")["stages"].values():
            for path, value in stage.get("params", {}).get("params.yaml", {}).items():
                *parents, last = path.split(".")
                place = content
                for parent in parents:
                    place = place[parent]
                place[last] = value
        return parse(content)
    except (OSError, ValueError, KeyError, TypeError):
        return params


def _line(stage: str, amount: Work, before: Work | None, known: pipeline.Stage | None) -> Line:
    runs = None if known is None else known.reason is not None
    why = "unknown" if known is None else "frozen" if known.frozen else known.reason or "up to date"
    if isnan(amount.units):
        return Line(stage, "as fast as the network, or unknown", None, None, runs, why)
    seconds, spread = _estimate(stage, amount, before)
    if seconds is None:
        return Line(stage, amount.what, None, None, runs, why)
    return Line(stage, amount.what, seconds / spread, seconds * spread, runs, why)


def _estimate(stage: str, amount: Work, before: Work | None) -> tuple[float | None, float]:
    """Return expected seconds and the factor they may be wrong by."""
    recorded = _recorded(stage, amount.track)
    if recorded is not None and before and before.units > 0:
        rate, size, spread = max(0.0, recorded - START) / before.units, before.size, LIKELY
    else:
        table = json.loads(REFERENCE.read_text(encoding="utf-8"))
        row = table.get(stage.partition("@")[0], {}).get(amount.task)
        if row is None:
            return None, 1.0
        rate, size, spread = row["seconds"], row["size"], LIKELY * OTHER_MACHINE
    if amount.size != size:
        spread *= OTHER_SIZE
    return START + rate * amount.units * amount.size / size, spread
