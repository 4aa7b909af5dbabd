"""A comparison as a pull request's comment: what moved first, the rest folded away."""

import html
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from earshot.workbench.comparison import Comparison, Track
from earshot.workbench.comparison.figures import ABSENT, Interval
from earshot.workbench.comparison.gate import Gate
from earshot.workbench.comparison.moves import Move, headline, headlines
from earshot.workbench.comparison.sides import Side
from earshot.workbench.rows import markdown

MARKER = "<!-- earshot compare -->"  # the comment to update is found by it
LIMIT = 60_000  # characters; GitHub refuses comments above 65,536
SHARES = frozenset({"accuracy", "macro_accuracy", "macro_f1", "ece", "wer", "cer", "device_drop"})
SHARES |= {"drop", "agreement"}  # shown in percent, their changes in points
MARKS = {
    "worse": "**▼ worse**",
    "better": "**▲ better**",
    "lower": "▼ lower",
    "higher": "▲ higher",
    "new": "new",
    "gone": "gone",
    "unusable": "⚠ no number",
}
BEYOND = list(MARKS)[:4]  # their intervals, the worst first
_ROWS = 30  # of a table that is not folded
_LONGEST = 80  # characters of a parameter's value
_RULE = (
    "Better and worse are said of what moved beyond its interval: the head's value outside "
    "the base's 95% interval, and the base's outside the head's."
)
_CUT = "*The rest is cut: a comment holds no more. `earshot compare --format json` has everything.*"


def render(found: Comparison, limit: int = LIMIT) -> str:
    """Return a comparison as Markdown of at most `limit` characters; what does not fit is left out,
    and it says so.
    """
    sections = [_title(found), _gate(found.gate), _faults(found.faults)]
    for track in found.tracks:
        sections += [_track(track), _others(track)]
    sections += [_changes(found.changes), "" if found.tracks else "Neither side has metrics."]
    text = ""
    for section in filter(None, sections):
        longer = f"{text}\n\n{section}" if text else section
        if len(longer) + len(_CUT) + 3 > limit:
            return f"{text}\n\n{_CUT}\n"
        text = longer
    return f"{text}\n"


def _title(found: Comparison) -> str:
    counts = Counter(move.verdict for track in found.tracks for move in track.quality)
    still = sum(counts[verdict] for verdict in ("within", "changed", "higher", "lower"))
    parts = {
        "**{} worse**": counts["worse"],
        "**{} better**": counts["better"],
        "{} new": counts["new"],
        "{} gone": counts["gone"],
        "{} without a number": counts["unusable"],
        "{} moved within their intervals or without a verdict": still,
    }
    moved = [text.format(count) for text, count in parts.items() if count]
    costs = sum(move.verdict != "same" for track in found.tracks for move in track.cost)
    moved = ", ".join([*moved, f"{counts['same']} the same"])
    changed = f"{costs or 'no'} cost{'s' * (costs != 1)} changed"
    title = f"## Earshot: {_side(found.base)} → {_side(found.head)}"
    return f"{MARKER}\n{title}\n\nOf {counts.total()} scores: {moved}; {changed}. {_RULE}"


def _side(side: Side) -> str:
    short = (side.commit or "")[:10]
    if side.tree is None or not short or side.commit == side.name:
        return code(short if side.commit == side.name else side.name)
    return code(side.name) + ("" if side.commit.startswith(side.name) else f" ({short})")


def _gate(gate: Gate) -> str:
    lines = [f"⚠ {note[0].upper()}{note[1:]}." for note in gate.notes if gate.checks]
    if failed := gate.failures:
        lines += [f"**Gate: failed**, {len(failed)} of {len(gate.checks)} guarded figures.", ""]
        parts = [line.partition(": ") for line in failed]
        lines += [f"- {code(name)}: {why}" for name, _, why in parts]
    elif gate.checks:
        count = len(gate.checks)
        lines.append(f"**Gate: passed**, {count} guarded figures are within their tolerance.")
    return "\n".join(lines)


def _faults(faults: list[str]) -> str:
    if not faults:
        return ""
    lines = ["⚠ **Not numbers, or not readable:**", "", *(f"- {code(one)}" for one in faults)]
    more = [f"- … and {len(faults) - _ROWS} more"] if len(faults) > _ROWS else []
    return "\n".join([*lines[: _ROWS + 2], *more])


