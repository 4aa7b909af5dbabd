"""The figures of a metrics file, by dotted name; whatever in it is no finite number is told by
name.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Interval = tuple[float, float]
_ENDS = ("_low", "_high")


@dataclass(frozen=True)
class Figures:
    """What a metrics file holds: `values` by dotted name, and `faults`, what is wrong with a name
    ("" is the file).
    """

    values: dict[str, float] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def interval(self, name: str) -> Interval | None:
        """Return the ends that stand beside a figure, or None where either is missing."""
        low, high = (self.values.get(f"{name}{end}") for end in _ENDS)
        return None if low is None or high is None else (low, high)

    def names(self) -> list[str]:
        """Return the figures' names in the file's order, ends of intervals left out."""
        return [name for name in self.values if not self._is_end(name)]

    def fault(self, name: str) -> str | None:
        """Return what is wrong with a figure, with what it stands in, or with the whole file; None
        if nothing is.
        """
        parts = name.split(".")
        above = [".".join(parts[:length]) for length in range(len(parts), -1, -1)]
        return next((self.faults[one] for one in above if one in self.faults), None)

    def _is_end(self, name: str) -> bool:
        return any(name.endswith(end) and name.removesuffix(end) in self.values for end in _ENDS)


def parse(text: str | None) -> Figures:
    """Return the figures of a JSON text; no text (no file) has none, and a text that is no JSON
    object is a fault.
    """
    if text is None:
        return Figures()
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        return Figures(
            faults={"": f"is not JSON (line {error.lineno}, column {error.colno}: {error.msg})"}
        )
    except RecursionError:
        return Figures(faults={"": "is nested too deeply"})
    if not isinstance(content, dict):
        return Figures(faults={"": f"is {_kind(content)}, not an object"})
    values, faults = dict[str, float](), dict[str, str]()
    for name, leaf in leaves(content):
        if isinstance(leaf, int | float) and not isinstance(leaf, bool) and math.isfinite(leaf):
            values[name] = leaf
        else:
            faults[name] = f"is {_kind(leaf)}"
    return Figures(values, faults)


def leaves(node: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of everything that is no mapping; an empty mapping counts as a
    value.
    """
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return "NaN" if math.isnan(value) else "infinite"
    return {list: "a list", str: "text", dict: "an empty object"}.get(
        type(value), type(value).__name__
    )
