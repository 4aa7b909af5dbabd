"""The gate: how much worse a guarded figure may get.

`guard` maps `TRACK.quality.NAME` or `TRACK.cost.NAME` to a tolerance, absolute, in the figure's own
unit. What the base guards counts as the base has it: a change cannot loosen the gate that it has to
pass. What the head guards beside it is checked too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from earshot.workbench.comparison.figures import Figures, fault, number
from earshot.workbench.comparison.moves import HIGHER, LOWER, sign

KEY = "guard"
FILES = ("quality", "cost")
_NOWHERE = "is in neither side's metrics"
_SLACK = 1e-12  # what a difference of two floats may be off by
Sides = tuple[Figures, Figures]  # of the base, of the head
Tracks = Mapping[str, Mapping[str, Sides]]  # by track and file


@dataclass(frozen=True)
class Check:
    """One guarded figure: `failure` says why it fails, None if it passes."""

    name: str
    base: float | None
    head: float | None
    tolerance: float
    failure: str | None


@dataclass(frozen=True)
class Gate:
    """All guarded figures; `notes` are sentences for whoever reads the result."""

    checks: list[Check]
    notes: list[str]

    @property
    def failures(self) -> list[str]:
        """A line for each figure that fails."""
        return [f"{check.name}: {check.failure}" for check in self.checks if check.failure]


def gate(base: Mapping[str, Any], head: Mapping[str, Any], tracks: Tracks) -> Gate:
    """Check every guarded figure; `base` and `head` are the sides' parameters.

    Raises ValueError for a guard that cannot be read: a key of another form, a tolerance that is no
    number from 0 on, a name whose better direction is not known.
    """
    old, new = base.get(KEY) or {}, head.get(KEY) or {}
    for guard in (old, new):
        if not isinstance(guard, Mapping):
            raise ValueError(f"{KEY}: {guard!r} is no mapping of figures to tolerances")
    checks = []
    for name, tolerance in {**new, **old}.items():
        try:
            check = _check(name, tolerance, tracks)
        except ValueError:
            if name in new:
                raise
            continue
        # What the head guards no more still counts, but names of nothing may be corrected.
        if name in new or check.failure != _NOWHERE:
            checks.append(check)
    notes = []
    if altered := [str(name) for name in old if name not in new or old[name] != new[name]]:
        which = f"this change alters the guard ({', '.join(altered)})"
        notes.append(f"{which}: the base's tolerances are used until it is merged")
    if not old and not new:
        notes.append("neither side has a guard: nothing is checked")
    return Gate(checks, notes)


def _check(name: Any, tolerance: Any, tracks: Tracks) -> Check:
    track, _, rest = str(name).partition(".")
    file, _, figure = rest.partition(".")
    if file not in FILES or not figure:
        raise ValueError(f"{KEY}.{name}: names are TRACK.{FILES[0]}.… or TRACK.{FILES[1]}.…")
    if type(tolerance) not in (int, float) or not 0 <= tolerance < math.inf:
        raise ValueError(f"{KEY}.{name}: {tolerance!r} must be a number, 0 or more")
    if not sign(name):
        last, known = name.rsplit(".", 1)[-1], ", ".join(sorted(HIGHER | LOWER))
        raise ValueError(
            f"{KEY}.{name}: whether more or less of {last!r} is better is not known; {known}"
        )
    base, head = tracks.get(track, {}).get(file, ({}, {}))
    old, new = number(base, figure), number(head, figure)
    return Check(name, old, new, tolerance, _failure(figure, base, head, tolerance, sign(name)))


def _failure(
    figure: str, base: Figures, head: Figures, tolerance: float, better: int
) -> str | None:
    old, new = number(base, figure), number(head, figure)
    if new is None:
        if why := fault(head, figure):
            return f"{'the file ' if '' in head else ''}{why}"
        return _NOWHERE if old is None and not fault(base, figure) else "vanished"
    if old is None:
        return None  # new, or the base had no number: nothing to fall behind
    worse = (old - new) * better
    if worse <= tolerance + _SLACK:
        return None
    return f"{old:.10g} → {new:.10g}, worse by {worse:.4g}; {tolerance:g} is tolerated"
