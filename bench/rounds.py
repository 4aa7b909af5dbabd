"""What every bench shares: contenders that take turns, the spread of what they took, and targets
beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10
from statistics import median
from time import perf_counter
from typing import NamedTuple

from threadpoolctl import threadpool_limits

from earshot.runtime.progress import track


class Spread(NamedTuple):
    """The median of some measurements, the least and the greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of one or more values."""
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.low == self.high:
            return number(self.median)
        return f"{number(self.median)} ({number(self.low)}–{number(self.high)})"


class Row(NamedTuple):
    """A contender's measurements in the unit of its bench, and their ratio to another's, round by
    round.
    """

    value: Spread
    ratio: Spread


class Target(NamedTuple):
    """A measured figure that should be at least, or at most, `limit`."""

    what: str
    measured: float
    limit: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether the figure, unrounded, keeps its limit."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return (
            f"{self.what}: {number(self.measured)}, target {sign} {self.limit:g}: "
            f"{'met' if self.met else 'not met'}"
        )


@dataclass(frozen=True)
class Result:
    """What one bench found: `unit` and `ratio` name the columns of `rows`, `note` says what was
    measured.
    """

    title: str
    note: str
    unit: str
    ratio: str
    rows: dict[str, Row]
    targets: Sequence[Target] = ()


def number(value: float) -> str:
    """Return three significant digits, never as a power of ten."""
    return f"{value:.{max(0, 2 - floor(log10(value)))}f}" if value else "0"


def interleave(
    contenders: Mapping[str, Callable[[], object]], rounds: int, what: str, warm: bool = False
) -> dict[str, list[float]]:
    """Return the seconds that every contender took in each round, on one thread; a round before
    them is not counted.

    Contenders take turns, so that a slow moment hits all alike. `warm` runs each once more before
    it is timed, where what the one before it left in the processor's cache would weigh.
    """
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    with threadpool_limits(1):
        for turn in track(range(rounds + 1), what, unit="round"):
            for name, run in contenders.items():
                if warm:
                    run()
                begin = perf_counter()
                run()
                if turn:
                    spent[name].append(perf_counter() - begin)
    return spent


def rows(values: Mapping[str, Sequence[float]], base: str, inverse: bool = False) -> dict[str, Row]:
    """Return rows whose ratio is a contender's values over those of `base`, or with `inverse` the
    other way round.
    """
    return {
        name: Row(
            Spread.of(own),
            Spread.of(
                [b / a if inverse else a / b for a, b in zip(own, values[base], strict=True)]
            ),
        )
        for name, own in values.items()
    }
