"""Links to what a user hands in, one path a kind, so that DVC sees its content.

dvc.yaml names its dependencies once and for all; what params.yaml names may lie anywhere, or not be
given. So a stage depends on `data/<track>/inputs/<kind>`: a link to the file or folder, a folder of
links to several files, or a note where there is nothing.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from earshot.runtime.files import atomic

NOTHING = "params.yaml names nothing here that exists\n"


def link(path: Path, targets: Iterable[str | Path]) -> None:
    """Make `path` stand for those of `targets` that exist; it is there at every moment.

    Targets inside the working directory are linked relative to it, so that it can be moved.
    """
    found = [Path(target) for target in targets if Path(target).exists()]
    if len(found) > 1:  # DVC follows no links to folders in a folder
        found = [Path(file) for target in found for file in _files(target)]
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}")
    if len(found) > 1:
        _fill(folder, found)
        _point(path, folder)
        return
    if found:
        _point(path, found[0])
    elif path.is_symlink() or not path.is_file():
        with atomic(path) as partial:
            partial.write_text(NOTHING)
    shutil.rmtree(folder, ignore_errors=True)


def check_copy(targets: Iterable[str | Path]) -> None:
    """Raise ValueError naming a relative path that leads out of a copy of the repository, as
    `dvc exp run --queue` and `--temp` make one: it leads elsewhere than in the repository.
    """
    here = Path.cwd()
    if ".dvc" not in here.parts:
        return
    root = Path(*here.parts[: here.parts.index(".dvc")])
    for target in targets:
        leaves = not Path(os.path.abspath(target)).is_relative_to(here)
        if leaves and not Path(target).is_absolute():
            meant = os.path.abspath(root / target)
            why = "leads out of the repository, of which this run has a copy elsewhere"
            raise ValueError(f"params.yaml: {target} {why}; write {meant}")


def cover(files: Sequence[str | Path]) -> list[Path]:
    """Return the one folder that holds `files` and not much else, else the files themselves.

    In a folder, files that are added are seen too, and none can be missing. DVC follows no links to
    folders inside it, and the working directory changes with every run.
    """
    paths = [os.path.abspath(file) for file in files]
    if not paths:
        return []
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    missing, left = set(paths), 2 * len(paths) + 100
    for where, _, names in os.walk(folder):
        missing -= {os.path.join(where, name) for name in names}
        left -= len(names)
        if left < 0:
            break
    if missing or left < 0 or Path.cwd().is_relative_to(folder):
        return [Path(path) for path in paths]
    return [Path(folder)]


def state(folder: Path) -> str:
    """Name the present state of all inputs of a track: the paths, sizes and times of their files.

    Unfinished work goes on only where none of them changed.
    """
    seen = hashlib.sha256()
    for kind in sorted(folder.iterdir()) if folder.is_dir() else ():
        if kind.is_symlink():
            for file in _files(kind):
                found = os.stat(file)
                seen.update(f"{file} {found.st_size} {found.st_mtime_ns}\n".encode())
    return seen.hexdigest()[:16]


def _files(path: Path) -> list[str]:
    if path.is_file():
        return [str(path)]
    inside = (os.path.join(where, name) for where, _, names in os.walk(path) for name in names)
    return sorted(filter(os.path.exists, inside))


def _fill(folder: Path, targets: Sequence[Path]) -> None:
    """Make a folder of links to files, named by their paths; links that are right are kept."""
    folder.mkdir(exist_ok=True)
    names = {f"{hashlib.sha256(str(t).encode()).hexdigest()[:16]}{t.suffix}": t for t in targets}
    for name in {entry.name for entry in os.scandir(folder)} - names.keys():
        (folder / name).unlink()
    for name, target in names.items():
        _point(folder / name, target)


def _point(path: Path, target: Path) -> None:
    """Make `path` a link to `target`, in place of whatever file or link it was."""
    whole = Path(os.path.abspath(target))
    inside = whole.is_relative_to(Path.cwd())
    to = os.path.relpath(whole, path.absolute().parent) if inside else str(whole)
    if path.is_symlink() and os.readlink(path) == to:
        return
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.unlink(missing_ok=True)
    partial.symlink_to(to)
    os.replace(partial, path)
