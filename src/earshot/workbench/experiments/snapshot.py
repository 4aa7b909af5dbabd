"""What experiments start from: the last commit with the changes made since, copied without touching
the workspace.

`dvc exp run --queue` and `--temp` stash the workspace, check out a detached HEAD and write
params.yaml there: a kill in those seconds leaves it so. A clone needs none of that.
"""

import configparser
import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earshot.runtime.files import sha256
from earshot.workbench import git
from earshot.workbench.integrity.hashes import object_path
from earshot.workbench.lockfile import dependencies, stages

LINKS = "reflink,hardlink,symlink,copy"  # stages only read what they depend on
DIFF = (
    "git",
    "diff",
    "--binary",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "HEAD",
)


class CommandError(ValueError):
    """A command that failed, and the last line it said."""


def command(*words: str, cwd: Path, data: bytes | None = None) -> str:
    """Run a command and return what it printed; CommandError holds its last line."""
    return _output(*words, cwd=cwd, data=data).decode(errors="replace")


def _output(*words: str, cwd: Path, data: bytes | None = None) -> bytes:
    done = subprocess.run(words, cwd=cwd, env=environment(cwd), input=data, capture_output=True)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise CommandError(
            f"{' '.join(words[:3])}: {said[-1] if said else f'exit code {done.returncode}'}"
        )
    return done.stdout


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of a command in `folder`: none that point Git elsewhere; DVC's notes
    about a clone stay in it.
    """
    site = (
        {"DVC_SITE_CACHE_DIR": str(folder / ".dvc/tmp/site")}
        if (folder / ".git/earshot").exists()
        else {}
    )
    return git.environment() | {"DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": "1"} | site


@dataclass(frozen=True)
class Snapshot:
    """A commit, what the workspace changes in its tracked files, and the folder of the cache that
    clones share.
    """

    root: Path
    head: str
    edits: bytes
    cache: Path

    def clone(self, folder: Path, stage: str) -> None:
        """Make a clone with the edits, and what `stage` depends on linked from the cache."""
        here = str(self.root)
        command(
            "git", "clone", "--quiet", "--shared", "--no-checkout", here, str(folder), cwd=self.root
        )
        (folder / ".git/earshot").touch()
        for name in ("user.name", "user.email"):
            if value := _config(self.root, name):
                command("git", "config", name, value, cwd=folder)
        command("git", "checkout", "--quiet", "--detach", self.head, cwd=folder)
        if self.edits:
            command(
                "git", "apply", "--index", "--whitespace=nowarn", "-", cwd=folder, data=self.edits
            )
        own = configparser.ConfigParser(interpolation=None)
        own.read(self.root / ".dvc/config.local")
        own.read_dict({"cache": {"dir": str(self.cache), "type": LINKS}})
        with open(folder / ".dvc/config.local", "w") as file:
            own.write(file)
        locked = [one["path"] for one in dependencies(folder, stage)]
        if not locked:
            command(
                "dvc", "checkout", "--quiet", "--with-deps", "--allow-missing", stage, cwd=folder
            )
        elif missing := [path for path in locked if not (folder / path).exists()]:
            command("dvc", "checkout", "--quiet", *outputs_of(folder, missing), cwd=folder)


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
    """Look at the repository at `root`; ValueError when it has no commit, or is no DVC
    repository.
    """
    head = command("git", "rev-parse", "--verify", "HEAD", cwd=root).strip()
    edits = _output(*DIFF, cwd=root)
    cache = command("dvc", "cache", "dir", cwd=root).strip()
    return Snapshot(root, head, edits, (root / cache).resolve())


def untracked(root: Path) -> list[str]:
    """Return files that Git does not know and does not ignore: no experiment has them."""
    return command("git", "ls-files", "--others", "--exclude-standard", cwd=root).splitlines()


def digest(root: Path, stage: str, params: dict[str, Any], overrides: Any) -> str:
    """Name all that a run of `stage` depends on: code as it is, data as locked, parameters, what is
    overridden.
    """
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
    said = command("dvc", "repro", "--dry", "--allow-missing", stage, cwd=root)
    return [
        name
        for line in said.splitlines()
        if line.startswith("Running stage '") and (name := line.split("'")[1]) != stage
    ]


def absent(root: Path, stage: str) -> list[str]:
    """Return the stages whose data `stage` depends on, and which neither the workspace nor DVC's
    cache has.
    """
    cache = (root / command("dvc", "cache", "dir", cwd=root).strip()).resolve()
    needed = outputs_of(root, [one["path"] for one in dependencies(root, stage)])
    lost = {
        producer
        for path, (producer, md5) in needed.items()
        if not (root / path).exists() and not object_path(cache, md5).exists()
    }
    return sorted(lost)


def _config(root: Path, name: str) -> str:
    done = subprocess.run(["git", "config", name], cwd=root, capture_output=True, text=True)
    return done.stdout.strip()
