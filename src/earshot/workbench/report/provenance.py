"""What the results come from: stages with their sizes and times, hashes of data, versions of
libraries.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from earshot.workbench.report.data import Track

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # dvc.lock is long
RESULTS = ("dvc.lock", "metrics", "plots")
HEAVY = ("data/", "models/", "checkpoints/")  # what DVC keeps; metrics and plots are in Git


@dataclass(frozen=True)
class Output:
    """What a stage instance wrote, as dvc.lock says; `files` is None for a single file."""

    stage: str
    track: str
    path: str
    md5: str
    bytes: int
    files: int | None


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline with what it left of each track: bytes, and the minutes it took."""

    name: str
    description: str
    bytes: dict[str, int]
    minutes: dict[str, float]


def outputs(root: Path) -> list[Output]:
    """Return the data that the stages wrote, in the order of dvc.lock; none where there is no
    dvc.lock.
    """
    path = root / "dvc.lock"
    if not path.is_file():
        return []
    found = []
    for instance, entry in (yaml.load(path.read_text(), _LOADER).get("stages") or {}).items():
        for out in entry.get("outs", ()):
            if out["path"].startswith(HEAVY):
                track = out["path"].split("/")[1]
                found.append(
                    Output(
                        instance,
                        track,
                        out["path"],
                        out["md5"],
                        out.get("size", 0),
                        out.get("nfiles"),
                    )
                )
    return found


def stages(root: Path, tracks: list[Track], written: list[Output]) -> list[Stage]:
    """Return the stages of dvc.yaml in their order, with what they have `written` and what metrics
    say of `tracks`.
    """
    path = root / "dvc.yaml"
    if not path.is_file():
        return []
    found = []
    for name, block in (yaml.safe_load(path.read_text()).get("stages") or {}).items():
        sizes, minutes = {}, {}
        for track in tracks:
            own = [
                out
                for out in written
                if out.stage.split("@")[0] == name and out.track == track.name
            ]
            if own:
                sizes[track.name] = sum(out.bytes for out in own)
            if name in track.minutes:
                minutes[track.name] = track.minutes[name]
        found.append(Stage(name, block.get("do", block).get("desc", ""), sizes, minutes))
    return found


def commit(root: Path, params: Path) -> str | None:
    """Return the last commit that touched results or parameters; None where they changed since, or
    Git cannot say.
    """

    def git(*words: str) -> str | None:
        done = subprocess.run(("git", *words), cwd=root, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    paths = (*RESULTS, str(params))
    if (
        git("rev-parse", "--is-shallow-repository") != "false"
        or git("status", "--porcelain", "--", *paths) != ""
    ):
        return None
    return git("log", "-1", "--format=%H", "--", *paths) or None


def versions(root: Path) -> dict[str, str]:
    """Return the pinned versions of the libraries that pyproject.toml asks for, as
    requirements.lock has them.
    """
    path = root / "requirements.lock"
    if not path.is_file():
        return {}
    pinned = re.compile(
        r"^([a-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;]+)[^\n]*\n((?:    #[^\n]*\n)+)", re.M
    )
    return {
        name: version
        for name, version, via in pinned.findall(path.read_text())
        if "earshot (pyproject.toml)" in via
    }
