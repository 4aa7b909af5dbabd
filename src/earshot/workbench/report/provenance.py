"""What the results come from: the data that DVC recorded, and the commit."""

from pathlib import Path

from earshot.workbench import git, lockfile

RESULTS = ("dvc.lock", "metrics")
HEAVY = ("data/", "models/", "checkpoints/")


def outputs(root: Path) -> list[lockfile.Output]:
    """Return the data and models that stages wrote."""
    return [output for output in lockfile.outputs(root) if output.path.startswith(HEAVY)]


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
