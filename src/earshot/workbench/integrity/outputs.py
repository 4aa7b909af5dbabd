"""Whether outputs, and their copies in DVC's cache, still are what dvc.lock records.

DVC compares a file's time and size before it looks at its bytes, and trusts an object of its cache
that is read-only. Here every byte is read again, and files of known kinds are opened as their
readers would.
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from earshot.runtime.progress import track, workers
from earshot.workbench import git
from earshot.workbench.integrity import contents
from earshot.workbench.integrity.hashes import (
    FOLDER,
    files,
    folder_md5,
    md5,
    object_path,
    read_listing,
)

INPUTS = "data/*/inputs/*"
STATUS = ("status", "--porcelain", "--untracked-files=all", "--")


@dataclass(frozen=True)
class Output:
    """An output of a stage as it was when the stage last ran.

    `in_git` when Git keeps it, not DVC's cache.
    """

    stage: str
    path: str
    md5: str
    in_git: bool


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file, and the command that mends it.

    `kind`: missing, changed, extra or unreadable in the workspace; rotten or absent in DVC's cache.
    """

    kind: str
    path: str
    stage: str
    detail: str
    mend: str


@dataclass
class Report:
    """How much was read, and what is wrong with it."""

    stages: int = 0
    files: int = 0
    objects: int = 0
    bytes: int = 0
    faults: list[Fault] = field(default_factory=list)


