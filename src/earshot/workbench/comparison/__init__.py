"""Two states of the project side by side: metrics, parameters, costs, plots. Reads Git objects;
checks nothing out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from earshot.workbench.comparison.changes import Changes, changes, load
from earshot.workbench.comparison.figures import Figures, parse
from earshot.workbench.comparison.gate import FILES, Gate, gate
from earshot.workbench.comparison.moves import Move, moves
from earshot.workbench.comparison.pictures import Picture, pictures
from earshot.workbench.comparison.snapshot import Snapshot, commit, nothing, prefix, working_tree

__all__ = [
    "Comparison",
    "Track",
    "commit",
    "compare",
    "github",
    "nothing",
    "prefix",
    "template",
    "working_tree",
]

Link = Callable[[str, str], str]  # commit, path → URL


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
    pictures: list[Picture]
    gate: Gate
    faults: list[str] = field(default_factory=list)


def compare(base: Snapshot, head: Snapshot, params: str, link: Link | None = None) -> Comparison:
    """Compare two sides of a project; `params` is the path of the parameters, `link` makes URLs of
    pictures.

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
        pictures(base, head, "plots", link),
        gate(old, new, figures),
        [fault for track in tracks for fault in track.faults],
    )


def github(repository: str, root: Path) -> Link:
    """Return what makes URLs of a GitHub repository's files (`repository` is OWNER/NAME)."""
    return template(f"https://github.com/{repository}/raw/{{commit}}/{{path}}", root)


def template(text: str, root: Path) -> Link:
    """Return what fills `{commit}` and `{path}` of a template; ValueError when it lacks one of
    them.
    """
    if missing := [part for part in ("{commit}", "{path}") if part not in text]:
        raise ValueError(f"{text}: no {' and no '.join(missing)} to fill")
    above = prefix(root)
    return lambda commit, path: text.replace("{commit}", commit).replace(
        "{path}", quote(above + path)
    )


def _tracks(*sides: Snapshot) -> list[str]:
    files = {f"{file}.json" for file in FILES}
    paths = (path.split("/") for side in sides for path in side.blobs("metrics"))
    return sorted({parts[1] for parts in paths if len(parts) == 3 and parts[2] in files})


def _figures(base: Snapshot, head: Snapshot, track: str) -> dict[str, tuple[Figures, Figures]]:
    return {file: (_read(base, track, file), _read(head, track, file)) for file in FILES}


def _read(side: Snapshot, track: str, file: str) -> Figures:
    try:
        return parse(side.read(f"metrics/{track}/{file}.json"))
    except ValueError:  # bytes that are no text
        return Figures(faults={"": "is not UTF-8"})


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
