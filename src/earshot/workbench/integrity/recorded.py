"""What dvc.lock records of every output, and who keeps it: DVC's cache or Git."""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from earshot.workbench import git, lockfile
from earshot.workbench.integrity.hashes import FOLDER

STATUS = ("status", "--porcelain", "--untracked-files=all", "--")
KINDS = ("outs", "metrics", "plots")


@dataclass(frozen=True)
class Output:
    """An output of a stage as it was when the stage last ran; `in_git` when Git keeps it, not DVC's
    cache.
    """

    stage: str
    path: str
    md5: str
    in_git: bool

    @property
    def is_folder(self) -> bool:
        return self.md5.endswith(FOLDER)


def outputs(root: Path = Path(), wanted: Sequence[str] = ()) -> list[Output]:
    """Return what dvc.lock records, in its order; of some stages when `wanted` names them.

    `distill@listening-kd` is one stage, `distill` all of its instances, and `*@listening*` what
    matches. ValueError when there is no lock, or no such stage in it.
    """
    for name in ("dvc.yaml", lockfile.NAME):
        if not (root / name).is_file():
            hint = "`make repro` writes dvc.lock, in the project's folder"
            raise ValueError(f"{root / name}: no such file; {hint}")
    blocks = yaml.safe_load((root / "dvc.yaml").read_text()).get("stages") or {}
    locked = lockfile.stages(root)
    for name in wanted:
        if not any(_matches(stage, name) for stage in locked):
            raise ValueError(
                f"{name}: dvc.lock has no such stage; it has {', '.join(sorted(locked))}"
            )
    found = []
    for stage, entry in locked.items():
        if wanted and not any(_matches(stage, name) for name in wanted):
            continue
        block = blocks.get(stage.split("@")[0], {})
        in_git = _uncached(block.get("do", block))
        for out in entry.get("outs", []):
            if "md5" not in out:
                raise ValueError(f"dvc.lock: {out['path']} of {stage} is recorded without an MD5")
            kept = any(re.fullmatch(pattern, out["path"]) for pattern in in_git)
            found.append(Output(stage, out["path"], out["md5"], kept))
    return found


def cache_folder() -> Path:
    """Return where DVC's cache is, as DVC says; ValueError where there is no DVC repository."""
    asked = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"], capture_output=True, text=True
    )
    if asked.returncode:
        raise ValueError(
            f"dvc cache dir: {(asked.stderr.strip().splitlines() or ['no answer'])[-1]}"
        )
    return Path(asked.stdout.strip().splitlines()[-1])


def git_changes(path: Path) -> list[str] | None:
    """Return what Git says of files below `path`, `M name` a file; None where Git cannot say."""
    try:
        text = git.output(path.parent, *STATUS, path.name).decode(errors="replace")
    except (ValueError, OSError):  # no Git, or not even the folder
        return None
    return [line.strip() for line in text.splitlines()]


def _matches(stage: str, name: str) -> bool:
    return name in (stage, stage.split("@")[0]) or fnmatchcase(stage, name)


def _uncached(block: dict[str, Any]) -> list[str]:
    """Return patterns of the outputs with `cache: false`; `${…}` is any part of a name."""
    entries = [entry for kind in KINDS for entry in block.get(kind, []) if isinstance(entry, dict)]
    paths = [
        path
        for entry in entries
        for path, options in entry.items()
        if (options or {}).get("cache") is False
    ]
    return ["[^/]+".join(map(re.escape, re.split(r"\$\{[^}]*\}", path))) for path in paths]
