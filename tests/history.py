"""Small Git repositories with metrics, parameters and plots, whose history tests write."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

PARAMS = """\
seed: 1
recipes:
  listening-kd:
    terms: {kd: {temperature: 2.0}}
guard:
  listening.quality.kd.accuracy: 0.03
  listening.cost.kd.bytes: 0
"""
_AUTHOR = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a"}
ALONE = {
    **_AUTHOR,
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def git(root: Path, *arguments: str) -> str:
    """Run Git in a folder, whatever the user's settings; return what it printed."""
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    ended = subprocess.run(
        command, cwd=root, env={**os.environ, **ALONE}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def scores(accuracy: float, half: float = 0.02, **more: Any) -> dict[str, Any]:
    """Return a model's scores with an interval of `half` on either side."""
    return {
        "accuracy": accuracy,
        "accuracy_low": accuracy - half,
        "accuracy_high": accuracy + half,
        "nll": 0.5,
        **more,
    }


def write(root: Path, files: dict[str, Any]) -> None:
    """Write files: text and bytes as they are, None removes, all else as JSON (NaN allowed)."""
    for name, content in files.items():
        path = root / name
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))


def commit(root: Path, files: dict[str, Any], message: str = "change") -> str:
    """Write files, commit everything and return the commit's id."""
    write(root, files)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(root, "rev-parse", "HEAD")


QUALITY = {
    "teacher": scores(0.9),
    "kd": scores(0.7),
    "hard": scores(0.4),
    "gain": {
        "kd_vs_hard": {
            "accuracy": 0.3,
            "accuracy_low": 0.25,
            "accuracy_high": 0.35,
            "p_value": 0.001,
        }
    },
}
COST = {"kd": {"bytes": 1000, "parameters": 500, "timing": {"latency_median_ms": 5.0}}}
FILES = {
    "params.yaml": PARAMS,
    "metrics/listening/quality.json": QUALITY,
    "metrics/listening/cost.json": COST,
    "plots/listening/test/accuracy.csv": "model,accuracy\n",
}


def project(root: Path) -> Path:
    """Make a repository whose branch `main` has one track's results."""
    root.mkdir(parents=True, exist_ok=True)
    git(root, "init", "--quiet", "--initial-branch=main")
    commit(root, FILES, "results")
    return root
