"""The plan as text: tables of downloads, disk and stages, each with its total."""

from collections.abc import Sequence
from typing import Any

from earshot.workbench.plan import storage
from earshot.workbench.plan.estimate import Plan

GIGA = 1e9


def render(plan: Plan) -> str:
    """Return the plan as text."""
    totals = plan.totals()
    parts = [
        _downloads(plan, totals),
        _disk(plan, totals),
        _stages(plan, totals),
    ]
    if plan.frozen:
        parts.append(f"Frozen, run by `make pretrain` alone: {', '.join(plan.frozen)}.")
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
    rows = [["stage", "work", "time", "runs", ""]]
    for line in plan.stages:
        time = "?" if line.low is None else span(line.low, line.high)
        runs = {True: "yes", False: "no", None: "?"}[line.runs]
        rows.append([line.stage, line.work, time, runs, line.why])
    more = totals["stages_of_unknown_time"]
    total = f"{totals['stages']} stages to run: "
    total += span(totals["seconds_low"], totals["seconds_high"])
    total += f", and {more} of unknown time" * bool(more)
    title = "Time, estimated, where nothing else is at work on this machine"
    return "\n".join([title, *align(rows, right={2}), total])


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
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 180_000 else f"{seconds / 86_400:,.0f} days"


def span(low: float, high: float) -> str:
    """Return a range of durations."""
    return f"{clock(low)} to {clock(high)}"
