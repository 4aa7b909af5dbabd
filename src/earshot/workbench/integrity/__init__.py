"""Whether outputs, and their copies in DVC's cache, still are what dvc.lock records.

DVC compares a file's time and size before it looks at its bytes, and trusts an object of its cache
that is read-only. Here every byte is read again, and files of known kinds are opened as their
readers would.
"""

import os
import shlex
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from earshot.runtime.progress import track, workers
from earshot.workbench.integrity import contents
from earshot.workbench.integrity.hashes import files, folder_md5, md5, object_path, read_listing
from earshot.workbench.integrity.recorded import Output, cache_folder, git_changes, outputs

__all__ = ["Fault", "Output", "Report", "cache_folder", "outputs", "verify"]


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

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def verify(recorded: Sequence[Output], cache: Path, root: Path = Path()) -> Report:
    """Hash every output below `root` and its object in `cache`; open what can be opened.

    Files are read by as many threads as there are workers (`EARSHOT_WORKERS`); the report's order
    is the lock's.
    """
    report = Report(stages=len({output.stage for output in recorded}))
    listings = {
        output.md5: _listing(cache, output.md5)
        for output in recorded
        if output.is_folder and not output.in_git
    }
    present = {output.path: _present(root / output.path) for output in recorded}
    paths = [root / path for output in recorded for path in _whole(output, present[output.path])]
    names = {
        name for output in recorded if not output.in_git for name in _objects(output, listings)
    }
    objects = {name: path for name in sorted(names) if (path := object_path(cache, name)).is_file()}
    todo = list(dict.fromkeys([*paths, *objects.values()]))
    with ThreadPoolExecutor(workers()) as pool:
        hashes = dict(
            zip(
                todo,
                track(pool.map(_hash, todo), "reading", total=len(todo), unit="file"),
                strict=True,
            )
        )
        opened = pool.map(contents.fault, paths)
        unreadable = dict(
            zip(paths, track(opened, "opening", total=len(paths), unit="file"), strict=True)
        )
    report.files, report.objects = len(paths), len(objects)
    report.bytes = sum(path.stat().st_size for path in todo if path.is_file())
    in_cache = {name: hashes[path] == name.removesuffix(".dir") for name, path in objects.items()}
    for stage in dict.fromkeys(output.stage for output in recorded):
        checked = []
        for output in recorded:
            if output.stage == stage:
                found = {
                    name: hashes[root / _below(output.path, name)] for name in present[output.path]
                }
                bad = {
                    name: why
                    for name in found
                    if (why := unreadable[root / _below(output.path, name)])
                }
                checked.append(
                    _Checked(root, output, found, bad, listings.get(output.md5), in_cache, cache)
                )
        report.faults += _stage_faults(stage, checked)
    return report


def _stage_faults(stage: str, checked: "Sequence[_Checked]") -> Iterable[Fault]:
    """Yield a stage's faults, those of the workspace first: `dvc commit` would keep what is wrong
    there.

    All its rotten objects go at once: DVC links what it commits from its cache, and a rotten one
    would spoil the workspace.
    """
    lost = [one.output.path for one in checked if not one.whole and not one.restorable]
    bad = [(one, *each) for one in checked for each in one.bad_objects()]
    remove = [str(path) for one, kind, path, name in bad if kind == "rotten"] + lost
    command = f"dvc repro {_quoted(stage)}" if lost else f"dvc commit {_quoted(stage)}"
    mend = (
        f"rm -rf {' '.join(map(_quoted, dict.fromkeys(remove)))} && {command}"
        if remove
        else command
    )
    for one in checked:
        yield from one.faults(mend)
    for one, kind, path, name in bad:
        content = "another content" if kind == "rotten" else "nothing"
        yield Fault(
            kind,
            str(path),
            stage,
            f"DVC's cache has {content} for {_below(one.output.path, name)}",
            mend,
        )


def _again(stage: str) -> str:
    """Return the command that makes a stage's outputs anew; DVC does not run the frozen one, even
    by force.
    """
    name, _, key = stage.partition("@")
    return (
        f"make pretrain TRACK={key}"
        if name == "pretrain"
        else f"dvc repro --force {_quoted(stage)}"
    )


