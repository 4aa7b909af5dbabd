"""How a figure moved between two sides, and whether that is more than its interval explains.

The rule: a figure moved *beyond its interval* when the head's value lies outside the base's 95%
interval and the base's value lies outside the head's. Only such figures are called better or worse.
Costs have no interval, being counted: any change counts. Figures without an interval are shown,
never judged.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from earshot.workbench.comparison.directions import DIFFERENCE, sign
from earshot.workbench.comparison.figures import Figures, Interval

Verdict = Literal[
    "same", "within", "changed", "better", "worse", "higher", "lower", "new", "gone", "unusable"
]
BEYOND: tuple[Verdict, ...] = ("worse", "better", "lower", "higher")
HEADLINES = ("wer", "accuracy")  # the first one that a track's models have


@dataclass(frozen=True)
class Move:
    """A figure on both sides, None where a side lacks it, with its intervals and the verdict."""

    name: str
    base: float | None
    head: float | None
    base_interval: Interval | None
    head_interval: Interval | None
    verdict: Verdict

    @property
    def model(self) -> str:
        """The first part of the name."""
        return self.name.split(".", 1)[0]

    @property
    def change(self) -> float | None:
        """The head's value less the base's."""
        return None if self.base is None or self.head is None else self.head - self.base


def moves(base: Figures, head: Figures, counted: bool) -> list[Move]:
    """Return every figure of either side, the head's order first; `counted` figures need no
    interval to be judged.
    """
    names = dict.fromkeys([*head.names(), *base.names()])
    return [_move(name, base, head, counted) for name in names]


def headline(found: list[Move]) -> str | None:
    """Return the score that a track's models are known by, or None where there is none."""
    there = {move.name.split(".", 1)[1] for move in found if move.name.count(".") == 1}
    return next((name for name in HEADLINES if name in there), None)


def headlines(found: list[Move]) -> Iterator[Move]:
    """Yield each model's headline score."""
    name = headline(found)
    return (move for move in found if name and move.name == f"{move.model}.{name}")


def _move(name: str, base: Figures, head: Figures, counted: bool) -> Move:
    values = base.values.get(name), head.values.get(name)
    ends = base.interval(name), head.interval(name)
    return Move(name, *values, *ends, _verdict(name, base, head, counted))


def _verdict(name: str, base: Figures, head: Figures, counted: bool) -> Verdict:
    old, new = base.values.get(name), head.values.get(name)
    old_ends, new_ends = base.interval(name), head.interval(name)
    if new is None:
        return "unusable" if head.fault(name) else "gone"
    if old is None:
        return "unusable" if base.fault(name) else "new"
    if old == new:
        return "same"
    if not (counted or (old_ends and new_ends)):
        return "changed"
    if old_ends and new_ends and (_within(new, old_ends) or _within(old, new_ends)):
        return "within"
    better = 0 if name.startswith(f"{DIFFERENCE}.") else sign(name)
    if not better:
        return "higher" if new > old else "lower"
    return "better" if (new - old) * better > 0 else "worse"


def _within(value: float, ends: Interval) -> bool:
    return ends[0] <= value <= ends[1]
