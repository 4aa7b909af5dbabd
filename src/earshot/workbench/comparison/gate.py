"""The gate: how much worse a guarded figure may get.

`guard` maps `TRACK.quality.NAME` or `TRACK.cost.NAME` to a tolerance, absolute, in the figure's own
unit. What the base guards counts as the base has it: a change cannot loosen the gate that it has to
pass. What the head guards beside it is checked too.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from earshot.workbench.comparison.directions import known, sign
from earshot.workbench.comparison.figures import Figures

KEY = "guard"
FILES = ("quality", "cost")
_NOWHERE = "is in neither side's metrics"
_SLACK = 1e-12  # what a difference of two floats may be off by
Sides = tuple[Figures, Figures]  # of the base, of the head


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


def gate(
    base: Mapping[str, Any], head: Mapping[str, Any], tracks: Mapping[str, Mapping[str, Sides]]
) -> Gate:
    """Check every guarded figure. `base` and `head` are the sides' parameters, `tracks` their
    figures by track and file.

    Raises ValueError for a guard that cannot be read: a key of another form, a tolerance that is no
    number from 0 on, a name whose better direction is not known.
    """
    old, new = base.get(KEY) or {}, head.get(KEY) or {}
    for guard in (old, new):
        if not isinstance(guard, Mapping):
            raise ValueError(f"{KEY}: {guard!r} is no mapping of figures to tolerances")
    checks = [
        _check(name, tolerance, tracks) for name, tolerance in {**new, **old}.items() if name in new
    ]
    checks += _dropped(
        {name: tolerance for name, tolerance in old.items() if name not in new}, tracks
    )
    notes = []
    if altered := [str(name) for name in old if name not in new or old[name] != new[name]]:
        notes.append(
            f"this change alters the guard ({', '.join(altered)}): the base's tolerances "
            "are used until it is merged"
        )
    if not old and not new:
        notes.append("neither side has a guard: nothing is checked")
    return Gate(checks, notes)


def _dropped(
    guard: Mapping[Any, Any], tracks: Mapping[str, Mapping[str, Sides]]
) -> Iterator[Check]:
    """Yield the checks of what the head guards no more; names of nothing may go, or none could be
    corrected.
    """
    for name, tolerance in guard.items():
        try:
            check = _check(name, tolerance, tracks)
        except ValueError:
            continue
        if check.failure != _NOWHERE:
            yield check


def _check(name: Any, tolerance: Any, tracks: Mapping[str, Mapping[str, Sides]]) -> Check:
    track, _, rest = str(name).partition(".")
    file, _, figure = rest.partition(".")
    if file not in FILES or not figure:
        raise ValueError(f"{KEY}.{name}: names are TRACK.{FILES[0]}.… or TRACK.{FILES[1]}.…")
    if (
        isinstance(tolerance, bool)
        or not isinstance(tolerance, int | float)
        or not 0 <= tolerance < math.inf
    ):
        raise ValueError(f"{KEY}.{name}: {tolerance!r} must be a number, 0 or more")
    better = sign(name)
    if not better:
        raise ValueError(
            f"{KEY}.{name}: whether more or less of {name.rsplit('.', 1)[-1]!r} is better "
            f"is not known; {known()}"
        )
    base, head = tracks.get(track, {}).get(file, (Figures(), Figures()))
    old, new = base.values.get(figure), head.values.get(figure)
    return Check(name, old, new, tolerance, _failure(figure, base, head, tolerance, better))


def _failure(
    figure: str, base: Figures, head: Figures, tolerance: float, better: int
) -> str | None:
    old, new = base.values.get(figure), head.values.get(figure)
    if new is None:
        if fault := head.fault(figure):
            return f"{'the file ' if '' in head.faults else ''}{fault}"
        return _NOWHERE if old is None and not base.fault(figure) else "vanished"
    if old is None:
        return None  # new, or the base had no number: nothing to fall behind
    worse = (old - new) * better
    if worse <= tolerance + _SLACK:
        return None
    return f"{old:.10g} → {new:.10g}, worse by {worse:.4g}; {tolerance:g} is tolerated"
