"""What a run would cost, before anything is fetched: bytes to come, room on the disk, and times.

Times are estimates: the seconds of the last run, scaled by hours of audio, epochs and seeds; where
a stage never ran here, those of `reference.json`, measured on the embedded corpora on two cores.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from earshot.params import Params, parse
from earshot.runtime import yaml_file
from earshot.runtime.files import write_json
from earshot.workbench.plan import pipeline, storage, work

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
        coming = {piece.name: piece for piece in self.downloads if not piece.there}
        running = [line for line in self.stages if line.runs is not False]
        return {
            "download_bytes": sum(piece.left or 0 for piece in coming.values()),
            "downloads_of_unknown_size": sum(piece.left is None for piece in coming.values()),
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
    """Return the plan of some tracks; `status` returns DVC's stages."""
    try:
        known, problem = status(), None
    except pipeline.PipelineError as error:
        known, problem = {}, str(error)
    stale = {f"download@{name}" for name in params.tracks}
    if known:
        stale = {one.name for one in known.values() if one.reason}
    pieces, rooms = [], []
    for name in tracks:
        track = params.tracks[name]
        teachers = [one for one in params.teachers.values() if one.track == name]
        wide = max((storage.width(teacher) for teacher in teachers), default=0)
        fetched = storage.downloads(name, track, teachers)
        hours = work.split_hours(name, track, stale)
        pieces += fetched
        framed = 0.0 if hours is None else work.framed_hours(track, teachers, hours)
        total = None if hours is None else sum(hours.values())
        rooms += storage.disk(name, track, fetched, total, framed * wide)
    owners = _owners(params)
    amounts, before = work.amounts(params, stale), work.amounts(_last_run(params))
    lines = [
        _line(stage, amount, before.get(stage), owners[stage], known.get(stage))
        for stage, amount in amounts.items()
        if owners[stage] in tracks
    ]
    frozen = [name for name, one in known.items() if one.frozen]
    frozen = [name for name in frozen if name.partition("@")[2] in tracks]
    return Plan(pieces, rooms, shutil.disk_usage(".").free, lines, frozen, problem)


def record(params: Params) -> int:
    """Write the seconds a unit of the stages that ran here to the reference; return how many."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    owners = _owners(params)
    for stage, amount in work.amounts(params).items():
        seconds = _recorded(stage, owners[stage])
        if amount and amount.units and seconds is not None:
            kind = stage.partition("@")[0]
            rate = max(0.0, seconds - START) / amount.units, amount.size
            found.setdefault(kind, {}).setdefault(amount.task, []).append(rate)
    table = json.loads(REFERENCE.read_text(encoding="utf-8")) if REFERENCE.is_file() else {}
    for kind, tasks in found.items():
        for task, rates in tasks.items():
            seconds = median(rate for rate, _ in rates)
            row = {"seconds": float(f"{seconds:.3g}"), "size": rates[0][1]}
            table.setdefault(kind, {})[task] = row
    write_json(REFERENCE, table)
    return sum(len(tasks) for tasks in found.values())


def _owners(params: Params) -> dict[str, str]:
    """Return the track of each stage."""
    owners = {}
    for name in params.tracks:
        for stage in ("download", "features", "fewshot", "evaluate"):
            owners[f"{stage}@{name}"] = name
    for key, teacher in params.teachers.items():
        owners |= {f"teacher@{key}": teacher.track, f"cache@{key}": teacher.track}
    for key, recipe in params.recipes.items():
        owners |= {f"distill@{key}": recipe.track, f"quantize@{key}": recipe.track}
    return owners


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
        stages = yaml_file.read("dvc.lock")["stages"].values()
        for stage in stages:
            for path, value in stage.get("params", {}).get("params.yaml", {}).items():
                *parents, last = path.split(".")
                place = content
                for parent in parents:
                    place = place[parent]
                place[last] = value
        return parse(content)
    except (OSError, ValueError, KeyError, TypeError):
        return params


def _line(
    stage: str,
    amount: work.Work | None,
    before: work.Work | None,
    track: str,
    known: pipeline.Stage | None,
) -> Line:
    runs = None if known is None else known.reason is not None
    why = "unknown" if known is None else "frozen" if known.frozen else known.reason or "up to date"
    if amount is None:
        return Line(stage, "as fast as the network, or unknown", None, None, runs, why)
    seconds, spread = _estimate(stage, amount, before, track)
    if seconds is None:
        return Line(stage, amount.what, None, None, runs, why)
    return Line(stage, amount.what, seconds / spread, seconds * spread, runs, why)


def _estimate(
    stage: str, amount: work.Work, before: work.Work | None, track: str
) -> tuple[float | None, float]:
    """Return expected seconds and the factor they may be wrong by."""
    recorded = _recorded(stage, track)
    if recorded is not None and before and before.units:
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
