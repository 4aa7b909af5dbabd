"""What a run would cost, before anything is fetched: bytes to come, room on the disk, time for each
stage on this machine.

Times are speeds measured here on the pipeline's own code, times the work that the parameters imply.
What cannot be known is said to be unknown.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earshot.params import Params
from earshot.workbench.plan import pipeline, stages, storage, work

GIGA = 1e9


class PlanError(ValueError):
    """Speeds that could not be measured; one line says why."""


@dataclass(frozen=True)
class Line:
    """A stage: what is multiplied, expected seconds (None: unknown), and whether it will run, and
    why.
    """

    stage: str
    work: str
    seconds: float | None
    runs: bool | None
    why: str


@dataclass(frozen=True)
class Plan:
    """All that `earshot plan` says; `frozen` are the stages that only `make pretrain` runs."""

    downloads: list[storage.Piece]
    pretraining: list[storage.Piece]
    disk: list[storage.Room]
    free: int
    stages: list[Line]
    frozen: list[str]
    cores: int
    basis: dict[str, str]
    status: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain data with its totals."""
        return asdict(self) | {"totals": self.totals()}

    def totals(self) -> dict[str, Any]:
        """Return sums of what is known, and how much is not."""
        coming = {(piece.name): piece for piece in self.downloads if not piece.there}
        running = [line for line in self.stages if line.runs is not False]
        return {
            "download_bytes": sum(piece.left or 0 for piece in coming.values()),
            "downloads_of_unknown_size": sum(piece.left is None for piece in coming.values()),
            "disk_bytes": round(sum(room.bytes or 0 for room in self.disk)),
            "disk_of_unknown_size": sum(room.bytes is None for room in self.disk),
            "seconds": round(sum(line.seconds or 0 for line in running), 1),
            "stages": len(running),
            "stages_of_unknown_time": sum(line.seconds is None for line in running),
        }


Measure = Callable[[str], dict[str, Any]]


def make(
    params: Params,
    tracks: Sequence[str],
    measure: Measure,
    status: Callable[[], dict] = pipeline.stages,
) -> Plan:
    """Return the plan of some tracks; `measure` returns a track's speeds (`speeds_of`), `status`
    DVC's stages.
    """
    try:
        known, problem = status(), None
    except pipeline.PipelineError as error:
        known, problem = {}, str(error)
    stale = (
        {one.name for one in known.values() if one.reason}
        if known
        else {f"download@{name}" for name in params.tracks}
    )
    lines, rooms, pieces, starts, basis, cores = [], [], [], [], {}, 0
    for name in tracks:
        track = params.tracks[name]
        recipes = {key: recipe for key, recipe in params.recipes.items() if recipe.track == name}
        todo = work.count(name, track, params.seed, stale)
        basis[name] = todo.basis if todo else "unknown"
        speeds = measure(name)
        cores = speeds["cores"]
        expected = stages.expected(name, track, recipes, todo, speeds)
        order = [stage for stage in known if stage in expected] or list(expected)
        lines += [_line(expected[stage], known.get(stage)) for stage in order]
        rooms += storage.disk(name, track, recipes, todo, speeds)
        pieces += storage.downloads(name, track)
        starts += [piece for piece in [storage.pretraining(name, track)] if piece]
    frozen = [
        one.name for one in known.values() if one.frozen and one.name.partition("@")[2] in tracks
    ]
    return Plan(
        pieces, starts, rooms, shutil.disk_usage(".").free, lines, frozen, cores, basis, problem
    )


def _line(expected: stages.Expected, stage: pipeline.Stage | None) -> Line:
    runs = None if stage is None else stage.reason is not None
    why = "unknown" if stage is None else "frozen" if stage.frozen else stage.reason or "up to date"
    return Line(expected.stage, expected.work, expected.seconds, runs, why)


def speeds_of(name: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return a track's speeds, measured in a process of its own; `tell` hears what is being
    measured.

    Raises PlanError with the last line that the process said.
    """
    env = os.environ | dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
    )
    env["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parents[2]), *filter(None, [env.get("PYTHONPATH")])]
    )
    command = [sys.executable, "-m", "earshot.cli", "speeds", name]
    last = ""
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            last = line.strip() or last
            tell(f"measuring {name}: {last}")
        said = process.stdout.read()
    tell("")
    if process.returncode:
        raise PlanError(f"measuring {name}: {last or f'exit code {process.returncode}'}")
    return json.loads(said)


def render(plan: Plan) -> str:
    """Return the plan as text."""
    totals = plan.totals()
    parts = [
        _downloads(plan, totals),
        _disk(plan, totals),
        _stages(plan, totals),
    ]
    if plan.frozen:
        starts = ", ".join(
            f"{piece.name} ({size(piece.left)})" for piece in plan.pretraining if not piece.there
        )
        more = f"; that would fetch {starts}" if starts else ""
        parts.append(f"Frozen, run by `make pretrain` alone: {', '.join(plan.frozen)}{more}.")
    if plan.status:
        parts.append(f"Which stages will run is unknown ({plan.status}).")
    return "\n\n".join(parts)


def _downloads(plan: Plan, totals: dict[str, Any]) -> str:
    if not plan.downloads:
        return "Download: nothing; everything is made here."
    rows = [
        [piece.track, piece.name, _said(piece), _whereabouts(piece)] for piece in plan.downloads
    ]
    more = totals["downloads_of_unknown_size"]
    total = f"to fetch: {size(totals['download_bytes'])}" + f", and {more} of unknown size" * bool(
        more
    )
    return "\n".join(["Download", *align(rows, right={2}), total])


def _said(piece: storage.Piece) -> str:
    return (
        "unknown, about " + about(piece.about)
        if piece.bytes is None and piece.about
        else size(piece.bytes)
    )


def _whereabouts(piece: storage.Piece) -> str:
    if piece.there:
        return "here"
    return f"{size(piece.here)} here" if piece.here else ""


def _disk(plan: Plan, totals: dict[str, Any]) -> str:
    rows = [[room.track, room.what, about(room.bytes), room.basis] for room in plan.disk]
    more = totals["disk_of_unknown_size"]
    total = f"at most {about(totals['disk_bytes'])}" + f", and {more} unknown" * bool(more)
    return "\n".join(["Disk", *align(rows, right={2}), f"{total}; {about(plan.free)} free"])


def _stages(plan: Plan, totals: dict[str, Any]) -> str:
    head = ["stage", "work", "time", "runs", ""]
    rows = [
        [
            line.stage,
            line.work,
            "?" if line.seconds is None else clock(line.seconds),
            {True: "yes", False: "no", None: "?"}[line.runs],
            line.why,
        ]
        for line in plan.stages
    ]
    more = totals["stages_of_unknown_time"]
    total = (
        f"{totals['stages']} stages to run: {clock(totals['seconds'])}"
        + f", and {more} of unknown time" * bool(more)
    )
    basis = "; ".join(f"{track} from {said}" for track, said in plan.basis.items())
    title = f"Time, where nothing else is at work on this machine ({plan.cores} cores; counts of {basis})"
    return "\n".join([title, *align([head, *rows], right={2}), total])


def align(rows: Sequence[Sequence[str]], right: set[int]) -> list[str]:
    """Return rows as lines with their columns aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def size(count: int | None) -> str:
    """Return bytes, exact to the last one."""
    return "unknown" if count is None else f"{count:,} bytes"


def about(count: float | None) -> str:
    """Return bytes in the unit that suits them."""
    if count is None:
        return "unknown"
    return f"{count / GIGA:,.1f} GB" if count >= GIGA else f"{count / 1e6:,.0f} MB"


def clock(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"
