"""Clones to train in: the last commit, the changes made since, and data from DVC's cache."""

import configparser
import fcntl
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from earshot.workbench import git
from earshot.workbench.hashes import object_path
from earshot.workbench.lockfile import Output, dependencies, outputs

LINKS = "reflink,hardlink,symlink,copy"  # stages only read what they depend on


def dvc(root: Path, *arguments: str) -> str:
    """Return what `dvc ARGUMENTS` prints in `root`; ValueError with its complaint."""
    words = ["dvc", *arguments]
    ended = subprocess.run(words, cwd=root, env=environment(root), capture_output=True, text=True)
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip().splitlines()
        why = said[-1] if said else f"exit code {ended.returncode}"
        raise ValueError(f"{' '.join(words[:3])}: {why}")
    return ended.stdout


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of a command in `folder`: none that point Git elsewhere.

    DVC's notes about a clone stay in it.
    """
    settings = {"DVC_NO_ANALYTICS": "1"}
    if (folder / ".git/earshot").exists():
        settings["DVC_SITE_CACHE_DIR"] = str(folder / ".dvc/tmp/site")
    return git.environment() | settings


class Source(NamedTuple):
    """What clones start from: HEAD, a commit of tracked files as they are now, DVC's cache."""

    root: Path
    head: str
    edited: str
    cache: Path


def take(root: Path) -> Source:
    """Look at the repository at `root`; ValueError without a commit, or where DVC has none."""
    head = git.text(root, "rev-parse", "--verify", "HEAD")
    changed = git.text(root, "status", "--porcelain", "--untracked-files=no")
    edited = git.text(root, "stash", "create") if changed else head  # stashes nothing away
    return Source(root, head, edited, cache_of(root))


def make(source: Source, folder: Path, stage: str) -> None:
    """Clone to `folder`, with what `stage` depends on linked from the cache."""
    root = source.root
    git.text(root, "clone", "--quiet", "--shared", "--no-checkout", str(root), str(folder))
    (folder / ".git/earshot").touch()
    for name in ("user.name", "user.email"):  # of this repository alone, perhaps
        with suppress(ValueError):
            git.text(folder, "config", name, git.text(root, "config", name))
    git.text(folder, "checkout", "--quiet", "--detach", source.head)
    git.text(folder, "restore", f"--source={source.edited}", "--staged", "--worktree", ".")
    local = configparser.ConfigParser(interpolation=None)
    local.read(root / ".dvc/config.local")
    local.read_dict({"cache": {"dir": str(source.cache), "type": LINKS}})
    with open(folder / ".dvc/config.local", "w") as file:
        local.write(file)
    if not dependencies(folder, stage):
        dvc(folder, "checkout", "--quiet", "--with-deps", "--allow-missing", stage)
    _hand_in(root, folder, stage)
    paths = [output.path for output in needed(folder, stage)]
    missing = [path for path in paths if not (folder / path).exists()]
    if missing:
        dvc(folder, "checkout", "--quiet", *missing)


def _hand_in(root: Path, folder: Path, stage: str) -> None:
    """Link what a user hands in and `stage` depends on: DVC's cache does not have it."""
    for path in (one["path"] for one in dependencies(folder, stage)):
        given, copy = root / path, folder / path
        if copy.parent.name == "inputs" and given.exists() and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(given.resolve())


def cache_of(root: Path) -> Path:
    """Return the folder of DVC's cache."""
    return (root / dvc(root, "cache", "dir").strip()).resolve()


def needed(root: Path, stage: str) -> list[Output]:
    """Return the outputs of other stages that a stage depends on."""
    return outputs_at(root, [one["path"] for one in dependencies(root, stage)])


def outputs_at(root: Path, paths: list[str]) -> list[Output]:
    """Return the outputs that lie at, above or below these paths.

    A stage may depend on a folder of several outputs, or on a part of one.
    """
    found = []
    for output in outputs(root):
        one = Path(output.path)
        if any(one.is_relative_to(path) or Path(path).is_relative_to(one) for path in paths):
            found.append(output)
    return found


def waiting(root: Path, stage: str) -> list[str]:
    """Return the stages that must run before `stage`: not current, or their data is nowhere."""
    printed = dvc(root, "repro", "--dry", "--allow-missing", stage)
    stale = [one for one in re.findall(r"^Running stage '(.+?)'", printed, re.M) if one != stage]
    if stale:
        return stale
    cache = cache_of(root)
    lost = {
        output.stage
        for output in needed(root, stage)
        if not (root / output.path).exists() and not object_path(cache, output.md5).exists()
    }
    return sorted(lost)


@contextmanager
def alone(folder: Path) -> Iterator[list[str]]:
    """Hold the lock of a folder of clones; yield the names of those left over, now removed.

    OSError when another command has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            running = "another sweep or search is running here, or ends just now"
            raise BlockingIOError(f"{folder}: {running}") from None
        left = sorted(path for path in folder.iterdir() if path.is_dir())
        for path in left:
            _end_inside(path)
            shutil.rmtree(path)
        yield [path.name for path in left]


def _end_inside(clone: Path) -> None:
    """End processes that work in a clone and outlived their command; Linux tells which."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            if (entry / "cwd").readlink().is_relative_to(clone.resolve()):
                os.kill(int(entry.name), signal.SIGKILL)
