"""Cells of Markdown tables: numbers in the unit people read them in, text that cannot break out of
its cell.
"""

import html
import json
from typing import Any

from earshot.workbench.comparison.figures import Interval
from earshot.workbench.comparison.moves import Move

SHARES = frozenset(
    {
        "accuracy",
        "macro_accuracy",
        "macro_f1",
        "ece",
        "wer",
        "cer",
        "device_drop",
        "drop",
        "agreement",
    }
)
MARKS = {
    "better": "▲ better",
    "worse": "▼ worse",
    "higher": "▲ higher",
    "lower": "▼ lower",
    "new": "new",
    "gone": "gone",
    "unusable": "⚠ no number",
}
_LONGEST = 80  # characters of a parameter's value


def is_share(name: str) -> bool:
    """Whether a figure is a share, shown in percent, its changes in points."""
    return name.rsplit(".", 1)[-1] in SHARES


def value(name: str, number: float | None, ends: Interval | None = None) -> str:
    """Return a figure as people read it, its interval behind it; nothing where a side lacks it."""
    if number is None:
        return "–"
    if not is_share(name):
        return f"{number:,}" if isinstance(number, int) else f"{number:.4g}"
    return f"{100 * number:z.1f}%" + (
        f" ({100 * ends[0]:z.1f}–{100 * ends[1]:z.1f})" if ends else ""
    )


def looks_the_same(move: Move) -> bool:
    """Whether both sides of a figure read the same, the difference being below the digits shown."""
    return value(move.name, move.base) == value(move.name, move.head)


def change(move: Move) -> str:
    """Return how far a figure moved: points for a share, else its own unit and percent."""
    if move.change is None:
        return ""
    if is_share(move.name):
        return f"{100 * move.change:+z.1f}"
    moved = f"{move.change:+,}" if isinstance(move.change, int) else f"{move.change:+.3g}"
    return moved + (f" ({move.change / abs(move.base):+.1%})" if move.base else "")


def mark(move: Move) -> str:
    """Return the word for a verdict; nothing for what did not move beyond its interval."""
    return MARKS.get(move.verdict, "")


def code(text: Any, longest: int = 1000) -> str:
    """Return text as code that stays within its table cell and carries no markup, link or
    mention.
    """
    line = " ".join(str(text).split())
    cut = line if len(line) <= longest else f"{line[: longest - 1]}…"
    if not set(cut) & set("`|<>&@"):
        return f"`{cut}`"
    codes = {ord("|"): "&#124;", ord("@"): "&#64;", ord("`"): "&#96;"}
    return f"<code>{html.escape(cut, quote=False).translate(codes)}</code>"


def parameter(content: Any) -> str:
    """Return a parameter's value as YAML's flow style has it, cut where it is long."""
    return code(json.dumps(content, ensure_ascii=False, default=str), _LONGEST)
