"""Two states of the project side by side: metrics, parameters, costs.

Reads Git's objects and checks nothing out.
"""

from dataclasses import dataclass, field

from earshot.workbench.comparison.changes import Changes, changes, load
from earshot.workbench.comparison.figures import Figures, parse
from earshot.workbench.comparison.gate import FILES, Gate, gate
from earshot.workbench.comparison.moves import Move, moves
from earshot.workbench.comparison.snapshot import Snapshot, commit, nothing, working_tree

__all__ = [
    "Comparison",
    "Track",
    "commit",
    "compare",
    "nothing",
    "working_tree",
]

TIMING = "timing"  # in the costs of commits from before times left them


@dataclass(frozen=True)
class Track:
    """A track's figures on both sides. `state` is what happened to its metrics: both, new, gone."""

    name: str
    state: str
    quality: list[Move]
    cost: list[Move]
    faults: list[str]
    classes: bool  # whether the accuracy is a mean over classes


@dataclass(frozen=True)
class Comparison:
    """Everything that differs between two sides; `faults` are sentences about what could not be
    read.
    """

    base: Snapshot
    head: Snapshot
    tracks: list[Track]
    changes: Changes
    gate: Gate
    faults: list[str] = field(default_factory=list)


def compare(base: Snapshot, head: Snapshot, params: str) -> Comparison:
    """Compare two sides of a project; `params` is the path of the parameters.

    Raises ValueError when parameters or guard cannot be read.
    """
    figures = {track: _figures(base, head, track) for track in _tracks(base, head)}
    old, new = (load(side, params) for side in (base, head))
    tracks = [_track(name, files, base, head) for name, files in figures.items()]
    return Comparison(
        base,
        head,
        tracks,
        changes(old, new),
        gate(old, new, figures),
        [fault for track in tracks for fault in track.faults],
    )


def _tracks(*sides: Snapshot) -> list[str]:
    files = {f"{file}.json" for file in FILES}
    paths = (path.split("/") for side in sides for path in side.files("metrics"))
    return sorted({parts[1] for parts in paths if len(parts) == 3 and parts[2] in files})


def _figures(base: Snapshot, head: Snapshot, track: str) -> dict[str, tuple[Figures, Figures]]:
    return {file: (_read(base, track, file), _read(head, track, file)) for file in FILES}


def _read(side: Snapshot, track: str, file: str) -> Figures:
    try:
        found = parse(side.read(f"metrics/{track}/{file}.json"))
    except ValueError:  # bytes that are no text
        return Figures(faults={"": "is not UTF-8"})
    kept = {name: value for name, value in found.values.items() if TIMING not in name.split(".")}
    return Figures(kept, found.faults)


def _track(
    name: str, files: dict[str, tuple[Figures, Figures]], base: Snapshot, head: Snapshot
) -> Track:
    there = [any(sides[i].values or sides[i].faults for sides in files.values()) for i in (0, 1)]
    faults = [
        f"metrics/{name}/{file}.json ({side}): {f'{where} ' if where else ''}{what}"
        for file, sides in files.items()
        for side, figures in zip(("base", "head"), sides, strict=True)
        for where, what in figures.faults.items()
    ]
    scores = [one for figures in files["quality"] for one in figures.values]
    return Track(
        name,
        "both" if all(there) else "new" if there[1] else "gone",
        moves(*files["quality"], counted=False),
        moves(*files["cost"], counted=True),
        faults,
        any(".class." in score for score in scores),
    )
