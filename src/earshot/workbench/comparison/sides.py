"""One side of a comparison: a commit, read from Git without a checkout, or the folder as it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earshot.runtime import yaml_file
from earshot.workbench import git


@dataclass(frozen=True)
class Side:
    """A state of the project; `tree` is a Git tree, or None for the folder itself."""

    root: Path
    name: str
    commit: str | None
    tree: str | None

    def files(self, folder: str) -> list[str]:
        """Return the paths of the files in a folder."""
        if self.tree is None:
            found = (self.root / folder).rglob("*")
            return [path.relative_to(self.root).as_posix() for path in found if path.is_file()]
        words = ("ls-tree", "-r", "-z", "--name-only", "--full-tree", self.tree, "--", folder)
        return git.text(self.root, *words).strip("\0").split("\0")

    def read(self, path: str) -> str | None:
        """Return a file's text, None where there is none; ValueError when it is no UTF-8."""
        if self.tree is None:
            content = (self.root / path).read_bytes() if (self.root / path).is_file() else None
        else:
            blob = git.resolve(self.root, f"{self.tree}:{path}")
            content = git.output(self.root, "cat-file", "blob", blob) if blob else None
        try:
            return None if content is None else content.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} ({self.name}) is not UTF-8: {error.reason}") from None

    def params(self, path: str) -> dict[str, Any]:
        """Return parameters, none without the file; ValueError when it is no YAML mapping."""
        content = yaml_file.parse(self.read(path) or "", f"{path} ({self.name})")
        if content is not None and not isinstance(content, dict):
            raise ValueError(f"{path} ({self.name}) is {type(content).__name__}, not a mapping")
        return content or {}


def working_tree(root: Path) -> Side:
    """Return the folder as it lies there."""
    git.require_repository(root)
    return Side(root, "working tree", git.resolve(root, "HEAD^{commit}"), None)


def commit(root: Path, revision: str) -> Side:
    """Return a commit by any name; ValueError, with what to fetch, when this clone lacks it."""
    git.require_repository(root)
    found = git.resolve(root, f"{revision}^{{commit}}")
    if found is None:
        hint = _how_to_fetch(root, revision)
        raise ValueError(f"{revision}: no such commit in this clone; {hint}")
    prefix = git.text(root, "rev-parse", "--show-prefix").rstrip("/")
    tree = git.resolve(root, f"{found}:{prefix}")
    return Side(root, revision, found, tree or _empty(root))


def nothing(root: Path) -> Side:
    """Return a state without files, from which a first commit differs by everything."""
    git.require_repository(root)
    return Side(root, "nothing", None, _empty(root))


def _empty(root: Path) -> str:
    return git.output(root, "hash-object", "-t", "tree", "--stdin", given=b"").decode().strip()


def _how_to_fetch(root: Path, revision: str) -> str:
    """Return the command that brings a commit here."""
    remotes = git.text(root, "remote").split()
    remote, _, branch = revision.partition("/")
    if branch and remote in remotes:
        return f"fetch it: git fetch --depth=1 {remote} {branch}:refs/remotes/{remote}/{branch}"
    origin = "origin" if "origin" in remotes or not remotes else remotes[0]
    if len(revision) == 40 and set(revision) <= set("0123456789abcdef"):
        return f"fetch it: git fetch --depth=1 {origin} {revision}"
    if git.text(root, "rev-parse", "--is-shallow-repository") == "true":
        return f"the clone is shallow, fetch the rest: git fetch --unshallow {origin}"
    return f"fetch it if it exists: git fetch {origin}"
