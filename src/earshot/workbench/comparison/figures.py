"""The figures of a metrics file by dotted name, and the parameters that two sides differ in."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

Interval = tuple[float, float]
# A figure, or what is wrong with it: "is NaN". What is wrong with the whole file is named "".
Figures = dict[str, float | str]
_ENDS = ("_low", "_high")
_KINDS = {list: "a list", str: "text", dict: "an empty object"}


class _Absent:
    def __repr__(self) -> str:
        return "–"


ABSENT = _Absent()  # what stands for a parameter that a side lacks


def parse(text: str | None) -> Figures:
    """Return the figures of a JSON text; none where there is no file."""
    if text is None:
        return {}
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
        return {"": f"is not JSON ({where})"}
    except RecursionError:
        return {"": "is nested too deeply"}
    if not isinstance(content, dict):
        return {"": f"is {_kind(content)}, not an object"}
    return {name: leaf if _finite(leaf) else f"is {_kind(leaf)}" for name, leaf in leaves(content)}


def leaves(node: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of everything that is no mapping, and of empty mappings."""
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def number(figures: Figures, name: str) -> float | None:
    """Return a figure; None where there is none, or no number."""
    value = figures.get(name)
    return None if isinstance(value, str) else value


def fault(figures: Figures, name: str) -> str | None:
    """Return what is wrong with a figure, with what it stands in, or with the whole file."""
    parts = name.split(".")
    above = [".".join(parts[:length]) for length in range(len(parts), -1, -1)]
    wrong = (figures.get(one) for one in above)
    return next((one for one in wrong if isinstance(one, str)), None)


def interval(figures: Figures, name: str) -> Interval | None:
    """Return the ends that stand beside a figure, or None where either is missing."""
    low, high = (number(figures, f"{name}{end}") for end in _ENDS)
    return None if low is None or high is None else (low, high)


def names(figures: Figures) -> list[str]:
    """Return the names of numbers in the file's order, ends of intervals left out."""
    there = [name for name, value in figures.items() if not isinstance(value, str)]
    ends = {f"{name}{end}" for name in there for end in _ENDS}
    return [name for name in there if name not in ends]


def changes(base: Mapping[str, Any], head: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return {dotted key: (old, new)} of the parameters that differ, ABSENT on a side without."""
    old, new = dict(leaves(base)), dict(leaves(head))
    pairs = {key: (old.get(key, ABSENT), new.get(key, ABSENT)) for key in [*old, *new]}
    return {key: pair for key, pair in pairs.items() if not _same(*pair)}


def _same(one: Any, other: Any) -> bool:
    nan = one != one and other != other  # NaN is itself here
    return type(one) is type(other) and (one == other or nan)


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return "NaN" if math.isnan(value) else "infinite"
    return _KINDS.get(type(value), type(value).__name__)
