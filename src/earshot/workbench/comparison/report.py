"""A comparison as one JSON object, for programs."""

import math
from dataclasses import asdict
from typing import Any

from earshot.workbench.comparison import Comparison, Track
from earshot.workbench.comparison.moves import Move, headline
from earshot.workbench.comparison.snapshot import Snapshot


def report(found: Comparison) -> dict[str, Any]:
    """Return what the Markdown says and the figures it folds away; what did not change is
    counted.
    """
    return {
        "base": _side(found.base),
        "head": _side(found.head),
        "tracks": {track.name: _track(track) for track in found.tracks},
        "parameters": {
            "changed": {
                key: [_plain(value) for value in pair]
                for key, pair in found.changes.changed.items()
            },
            "added": {key: _plain(value) for key, value in found.changes.added.items()},
            "removed": {key: _plain(value) for key, value in found.changes.removed.items()},
        },
        "gate": {**asdict(found.gate), "failures": found.gate.failures},
        "faults": found.faults,
    }


def _side(side: Snapshot) -> dict[str, Any]:
    return {"name": side.name, "commit": side.commit if side.tree else None}


def _track(track: Track) -> dict[str, Any]:
    parts = {"quality": track.quality, "cost": track.cost}
    return {
        "state": track.state,
        "headline": headline(track.quality),
        **{
            part: [_move(move) for move in moves if move.verdict != "same"]
            for part, moves in parts.items()
        },
        "same": {
            part: sum(move.verdict == "same" for move in moves) for part, moves in parts.items()
        },
    }


def _plain(value: Any) -> Any:
    """Return a YAML value as JSON can hold it: dates, NaN and the like as text."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    plain = (
        value is None
        or isinstance(value, bool | int | str)
        or (isinstance(value, float) and math.isfinite(value))
    )
    return value if plain else str(value)


def _move(move: Move) -> dict[str, Any]:
    return {**asdict(move), "change": move.change}
