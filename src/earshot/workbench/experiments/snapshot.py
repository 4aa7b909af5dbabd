"""What experiments start from: the last commit with the changes made since, in a clone.

`dvc exp run --queue` and `--temp` stash the workspace, check out a detached HEAD and write
params.yaml there: a kill in those seconds leaves it so. A clone needs none of that.
"""

import configparser
import hashlib
import json
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earshot.runtime.files import sha256
from earshot.workbench import git
from earshot.workbench.integrity.hashes import object_path
from earshot.workbench.lockfile import dependencies, stages

LINKS = "reflink,hardlink,symlink,copy"  # stages only read what they depend on
DIFF = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv")
PREFIXES = ("--src-prefix=a/", "--dst-prefix=b/")  # whatever Git is told to show


class CommandError(ValueError):
    """A command that failed, and the last line it said."""


def command(*words: str, cwd: Path, data: bytes | None = None) -> str:
    """Run a command and return what it printed; CommandError holds its last line."""
    return _output(*words, cwd=cwd, data=data).decode(errors="replace")


def _output(*words: str, cwd: Path, data: bytes | None = None) -> bytes:
    done = subprocess.run(words, cwd=cwd, env=environment(cwd), input=data, capture_output=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        why = lines[-1] if lines else f"exit code {done.returncode}"
        raise CommandError(f"{' '.join(words[:3])}: {why}")
    return done.stdout


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of a command in `folder`: none that point Git elsewhere.

    DVC's notes about a clone stay in it.
    """
    settings = {"DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if (folder / ".git/earshot").exists():
        settings["DVC_SITE_CACHE_DIR"] = str(folder / ".dvc/tmp/site")
    return git.environment() | settings


@dataclass(frozen=True)
class Snapshot:
    """A commit, the workspace's changes of tracked files, and the cache that clones share."""

    root: Path
    head: str
    edits: bytes
    cache: Path

    def clone(self, folder: Path, stage: str) -> None:
        """Make a clone with the edits, and what `stage` depends on linked from the cache."""
        words = ("git", "clone", "--quiet", "--shared", "--no-checkout")
        command(*words, str(self.root), str(folder), cwd=self.root)
        (folder / ".git/earshot").touch()
        for name in ("user.name", "user.email"):  # of this repository alone, perhaps
            with suppress(CommandError):
                value = command("git", "config", name, cwd=self.root).strip()
                command("git", "config", name, value, cwd=folder)
        command("git", "checkout", "--quiet", "--detach", self.head, cwd=folder)
        if self.edits:
            apply = ("git", "apply", "--index", "--whitespace=nowarn", "-")
            command(*apply, cwd=folder, data=self.edits)
        local = configparser.ConfigParser(interpolation=None)
        local.read(self.root / ".dvc/config.local")
        local.read_dict({"cache": {"dir": str(self.cache), "type": LINKS}})
        with open(folder / ".dvc/config.local", "w") as file:
            local.write(file)
        checkout = ("dvc", "checkout", "--quiet")
        needed = [one["path"] for one in dependencies(folder, stage)]
        if not needed:
            command(*checkout, "--with-deps", "--allow-missing", stage, cwd=folder)
        missing = [path for path in outputs_of(folder, needed) if not (folder / path).exists()]
        if missing:
            command(*checkout, *missing, cwd=folder)


def outputs_of(root: Path, paths: list[str]) -> dict[str, tuple[str, str]]:
    """Return {output: (its stage, its MD5)} of what lies at, above or below these paths.

    A stage may depend on a folder of several outputs, or on a part of one.
    """
    found = {}
    for stage, entry in stages(root).items():
        for out in entry.get("outs", []):
            one = Path(out["path"])
            if any(one.is_relative_to(path) or Path(path).is_relative_to(one) for path in paths):
                found[out["path"]] = stage, out["md5"]
    return found


def take(root: Path) -> Snapshot:
    """Look at the repository at `root`; ValueError without a commit, or where DVC has none."""
    head = command("git", "rev-parse", "--verify", "HEAD", cwd=root).strip()
    edits = _output("git", "diff", *DIFF, *PREFIXES, "HEAD", cwd=root)
    return Snapshot(root, head, edits, _cache(root))


def _cache(root: Path) -> Path:
    return (root / command("dvc", "cache", "dir", cwd=root).strip()).resolve()


def untracked(root: Path) -> list[str]:
    """Return files that Git does not know and does not ignore: no experiment has them."""
    return command("git", "ls-files", "--others", "--exclude-standard", cwd=root).splitlines()


def digest(root: Path, stage: str, params: dict[str, Any], overrides: Any) -> str:
    """Name all that a run of `stage` depends on: code as it is, data as locked, parameters."""
    things: list[Any] = [stage, params, overrides]
    for dependency in dependencies(root, stage):
        path = dependency["path"]
        if outputs_of(root, [path]):
            things.append([path, dependency.get("md5")])
            continue
        whole = root / path
        code = [whole] if whole.is_file() else sorted(whole.rglob("*.py"))
        things += [[str(file.relative_to(root)), sha256(file)] for file in code]
    return hashlib.sha256(json.dumps(things, sort_keys=True, default=str).encode()).hexdigest()[:16]


def stale(root: Path, stage: str) -> list[str]:
    """Return the stages before `stage` that have to run first."""
    printed = command("dvc", "repro", "--dry", "--allow-missing", stage, cwd=root)
    return [name for name in re.findall(r"^Running stage '(.+?)'", printed, re.M) if name != stage]


def absent(root: Path, stage: str) -> list[str]:
    """Return the stages whose data `stage` needs, and neither workspace nor DVC's cache has."""
    cache = _cache(root)
    needed = outputs_of(root, [one["path"] for one in dependencies(root, stage)])
    lost = {
        producer
        for path, (producer, md5) in needed.items()
        if not (root / path).exists() and not object_path(cache, md5).exists()
    }
    return sorted(lost)