def recorded(
    root: Path = Path(), wanted: Sequence[str] = ()
) -> tuple[list[Output], list[Fault], Path]:
    """Return the outputs that dvc.lock records, what was edited since, and DVC's cache.

    `wanted` names stages: `distill@listening-kd` one, `distill` all of its instances, and
    `*@listening*` what matches. ValueError where DVC finds no repository or fault, or where no
    stage has such a name.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            cache = Path(repo.cache.local.path).parents[1]
            stages = {stage.name: stage for stage in repo.index.stages}
            outputs = [
                Output(name, out.def_path, out.hash_info.value, not out.use_cache)
                for name, stage in stages.items()
                for out in stage.outs
                if out.hash_info and out.hash_info.value
            ]
            names = {output.stage for output in outputs}
            for pattern in wanted:
                if not any(_matches(name, [pattern]) for name in names):
                    there = ", ".join(sorted(names)) or "none: `make repro` writes it"
                    raise ValueError(f"{pattern}: dvc.lock has no such stage; it has {there}")
            chosen = [stage for name, stage in stages.items() if _matches(name, wanted)]
            edited = [fault for stage in chosen for fault in _edited(stage, root)]
    except DvcException as error:
        raise ValueError(str(error)) from None
    found = [output for output in outputs if _matches(output.stage, wanted)]
    return sorted(found, key=lambda output: (output.stage, output.path)), edited, cache


def _matches(stage: str, wanted: Sequence[str]) -> bool:
    short = stage.split("@")[0]
    return not wanted or any(one in (stage, short) or fnmatchcase(stage, one) for one in wanted)


def _edited(stage: Any, root: Path) -> Iterator[Fault]:
    """Yield what a user handed in (`data/<track>/inputs`) and a stage has not read as it is now.

    Content counts; DVC hashes what has another time.
    """
    for dependency in stage.deps:
        path = dependency.def_path
        if not fnmatchcase(path, INPUTS) or not dependency.hash_info:
            continue
        try:
            state = next(iter(dependency.workspace_status().values()), None)
        except OSError:  # a link to what is gone
            state = "missing"
        if state is None:
            continue
        link, named = root / path, path
        if link.is_symlink():
            named = os.path.relpath(link.parent / os.readlink(link), root)
        kind, detail = "changed", f"edited since this stage read it, as {path}"
        if state in ("missing", "deleted"):
            kind, detail = "missing", f"{path} stands for it; bring it back"
        mend = f"dvc repro {_quoted(stage.addressing)}"
        yield Fault(kind, named, stage.addressing, detail, mend)


@dataclass(frozen=True)
class Checked:
    """An output and what was found of it; names are paths in a folder, "" of a file.

    expected    {name: MD5}; None where nothing says any more what is in the folder
    found       {name: MD5} in the workspace
    unreadable  {name: why it cannot be opened}
    rotten, absent   {object of DVC's cache: name} without the right content, or not there
    """

    output: Output
    expected: dict[str, str] | None
    found: dict[str, str]
    unreadable: dict[str, str]
    rotten: dict[Path, str]
    absent: dict[Path, str]

    @property
    def whole(self) -> bool:
        """Whether the workspace has what was recorded."""
        if self.output.md5.endswith(FOLDER):
            return folder_md5(self.found) == self.output.md5  # of an empty one too
        return self.found == self.expected

    @property
    def restorable(self) -> bool:
        """Whether Git, or a cache without a fault, can bring it back."""
        return self.output.in_git or not (self.rotten or self.absent)


def verify(root: Path = Path(), wanted: Sequence[str] = ()) -> Report:
    """Hash every output below `root` and its object in the cache; open what can be opened.

    Files are read by as many threads as there are workers (`EARSHOT_WORKERS`).
    """
    outputs, edited, cache = recorded(root, wanted)
    expected = {output.path: _expected(output, cache) for output in outputs}
    objects = {output.path: _objects(output, expected[output.path], cache) for output in outputs}
    present = {
        output.path: {name: root / _below(output.path, name) for name in files(root / output.path)}
        for output in outputs
    }
    paths = [path for here in present.values() for path in here.values()]
    kept = sorted({path for held in objects.values() for path in held if path.is_file()})
    todo = list(dict.fromkeys([*paths, *kept]))
    with ThreadPoolExecutor(workers()) as pool:
        reading = track(pool.map(_hash, todo), "reading", total=len(todo), unit="file")
        hashes = dict(zip(todo, reading, strict=True))
        opening = track(pool.map(contents.fault, paths), "opening", total=len(paths), unit="file")
        unreadable = dict(zip(paths, opening, strict=True))
    checked: dict[str, list[Checked]] = {}
    for output in outputs:
        here, held = present[output.path], objects[output.path]
        one = Checked(
            output,
            expected[output.path],
            found={name: hashes[path] for name, path in here.items()},
            unreadable={name: why for name, path in here.items() if (why := unreadable[path])},
            rotten={path: name for path, name in held.items() if not _as_named(path, hashes)},
            absent={path: name for path, name in held.items() if path not in hashes},
        )
        checked.setdefault(output.stage, []).append(one)
    faults = [fault for group in checked.values() for fault in _faults(group, root)]
    size = sum(path.stat().st_size for path in todo)
    return Report(len(checked), len(paths), len(kept), size, faults + edited)


def _hash(path: Path) -> str:
    try:
        return md5(path)
    except OSError as error:  # gone, or a disk that no longer reads it
        return f"unknown ({error.strerror})"


def _expected(output: Output, cache: Path) -> dict[str, str] | None:
    if not output.md5.endswith(FOLDER):
        return {"": output.md5}
    return None if output.in_git else read_listing(cache, output.md5)


def _objects(output: Output, expected: dict[str, str] | None, cache: Path) -> dict[Path, str]:
    """Return {object: name} of what DVC's cache should hold; nothing where Git holds it."""
    if output.in_git:
        return {}
    named = {output.md5: "", **{key: name for name, key in (expected or {}).items()}}
    return {object_path(cache, key): name for key, name in named.items()}


def _as_named(path: Path, hashes: dict[Path, str]) -> bool:
    """Tell whether an object of the cache, if it is there, has the content that its name says."""
    name = f"{path.parent.name}{path.name}".removesuffix(FOLDER)
    return hashes.get(path, name) == name


def _faults(stage: Sequence[Checked], root: Path) -> Iterator[Fault]:
    """Yield the faults of a stage's outputs, those of the workspace first.

    `dvc commit` would keep what is wrong there. All rotten objects go at once: DVC links what it
    commits from its cache, and a rotten one would spoil the workspace.
    """
    name = stage[0].output.stage
    lost = [one.output.path for one in stage if not one.whole and not one.restorable]
    rotten = [str(path) for one in stage for path in one.rotten]
    remove = f"rm -rf {_quoted(*rotten, *lost)} && " if rotten or lost else ""
    remake = f"{remove}dvc {'repro' if lost else 'commit'} {_quoted(name)}"
    for one in stage:
        yield from _workspace_faults(one, remake, root)
    for one in stage:
        for path, file in one.rotten.items():
            detail = f"DVC's cache has another content for {_below(one.output.path, file)}"
            yield Fault("rotten", str(path), name, detail, remake)
        for path, file in one.absent.items() if one.found else ():
            detail = f"DVC's cache has nothing for {_below(one.output.path, file)}"
            yield Fault("absent", str(path), name, detail, remake)


def _workspace_faults(one: Checked, remake: str, root: Path) -> Iterator[Fault]:
    output, path = one.output, _quoted(one.output.path)
    again = _again(output.stage)
    restore = f"rm -rf {path} && dvc checkout --force {path}" if one.restorable else remake
    wrong = dict[str, tuple[str, str]]()
    if one.whole:
        pass
    elif output.in_git:
        if changes := _git_changes(root, output.path):
            detail = f"not what dvc.lock records; git status: {', '.join(changes[:9])}"
            restore = f"git checkout -- {path} && git clean -fd -- {path}"
        else:
            detail = "not what dvc.lock records, though Git has it so: not committed together"
            restore = again
        wrong[""] = ("changed", detail) if one.found else ("missing", "not there")
    elif not one.found:
        wrong[""] = "missing", "not there"
    elif one.expected is None:
        wrong[""] = "changed", "not the files that dvc.lock records"
    else:
        for name in sorted(one.expected.keys() | one.found.keys()):
            here, there = one.found.get(name), one.expected.get(name)
            if here is None:
                wrong[name] = "missing", "not there"
            elif there is None:
                wrong[name] = "extra", "not recorded"
            elif here != there:
                wrong[name] = "changed", f"its MD5 is {here}, recorded is {there}"
    for name, (kind, detail) in wrong.items():
        yield Fault(kind, _below(output.path, name), output.stage, detail, restore)
    for name, why in one.unreadable.items():
        mend = again if one.whole else restore
        yield Fault("unreadable", _below(output.path, name), output.stage, why, mend)


def _again(stage: str) -> str:
    """Return the command that makes a stage's outputs anew; DVC never runs a frozen one."""
    name, _, key = stage.partition("@")
    if name == "pretrain":
        return f"make pretrain TRACK={key}"
    return f"dvc repro --force {_quoted(stage)}"


def _git_changes(root: Path, path: str) -> list[str]:
    """Return what Git says of files below `path`, `M name` a file; nothing where it cannot say."""
    try:
        text = git.output(root, *STATUS, path).decode(errors="replace")
    except ValueError:  # no Git repository
        return []
    return [line.strip() for line in text.splitlines()]


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if name else folder


def _quoted(*paths: str) -> str:
    return " ".join(map(shlex.quote, dict.fromkeys(paths)))
