"""What the results come from: the data that DVC recorded, and the commit."""

from pathlib import Path
from typing import NamedTuple

from earshot.workbench import git, lockfile

RESULTS = ("dvc.lock", "metrics")
HEAVY = ("data/", "models/", "checkpoints/")


class Output(NamedTuple):
    """What a stage wrote, as dvc.lock says."""

    path: str
    md5: str
    bytes: int
    files: int


def outputs(root: Path) -> list[Output]:
    """Return the data and models that stages wrote, in the order of dvc.lock; none without it."""
    return [
        Output(out["path"], out["md5"], out.get("size", 0), out.get("nfiles", 1))
        for stage in lockfile.stages(root).values()
        for out in stage.get("outs", ())
        if out["path"].startswith(HEAVY)
    ]


def commit(root: Path, params: Path) -> str | None:
    """Return the last commit that touched results or parameters; None where they changed since, or
    Git cannot say.
    """
    paths = (*RESULTS, str(params))
    try:
        whole = git.text(root, "rev-parse", "--is-shallow-repository") == "false"
        if not whole or git.text(root, "status", "--porcelain", "--", *paths):
            return None
        return git.text(root, "log", "-1", "--format=%H", "--", *paths) or None
    except ValueError:
        return None
