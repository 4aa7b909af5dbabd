"""Git, called as a program: what it prints, or a ValueError with what it complains of."""

import os
import subprocess
from pathlib import Path

ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # set inside Git's hooks


def output(root: Path, *arguments: str, given: bytes | None = None) -> bytes:
    """Return what `git ARGUMENTS` prints in `root`; ValueError with its complaint when it fails."""
    ended = _run(root, arguments, given)
    if ended.returncode:
        raise ValueError(f"git {arguments[0]} failed: {_complaint(ended)}")
    return ended.stdout


def text(root: Path, *arguments: str) -> str:
    """Return what `git ARGUMENTS` prints, without the white space around it."""
    return output(root, *arguments).decode(errors="surrogateescape").strip()


def resolve(root: Path, revision: str) -> str | None:
    """Return the id of an object by any name Git knows; None when this clone does not have it."""
    words = ("rev-parse", "--verify", "--quiet", "--end-of-options", revision)
    ended = _run(root, words)
    return None if ended.returncode else ended.stdout.decode().strip()


def require_repository(root: Path) -> None:
    """Raise ValueError where there is no Git repository."""
    ended = _run(root, ("rev-parse", "--is-inside-work-tree"))
    if ended.returncode:
        raise ValueError(f"{root.resolve()}: no Git repository ({_complaint(ended)})")


def environment() -> dict[str, str]:
    """Return this process's variables without those that point Git to another repository."""
    return {key: value for key, value in os.environ.items() if key not in ELSEWHERE}


def _run(root: Path, arguments: tuple[str, ...], given: bytes | None = None):
    command = ["git", *arguments]
    try:
        return subprocess.run(
            command, cwd=root, env=environment(), input=given, capture_output=True
        )
    except FileNotFoundError:
        raise ValueError("git: no such command; it must be installed") from None


def _complaint(ended: "subprocess.CompletedProcess[bytes]") -> str:
    lines = ended.stderr.decode(errors="replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ") if lines else f"exit code {ended.returncode}"