def _track(track: Track) -> str:
    """Return the models' headline scores, and the costs that changed."""
    state = {"new": ": a new track", "gone": ": this track is gone"}.get(track.state, "")
    lines = [f"### {track.name}{state}"]
    name = f"{'macro ' if track.classes else ''}{headline(track.quality)}"
    models = list(headlines(track.quality))
    if moved := [move for move in models if move.verdict != "same"]:
        rows = [[code(move.model), *_row(move)[1:]] for move in moved]
        heads = [f"{name}, 95% interval", "base", "head", "points", ""]
        lines += ["", *markdown(heads, rows)]
    if still := [code(move.model) for move in models if move.verdict == "same"]:
        lines += ["", f"Unchanged {name}: {', '.join(still)}."]
    if costs := [move for move in track.cost if move.verdict != "same"]:
        lines += ["", *_table("cost", costs[:_ROWS])]
        lines += [f"\n… and {len(costs) - _ROWS} more."] if len(costs) > _ROWS else []
    return "\n".join(lines)


def _others(track: Track) -> str:
    """Return the other scores that moved, the worst first; those of groups only if judged."""
    shown = {move.name for move in headlines(track.quality)}
    rest = [move for move in track.quality if move.name not in shown]
    judged = [move for move in rest if move.verdict in BEYOND]
    judged.sort(key=lambda move: BEYOND.index(move.verdict))
    quiet = [move for move in rest if move.verdict in ("within", "changed")]
    close = [
        move
        for move in quiet
        if move.name.count(".") == 1 and value(move.name, move.base) != value(move.name, move.head)
    ]
    if not judged and not close:
        return ""
    lines = _table("figure", [*judged, *close])
    if silent := len(quiet) - len(close):
        which = "of groups and gains or too small to see"
        lines.append(f"\nAnd {silent} more, {which}, moved within their intervals or have none.")
    return _fold(f"{track.name}, other figures: {len(judged)} beyond their intervals", lines)


def _table(what: str, moves: Iterable[Move]) -> list[str]:
    return markdown([what, "base", "head", "change", ""], map(_row, moves))


def _row(move: Move) -> list[str]:
    base = value(move.name, move.base, move.base_interval)
    head = value(move.name, move.head, move.head_interval)
    return [code(move.name), base, head, change(move), MARKS.get(move.verdict, "")]


def _changes(found: dict[str, tuple[Any, Any]]) -> str:
    if not found:
        return ""
    rows = [
        [code(key), parameter(old), parameter(new)]
        for key, (old, new) in sorted(found.items(), key=lambda pair: _kind(*pair[1]))
    ]
    added = sum(old is ABSENT for old, _ in found.values())
    removed = sum(new is ABSENT for _, new in found.values())
    changed = len(found) - added - removed
    summary = f"Parameters: {changed} changed, {added} added, {removed} removed"
    lines = markdown(["parameter", "base", "head"], rows)
    return _fold(summary, lines) if len(rows) > _ROWS else "\n".join([f"### {summary}", "", *lines])


def _kind(old: Any, new: Any) -> int:
    """Return 0 of a parameter that was changed, 1 of one that was added, 2 of a removed one."""
    return 1 if old is ABSENT else 2 * (new is ABSENT)


def _fold(summary: str, lines: list[str]) -> str:
    return "\n".join([f"<details><summary>{summary}</summary>", "", *lines, "", "</details>"])


def _is_share(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in SHARES


def value(name: str, number: float | None, ends: Interval | None = None) -> str:
    """Return a figure as people read it, its interval behind it; nothing where a side lacks it."""
    if number is None:
        return "–"
    if not _is_share(name):
        return f"{number:,}" if isinstance(number, int) else f"{number:.4g}"
    interval = f" ({100 * ends[0]:z.1f}–{100 * ends[1]:z.1f})" if ends else ""
    return f"{100 * number:z.1f}%{interval}"


def change(move: Move) -> str:
    """Return how far a figure moved: points for a share, else its own unit and percent."""
    if move.change is None:
        return ""
    if _is_share(move.name):
        return f"{100 * move.change:+z.1f}"
    moved = f"{move.change:+,}" if isinstance(move.change, int) else f"{move.change:+.3g}"
    return moved + (f" ({move.change / abs(move.base):+.1%})" if move.base else "")


def code(text: Any, longest: int = 1000) -> str:
    """Return text as code that stays in its table cell and carries no markup, link or mention."""
    line = " ".join(str(text).split())
    cut = line if len(line) <= longest else f"{line[: longest - 1]}…"
    if not set(cut) & set("`|<>&@"):
        return f"`{cut}`"
    codes = {ord("|"): "&#124;", ord("@"): "&#64;", ord("`"): "&#96;"}
    return f"<code>{html.escape(cut, quote=False).translate(codes)}</code>"


def parameter(content: Any) -> str:
    """Return a parameter's value as YAML's flow style has it, cut where it is long."""
    if content is ABSENT:
        return f"{ABSENT}"
    return code(json.dumps(content, ensure_ascii=False, default=str), _LONGEST)
