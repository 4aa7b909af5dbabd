"""The plan as text: tables of downloads, disk and stages, each with its total."""

from earshot.workbench.plan import Plan, storage
from earshot.workbench.rows import aligned


def render(plan: Plan) -> str:
    """Return the plan as text."""
    parts = [_downloads(plan), _disk(plan), _stages(plan)]
    if plan.frozen:
        parts.append(f"Frozen, run by `make pretrain` alone: {', '.join(plan.frozen)}.")
    if plan.status:
        parts.append(f"Which stages will run is unknown ({plan.status}).")
    return "\n\n".join(parts)


def _downloads(plan: Plan) -> str:
    if not plan.downloads:
        return "Download: nothing; everything is made here."
    rows = [[one.track, one.name, _size(one), _whereabouts(one)] for one in plan.downloads]
    totals = plan.totals()
    total = f"to fetch: {totals['download_bytes']:,} bytes"
    if more := totals["downloads_of_unknown_size"]:
        total += f", and {more} of unknown size"
    return "\n".join(["Download", *aligned(rows, right={2}, indent=2), total])


def _size(piece: storage.Piece) -> str:
    if piece.bytes is None:
        return f"unknown, about {about(piece.about)}" if piece.about else "unknown"
    return f"{piece.bytes:,} bytes"


def _whereabouts(piece: storage.Piece) -> str:
    if piece.there:
        return "here"
    return f"{piece.here:,} bytes here" if piece.here else ""


def _disk(plan: Plan) -> str:
    rows = [[room.track, room.what, about(room.bytes), room.basis] for room in plan.disk]
    totals = plan.totals()
    total = f"at most {about(totals['disk_bytes'])}"
    if more := totals["disk_of_unknown_size"]:
        total += f", and {more} unknown"
    table = aligned(rows, right={2}, indent=2)
    return "\n".join(["Disk", *table, f"{total}; {about(plan.free)} free"])


def _stages(plan: Plan) -> str:
    rows = [["stage", "work", "time", "runs", ""]]
    for line in plan.stages:
        time = "?" if line.low is None else f"{clock(line.low)} to {clock(line.high)}"
        runs = {True: "yes", False: "no", None: "?"}[line.runs]
        rows.append([line.stage, line.work, time, runs, line.why])
    totals = plan.totals()
    span = f"{clock(totals['seconds_low'])} to {clock(totals['seconds_high'])}"
    total = f"{totals['stages']} stages to run: {span}"
    if more := totals["stages_of_unknown_time"]:
        total += f", and {more} of unknown time"
    title = "Time, estimated, where nothing else is at work on this machine"
    return "\n".join([title, *aligned(rows, right={2}, indent=2), total])


def about(count: float | None) -> str:
    """Return bytes in the unit that suits them."""
    if count is None:
        return "unknown"
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def clock(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 180_000 else f"{seconds / 86_400:,.0f} days"
