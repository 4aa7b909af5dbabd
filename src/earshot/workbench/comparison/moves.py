"""How a figure moved between two sides, and whether that is more than its interval explains.

The rule: a figure moved *beyond its interval* when the head's value lies outside the base's 95%
interval and the base's value lies outside the head's. Only such figures are called better or worse.
Costs have no interval, being counted: any change counts. Figures without an interval are shown,
never judged.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from earshot.workbench.comparison.figures import Figures, Interval, fault, interval, names, number

HEADLINES = ("wer", "accuracy")  # the first one that a track's models have
HIGHER = frozenset({"accuracy", "macro_accuracy", "macro_f1", "agreement"})
LOWER = frozenset({"nll", "ece", "wer", "cer", "drop", "device_drop"})
LOWER |= {"bytes", "macs", "parameters", "parameter_bytes"}
DIFFERENCE = "gain"  # of two models: what moved it, one or the other, it does not say


@dataclass(frozen=True)
class Move:
    """A figure on both sides, None where a side lacks it, with its intervals and the verdict.

    Verdicts: same, within, changed (without interval), better, worse, higher, lower, new, gone,
    unusable.
    """

    name: str
    base: float | None
    head: float | None
    base_interval: Interval | None
    head_interval: Interval | None
    verdict: str

    @property
    def model(self) -> str:
        """The first part of the name."""
        return self.name.split(".", 1)[0]

    @property
    def change(self) -> float | None:
        """The head's value less the base's."""
        return None if self.base is None or self.head is None else self.head - self.base


def sign(name: str) -> int:
    """Return 1 where more is better, -1 where less is, 0 where a figure's name does not say."""
    last = name.rsplit(".", 1)[-1]
    return 1 if last in HIGHER else -1 if last in LOWER else 0


def moves(base: Figures, head: Figures, counted: bool) -> list[Move]:
    """Return every figure of either side, the head's order first; `counted` figures need no
    interval to be judged.
    """
    found = []
    for name in dict.fromkeys([*names(head), *names(base)]):
        values = number(base, name), number(head, name)
        ends = interval(base, name), interval(head, name)
        if None in values:
            side, otherwise = (head, "gone") if values[1] is None else (base, "new")
            verdict = "unusable" if fault(side, name) else otherwise
        else:
            verdict = _verdict(name, *values, *ends, counted)
        found.append(Move(name, *values, *ends, verdict))
    return found


def _verdict(
    name: str,
    old: float,
    new: float,
    old_ends: Interval | None,
    new_ends: Interval | None,
    counted: bool,
) -> str:
    if old == new:
        return "same"
    if old_ends and new_ends:
        if old_ends[0] <= new <= old_ends[1] or new_ends[0] <= old <= new_ends[1]:
            return "within"
    elif not counted:
        return "changed"
    better = 0 if name.startswith(f"{DIFFERENCE}.") else sign(name)
    if not better:
        return "higher" if new > old else "lower"
    return "better" if (new - old) * better > 0 else "worse"


def headline(found: list[Move]) -> str | None:
    """Return the score that a track's models are known by, or None where there is none."""
    there = {move.name.split(".", 1)[1] for move in found if move.name.count(".") == 1}
    return next((name for name in HEADLINES if name in there), None)


def headlines(found: list[Move]) -> Iterator[Move]:
    """Yield each model's headline score."""
    name = headline(found)
    return (move for move in found if name and move.name == f"{move.model}.{name}")
