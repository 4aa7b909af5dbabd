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
from earshot.workbench.hashes import (
    FOLDER,
    files,
    folder_md5,
    md5,
    object_path,
    read_listing,
)
from earshot.workbench.integrity import contents

INPUTS = "data/*/inputs/*"
STATUS = ("status", "--porcelain", "--untracked-files=all", "--")


@dataclass
class Output:
    """An output as it was when its stage last ran, and what is there of it now.

    Names are paths in a folder, "" of a file. `look` and `verify` fill in

    expected  {name: MD5}; None where nothing says any more what is in the folder
    files     {name: path} in the workspace
    objects   {object: name} that DVC's cache should have; none where Git keeps the output
    hashes    {path: MD5} of every file and object that is there
    """

    stage: str
    path: str
    md5: str
    in_git: bool
    expected: dict[str, str] | None = None
    files: dict[str, Path] = field(default_factory=dict)
    objects: dict[Path, str] = field(default_factory=dict)
    hashes: dict[Path, str] = field(default_factory=dict)

    def look(self, root: Path, cache: Path) -> None:
        """Find out what should be there, and which files are."""
        self.files = {name: root / self.below(name) for name in files(root / self.path)}
        if not self.md5.endswith(FOLDER):
            self.expected = {"": self.md5}
        elif not self.in_git:
            self.expected = read_listing(cache, self.md5)
        if not self.in_git:
            named = {self.md5: ""} | {key: name for name, key in (self.expected or {}).items()}
            self.objects = {object_path(cache, key): name for key, name in named.items()}

    def below(self, name: str) -> str:
        """Return the path of a file of it."""
        return f"{self.path}/{name}" if name else self.path

    @property
    def found(self) -> dict[str, str]:
        """{name: MD5} in the workspace."""
        return {name: self.hashes[path] for name, path in self.files.items()}

    @property
    def rotten(self) -> dict[Path, str]:
        """The objects whose content is not what their name says."""
        named = {path: path.parent.name + path.name.removesuffix(FOLDER) for path in self.objects}
        there = {path: name for path, name in self.objects.items() if path in self.hashes}
        return {path: name for path, name in there.items() if self.hashes[path] != named[path]}

    @property
    def absent(self) -> dict[Path, str]:
        """The objects that are not there."""
        return {path: name for path, name in self.objects.items() if path not in self.hashes}

    @property
    def whole(self) -> bool:
        """Whether the workspace has what was recorded."""
        if self.md5.endswith(FOLDER):
            return folder_md5(self.found) == self.md5  # of an empty one too
        return self.found == self.expected

    @property
    def restorable(self) -> bool:
        """Whether Git, or a cache without a fault, can bring it back."""
        return self.in_git or not (self.rotten or self.absent)


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


def verify(root: Path = Path(), wanted: Sequence[str] = ()) -> Report:
    """Hash every output below `root` and its object in the cache; open what can be opened.

    Files are read by as many threads as there are workers (`EARSHOT_WORKERS`).
    """
    outputs, edited, cache = recorded(root, wanted)
    for output in outputs:
        output.look(root, cache)
    paths = [path for output in outputs for path in output.files.values()]
    objects = sorted({one for output in outputs for one in output.objects if one.is_file()})
    todo = list(dict.fromkeys([*paths, *objects]))
    with ThreadPoolExecutor(workers()) as pool:
        reading = track(pool.map(_hash, todo), "reading", total=len(todo), unit="file")
        hashes = dict(zip(todo, reading, strict=True))
        opening = track(pool.map(contents.fault, paths), "opening", total=len(paths), unit="file")
        unreadable = {path: why for path, why in zip(paths, opening, strict=True) if why}
    stages: dict[str, list[Output]] = {}
    for output in outputs:
        output.hashes = hashes
        stages.setdefault(output.stage, []).append(output)
    faults = [fault for stage in stages.values() for fault in _faults(stage, unreadable, root)]
    size = sum(path.stat().st_size for path in todo)
    return Report(len(stages), len(paths), len(objects), size, faults + edited)


def _hash(path: Path) -> str:
    try:
        return md5(path)
    except OSError as error:  # gone, or a disk that no longer reads it
        return f"unknown ({error.strerror})"


def _faults(stage: Sequence[Output], unreadable: dict[Path, str], root: Path) -> Iterator[Fault]:
    """Yield the faults of a stage's outputs, those of the workspace first.

    `dvc commit` would keep what is wrong there. All rotten objects go at once: DVC links what it
    commits from its cache, and a rotten one would spoil the workspace.
    """
    name = stage[0].stage
    lost = [one.path for one in stage if not one.whole and not one.restorable]
    rotten = [str(path) for one in stage for path in one.rotten]
    remove = f"rm -rf {_quoted(*rotten, *lost)} && " if rotten or lost else ""
    remake = f"{remove}dvc {'repro' if lost else 'commit'} {_quoted(name)}"
    for one in stage:
        path, whole = _quoted(one.path), one.whole
        restore = f"rm -rf {path} && dvc checkout --force {path}" if one.restorable else remake
        for file, (kind, detail, mend) in ({} if whole else _wrong(one, root)).items():
            yield Fault(kind, one.below(file), name, detail, mend or restore)
            restore = mend or restore
        for file, place in one.files.items():
            if why := unreadable.get(place):
                mend = _again(name) if whole else restore
                yield Fault("unreadable", one.below(file), name, why, mend)
    for one in stage:
        for path, file in one.rotten.items():
            detail = f"DVC's cache has another content for {one.below(file)}"
            yield Fault("rotten", str(path), name, detail, remake)
        for path, file in one.absent.items() if one.files else ():
            detail = f"DVC's cache has nothing for {one.below(file)}"
            yield Fault("absent", str(path), name, detail, remake)


def _wrong(output: Output, root: Path) -> dict[str, tuple[str, str, str]]:
    """Return {name: (kind, detail, what mends it but its being restored)} of the workspace."""
    if not output.files and not output.in_git:
        return {"": ("missing", "not there", "")}
    if output.in_git:
        kind, path = "changed" if output.files else "missing", _quoted(output.path)
        if changes := _git_changes(root, output.path):
            detail = f"not what dvc.lock records; git status: {', '.join(changes[:9])}"
            mend = f"git checkout -- {path} && git clean -fd -- {path}"
            return {"": (kind, detail if output.files else "not there", mend)}
        detail = "not what dvc.lock records, though Git has it so: not committed together"
        return {"": (kind, detail if output.files else "not there", _again(output.stage))}
    if output.expected is None:
        return {"": ("changed", "not the files that dvc.lock records", "")}
    wrong, found = {}, output.found
    for name in sorted(output.expected.keys() | found.keys()):
        here, there = found.get(name), output.expected.get(name)
        if here is None:
            wrong[name] = "missing", "not there", ""
        elif there is None:
            wrong[name] = "extra", "not recorded", ""
        elif here != there:
            wrong[name] = "changed", f"its MD5 is {here}, recorded is {there}", ""
    return wrong


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


def _quoted(*paths: str) -> str:
    return " ".join(map(shlex.quote, dict.fromkeys(paths)))
