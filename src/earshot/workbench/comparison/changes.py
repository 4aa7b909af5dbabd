"""Which parameters two sides differ in."""

from dataclasses import dataclass, field
from typing import Any

from earshot.runtime import yaml_file
from earshot.workbench.comparison.figures import leaves
from earshot.workbench.comparison.snapshot import Snapshot


@dataclass(frozen=True)
class Changes:
    """Parameters by dotted key: (old, new) where they differ, and those that one side alone has."""

    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    added: dict[str, Any] = field(default_factory=dict)
    removed: dict[str, Any] = field(default_factory=dict)


def load(side: Snapshot, path: str) -> dict[str, Any]:
    """Return a side's parameters, none where it has no such file; ValueError when the file is no
    YAML mapping.
    """
    text = side.read(path)
    content = yaml_file.parse(text or "", f"{path} ({side.name})")
    if content is not None and not isinstance(content, dict):
        raise ValueError(f"{path} ({side.name}) is {type(content).__name__}, not a mapping")
    return content or {}


def changes(base: dict[str, Any], head: dict[str, Any]) -> Changes:
    """Return what changed between two sides' parameters."""
    old, new = dict(leaves(base)), dict(leaves(head))
    return Changes(
        {key: (old[key], new[key]) for key in old if key in new and not _same(old[key], new[key])},
        {key: value for key, value in new.items() if key not in old},
        {key: value for key, value in old.items() if key not in new},
    )


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (
        one == other or (one != one and other != other)
    )  # NaN is itself here
