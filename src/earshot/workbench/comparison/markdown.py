"""A comparison as a pull request's comment: what moved first, the rest folded away."""

from collections import Counter

from earshot.workbench.comparison import Comparison, Track
from earshot.workbench.comparison.cells import (
    change,
    code,
    looks_the_same,
    mark,
    parameter,
    value,
)
from earshot.workbench.comparison.changes import Changes
from earshot.workbench.comparison.gate import Gate
from earshot.workbench.comparison.moves import BEYOND, Move, headline, headlines
from earshot.workbench.comparison.snapshot import Snapshot
from earshot.workbench.table import markdown

MARKER = "<!-- earshot compare -->"  # the comment to update is found by it
LIMIT = 60_000  # characters; GitHub refuses comments above 65,536
_ROWS = 30  # of a table that is not folded
_RULE = (
    "Better and worse are said of what moved beyond its interval: the head's value outside "
    "the base's 95% interval, and the base's outside the head's."
)
_CUT = "*The rest is cut: a comment holds no more. `earshot compare --format json` has everything.*"


def render(found: Comparison, limit: int = LIMIT) -> str:
    """Return a comparison as Markdown of at most `limit` characters; what does not fit is left out,
    and it says so.
    """
    sections = [
        _title(found),
        _gate(found.gate),
        _faults(found.faults),
        *(section for track in found.tracks for section in _track(track)),
        _changes(found.changes),
    ]
    sections.append("" if found.tracks else "Neither side has metrics.")
    text = ""
    for section in (section for section in sections if section):
        longer = f"{text}\n\n{section}" if text else section
        if len(longer) + len(_CUT) + 3 > limit:
            return f"{text}\n\n{_CUT}\n"
        text = longer
    return f"{text}\n"


def _title(found: Comparison) -> str:
    lines = [MARKER, f"## Earshot: {_side(found.base)} → {_side(found.head)}", ""]
    counts = Counter(move.verdict for track in found.tracks for move in track.quality)
    moved = [
        f"**{counts[verdict]} {verdict}**" for verdict in ("worse", "better") if counts[verdict]
    ]
    moved += [f"{counts[verdict]} {verdict}" for verdict in ("new", "gone") if counts[verdict]]
    moved += [f"{counts['unusable']} without a number"] if counts["unusable"] else []
    still = counts["within"] + counts["changed"] + counts["higher"] + counts["lower"]
    moved += [f"{still} moved within their intervals or without a verdict"] if still else []
    moved.append(f"{counts['same']} the same")
    costs = sum(len(_costs(track)) for track in found.tracks)
    lines.append(
        f"Of {counts.total()} scores: {', '.join(moved)}; {costs or 'no'} "
        f"cost{'s' * (costs != 1)} changed. {_RULE}"
    )
    return "\n".join(lines)


def _side(side: Snapshot) -> str:
    short = (side.commit or "")[:10]
    if side.tree is None or not short or side.commit == side.name:
        return code(short if side.commit == side.name else side.name)
    return code(side.name) + ("" if side.commit.startswith(side.name) else f" ({short})")


def _gate(gate: Gate) -> str:
    lines = [f"⚠ {note[0].upper()}{note[1:]}." for note in gate.notes if gate.checks]
    if failed := gate.failures:
        lines.append(f"**Gate: failed**, {len(failed)} of {len(gate.checks)} guarded figures.")
        lines += [
            "",
            *(
                f"- {code(name)}: {why}"
                for name, _, why in (line.partition(": ") for line in failed)
            ),
        ]
    elif gate.checks:
        lines.append(
            f"**Gate: passed**, {len(gate.checks)} guarded figures are within their tolerance."
        )
    return "\n".join(lines)


def _faults(faults: list[str]) -> str:
    shown = [f"- {code(fault)}" for fault in faults[:_ROWS]]
    more = [f"- … and {len(faults) - _ROWS} more"] if len(faults) > _ROWS else []
    return "\n".join(["⚠ **Not numbers, or not readable:**", "", *shown, *more]) if faults else ""


def _track(track: Track) -> list[str]:
    state = {"new": ": a new track", "gone": ": this track is gone"}.get(track.state, "")
    parts = [f"### {track.name}{state}", *_models(track)]
    if cost := _costs(track):
        parts += [
            "",
            *markdown(
                ["cost", "base", "head", "change", ""], [_row(move) for move in cost[:_ROWS]]
            ),
        ]
        parts += [f"\n… and {len(cost) - _ROWS} more."] if len(cost) > _ROWS else []
    sections = ["\n".join(parts)]
    shown = {move.name for move in headlines(track.quality)}
    rest = [move for move in track.quality if move.name not in shown]
    judged = sorted(
        (move for move in rest if move.verdict in BEYOND),
        key=lambda move: BEYOND.index(move.verdict),
    )
    quiet = [move for move in rest if move.verdict in ("within", "changed")]
    close = [move for move in quiet if move.name.count(".") == 1 and not looks_the_same(move)]
    if judged or close:
        silent = len(quiet) - len(close)
        lines = markdown(
            ["figure", "base", "head", "change", ""], [_row(move) for move in [*judged, *close]]
        )
        more = (
            f"\nAnd {silent} more, of groups and gains or too small to see, moved within "
            "their intervals or have none."
        )
        lines += [more] if silent else []
        sections.append(
            _fold(f"{track.name}, other figures: {len(judged)} beyond their intervals", lines)
        )
    return sections


def _costs(track: Track) -> list[Move]:
    return [move for move in track.cost if move.verdict != "same"]


def _models(track: Track) -> list[str]:
    models = list(headlines(track.quality))
    moved = [move for move in models if move.verdict != "same"]
    still = [code(move.model) for move in models if move.verdict == "same"]
    score = f"{'macro ' if track.classes else ''}{headline(track.quality)}, 95% interval"
    lines = []
    if moved:
        rows = [[code(move.model), *_row(move)[1:]] for move in moved]
        lines += ["", *markdown([score, "base", "head", "points", ""], rows)]
    if still:
        lines += ["", f"Unchanged {score.partition(',')[0]}: {', '.join(still)}."]
    return lines


def _row(move: Move) -> list[str]:
    shown = (
        value(move.name, move.base, move.base_interval),
        value(move.name, move.head, move.head_interval),
    )
    word = mark(move)
    return [
        code(move.name),
        *shown,
        change(move),
        f"**{word}**" if move.verdict in ("better", "worse") else word,
    ]


def _changes(found: Changes) -> str:
    rows = [
        [code(key), parameter(old), parameter(new)] for key, (old, new) in found.changed.items()
    ]
    rows += [[code(key), "–", parameter(new)] for key, new in found.added.items()]
    rows += [[code(key), parameter(old), "–"] for key, old in found.removed.items()]
    if not rows:
        return ""
    lines = markdown(["parameter", "base", "head"], rows)
    summary = (
        f"Parameters: {len(found.changed)} changed, {len(found.added)} added, "
        f"{len(found.removed)} removed"
    )
    return _fold(summary, lines) if len(rows) > _ROWS else "\n".join([f"### {summary}", "", *lines])


def _fold(summary: str, lines: list[str]) -> str:
    return "\n".join([f"<details><summary>{summary}</summary>", "", *lines, "", "</details>"])