@dataclass(frozen=True)
class _Checked:
    """An output, what was found of it ({path in it, "" of a file: MD5}), why some cannot be opened,
    the cache's state.
    """

    root: Path
    output: Output
    found: dict[str, str]
    unreadable: dict[str, str]
    listing: dict[str, str] | None
    in_cache: dict[str, bool]  # absent where there is no object
    cache: Path

    @property
    def expected(self) -> dict[str, str] | None:
        """Return what should be there, as `found`; None where the cache no longer says what is in
        the folder.
        """
        return self.listing if self.output.is_folder else {"": self.output.md5}

    @property
    def whole(self) -> bool:
        """Whether the workspace has what was recorded."""
        if self.output.is_folder:
            return bool(self.found) and folder_md5(self.found) == self.output.md5
        return self.found == self.expected

    @property
    def restorable(self) -> bool:
        """Whether Git, or a cache without a fault, can bring it back."""
        return self.output.in_git or (
            self.expected is not None and all(map(self.in_cache.get, self._objects()))
        )

    def faults(self, remake: str) -> Iterable[Fault]:
        """Yield what is wrong in the workspace; `remake` is the command for what nothing can bring
        back.
        """
        output, expected = self.output, self.expected
        if not self.found:
            yield self._fault("missing", "", "not there", self._restore("", remake))
        elif self.whole:
            pass
        elif output.in_git:
            yield self._git_fault()
        elif expected is None:
            yield self._fault("changed", "", "not the files that dvc.lock records", remake)
        else:
            for name in sorted(expected.keys() | self.found.keys()):
                if name not in self.found:
                    yield self._fault("missing", name, "not there", self._restore(name, remake))
                elif name not in expected:
                    yield self._fault(
                        "extra", name, "not recorded", f"rm {_quoted(self._path(name))}"
                    )
                elif self.found[name] != expected[name]:
                    detail = f"its MD5 is {self.found[name]}, recorded is {expected[name]}"
                    yield self._fault("changed", name, detail, self._restore(name, remake))
        for name, why in self.unreadable.items():
            again = _again(output.stage)
            yield self._fault(
                "unreadable", name, why, again if self.whole else self._restore(name, remake)
            )

    def bad_objects(self) -> Iterable[tuple[str, Path, str]]:
        """Yield ("rotten" or "absent", object, file in the output) of what DVC's cache should hold,
        and does not.
        """
        for md5_, name in self._objects().items():
            rotten = md5_ in self.in_cache
            if not self.in_cache.get(md5_) and (
                rotten or self.found
            ):  # what is nowhere has been said to be missing
                yield "rotten" if rotten else "absent", object_path(self.cache, md5_), name

    def _objects(self) -> dict[str, str]:
        """Return {MD5 of an object that DVC's cache should hold: file in the output}; nothing where
        Git holds it.
        """
        inside = {md5_: name for name, md5_ in (self.listing or {}).items()}
        return {} if self.output.in_git else {self.output.md5: "", **inside}

    def _git_fault(self) -> Fault:
        output, changes = self.output, git_changes(self.root / self.output.path)
        if changes:
            path = _quoted(output.path)
            mend = f"git checkout -- {path} && git clean -fd -- {path}"
            return self._fault(
                "changed",
                "",
                f"not what dvc.lock records; git status: {', '.join(changes[:9])}",
                mend,
            )
        detail = "not what dvc.lock records, though Git has it so: they were not committed together"
        return self._fault("changed", "", detail, _again(output.stage))

    def _restore(self, name: str, remake: str) -> str:
        """Return the command that brings back a file, or the whole output, of what the cache or Git
        holds.
        """
        if self.output.in_git:
            return f"git checkout -- {_quoted(self.output.path)}"
        if not self.restorable:
            return remake
        return f"rm -rf {_quoted(self._path(name))} && dvc checkout --force {_quoted(self.output.path)}"

    def _fault(self, kind: str, name: str, detail: str, mend: str) -> Fault:
        return Fault(kind, self._path(name), self.output.stage, detail, mend)

    def _path(self, name: str) -> str:
        return _below(self.output.path, name)


def _listing(cache: Path, name: str) -> dict[str, str] | None:
    """Return what a folder should hold, of the cache; None where the cache does not say so
    reliably.
    """
    path = object_path(cache, name)
    try:
        return read_listing(path) if md5(path) == name.removesuffix(".dir") else None
    except (OSError, ValueError):
        return None


def _present(path: Path) -> list[str]:
    """Return the names of the files of an output that are there; "" is the output itself."""
    return files(path) if path.is_dir() else [""] if path.is_file() else []


def _whole(output: Output, names: Iterable[str]) -> list[str]:
    return [_below(output.path, name) for name in names]


def _objects(output: Output, listings: dict[str, dict[str, str] | None]) -> list[str]:
    return [output.md5, *(listings.get(output.md5) or {}).values()]


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if name else folder


def _hash(path: Path) -> str | None:
    try:
        return md5(path)
    except OSError:  # gone, or not to be read
        return None


def _quoted(path: str | os.PathLike[str]) -> str:
    return shlex.quote(os.fspath(path))
