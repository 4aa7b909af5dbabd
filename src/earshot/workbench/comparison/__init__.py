"""Two states of the project side by side: metrics, parameters, costs.

Reads Git's objects and checks nothing out.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from earshot.workbench.comparison.figures import ABSENT, Figures, changes, parse
from earshot.workbench.comparison.gate import FILES, Gate, gate
from earshot.workbench.comparison.moves import Move, headline, moves
from earshot.workbench.comparison.sides import Side, commit, nothing, working_tree

__all__ = ["Comparison", "Track", "commit", "compare", "nothing", "working_tree"]

TIMING = "timing"  # in the costs of commits from before times left them


@dataclass(frozen=True)
class Track:
    """A track's figures on both sides. `state` is what happened to its metrics: both, new, gone."""

    name: str
    state: str
    quality: list[Move]
    cost: list[Move]
    faults: list[str]

    @property
    def classes(self) -> bool:
        """Whether the accuracy is a mean over classes."""
        return any(".class." in move.name for move in self.quality)

    def as_json(self) -> dict[str, Any]:
        """Return what did not stay the same, as plain data; what did is counted."""
        parts = {"quality": self.quality, "cost": self.cost}
        found = {"state": self.state, "headline": headline(self.quality), "same": {}}
        for part, both in parts.items():
            moved = [move for move in both if move.verdict != "same"]
            found[part] = [asdict(move) | {"change": move.change} for move in moved]
            found["same"][part] = len(both) - len(moved)
        return found


@dataclass(frozen=True)
class Comparison:
    """Everything that differs between two sides; `changes` are the parameters', (old, new)."""

    base: Side
    head: Side
    tracks: list[Track]
    changes: dict[str, tuple[Any, Any]]
    gate: Gate

    @property
    def faults(self) -> list[str]:
        """Sentences about what could not be read."""
        return [fault for track in self.tracks for fault in track.faults]

    def as_json(self) -> dict[str, Any]:
        """Return what the Markdown says and the figures it folds away, as plain data."""
        sides = {"base": self.base, "head": self.head}
        named = {
            which: {"name": side.name, "commit": side.commit if side.tree else None}
            for which, side in sides.items()
        }
        parameters: dict[str, dict[str, Any]] = {"changed": {}, "added": {}, "removed": {}}
        for key, (old, new) in self.changes.items():
            if old is ABSENT:
                parameters["added"][key] = _plain(new)
            elif new is ABSENT:
                parameters["removed"][key] = _plain(old)
            else:
                parameters["changed"][key] = [_plain(old), _plain(new)]
        return named | {
            "tracks": {track.name: track.as_json() for track in self.tracks},
            "parameters": parameters,
            "gate": asdict(self.gate) | {"failures": self.gate.failures},
            "faults": self.faults,
        }


def compare(base: Side, head: Side, params: str) -> Comparison:
    """Compare two sides of a project; `params` is the path of the parameters.

    Raises ValueError when parameters or guard cannot be read.
    """
    files = {f"{file}.json" for file in FILES}
    paths = [path.split("/") for side in (base, head) for path in side.files("metrics")]
    names = sorted({parts[1] for parts in paths if len(parts) == 3 and parts[2] in files})
    figures = {
        track: {file: (_read(base, track, file), _read(head, track, file)) for file in FILES}
        for track in names
    }
    old, new = base.params(params), head.params(params)
    tracks = [_track(name, sides) for name, sides in figures.items()]
    return Comparison(base, head, tracks, changes(old, new), gate(old, new, figures))


def _read(side: Side, track: str, file: str) -> Figures:
    try:
        found = parse(side.read(f"metrics/{track}/{file}.json"))
    except ValueError:  # bytes that are no text
        return {"": "is not UTF-8"}
    return {name: value for name, value in found.items() if TIMING not in name.split(".")}


def _track(name: str, files: dict[str, tuple[Figures, Figures]]) -> Track:
    old, new = (any(sides[place] for sides in files.values()) for place in (0, 1))
    faults = [
        f"metrics/{name}/{file}.json ({side}): {f'{where} ' if where else ''}{what}"
        for file, sides in files.items()
        for side, figures in zip(("base", "head"), sides, strict=True)
        for where, what in figures.items()
        if isinstance(what, str)
    ]
    quality, cost = moves(*files["quality"], counted=False), moves(*files["cost"], counted=True)
    return Track(name, "both" if old and new else "new" if new else "gone", quality, cost, faults)


def _plain(value: Any) -> Any:
    """Return a YAML value as JSON can hold it: dates, NaN and the like as text."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if value is None or isinstance(value, bool | int | str):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else str(value)
