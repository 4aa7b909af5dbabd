"""One side of a comparison: a commit, read through Git's objects without a checkout, or the folder
as it lies there.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

WORKING_TREE = "working tree"
EMPTY = "nothing"


@dataclass(frozen=True)
class Snapshot:
    """A state of the project. `tree` is a Git tree, or None for the folder itself; `commit` is what
    links may name.
    """

    root: Path
    name: str
    commit: str | None
    tree: str | None

    def read(self, path: str) -> str | None:
        """Return a file's text, or None where this side has no such file; ValueError when it is no
        UTF-8.
        """
        if self.tree is None:
            file = self.root / path
            content = file.read_bytes() if file.is_file() else None
        elif path in self.blobs(path):
            content = _git(self.root, "cat-file", "blob", f"{self.tree}:{path}")
        else:
            content = None
        try:
            return None if content is None else content.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} ({self.name}) is not UTF-8: {error.reason}") from None

    def blobs(self, folder: str) -> dict[str, str]:
        """Return the files in a folder (or the one file of that name) with the ids of their bytes,
        by path.
        """
        if self.tree is None:
            found = [path for path in (self.root / folder).rglob("*") if path.is_file()]
            paths = sorted(path.relative_to(self.root).as_posix() for path in found)
            asked = "".join(
                f"{self.root.resolve() / path}\n" for path in paths
            ).encode()  # Git counts from the top
            ids = (
                _git(self.root, "hash-object", "--no-filters", "--stdin-paths", given=asked)
                .decode()
                .split()
            )
            return dict(zip(paths, ids, strict=True))
        rows = (
            _git(self.root, "ls-tree", "-r", "-z", "--full-tree", self.tree, "--", folder)
            .decode(errors="surrogateescape")
            .split("\0")
        )
        split = (row.split("\t", 1) for row in rows if row)
        return {path: about.split()[2] for about, path in split if about.split()[1] == "blob"}

    def at_commit(self) -> "Snapshot":
        """Return the commit that this side's links name, itself where it is one."""
        return (
            self if self.tree is not None or self.commit is None else commit(self.root, self.commit)
        )


def working_tree(root: Path) -> Snapshot:
    """Return the folder as it lies there; the commit it was checked out from is what links to its
    unchanged files name.
    """
    _require_repository(root)
    head = _resolve(root, "HEAD^{commit}")
    return Snapshot(root, WORKING_TREE, head, None)


def commit(root: Path, revision: str) -> Snapshot:
    """Return a commit by any name Git knows; ValueError, with what to fetch, when this clone does
    not have it.
    """
    _require_repository(root)
    found = _resolve(root, f"{revision}^{{commit}}")
    if found is None:
        raise ValueError(
            f"{revision}: no such commit in this clone; {_how_to_fetch(root, revision)}"
        )
    prefix = _git(root, "rev-parse", "--show-prefix").decode().strip().rstrip("/")
    tree = _resolve(root, f"{found}:{prefix}")
    return Snapshot(root, revision, found, tree or _empty(root))


def nothing(root: Path) -> Snapshot:
    """Return a state without files, from which a first commit differs by everything."""
    _require_repository(root)
    return Snapshot(root, EMPTY, None, _empty(root))


def prefix(root: Path) -> str:
    """Return where in the Git repository the project lies: empty, or a path that ends in a slash."""
    return _git(root, "rev-parse", "--show-prefix").decode().strip()


def _empty(root: Path) -> str:
    return _git(root, "hash-object", "-t", "tree", "--stdin", given=b"").decode().strip()


def _require_repository(root: Path) -> None:
    found = _run(root, ["rev-parse", "--is-inside-work-tree"])
    if found.returncode:
        raise ValueError(f"{root.resolve()}: no Git repository to compare in ({_complaint(found)})")


def _resolve(root: Path, revision: str) -> str | None:
    found = _run(root, ["rev-parse", "--verify", "--quiet", "--end-of-options", revision])
    return None if found.returncode else found.stdout.decode().strip()


def _how_to_fetch(root: Path, revision: str) -> str:
    """Return the command that brings a commit here: a branch by its name, anything else with the
    whole history.
    """
    remote, _, branch = revision.partition("/")
    remotes = _git(root, "remote").decode().split()
    if branch and remote in remotes:
        return f"fetch it: git fetch --depth=1 {remote} {branch}:refs/remotes/{remote}/{branch}"
    origin = "origin" if "origin" in remotes or not remotes else remotes[0]
    if len(revision) == 40 and set(revision) <= set("0123456789abcdef"):
        return f"fetch it: git fetch --depth=1 {origin} {revision}"
    shallow = _git(root, "rev-parse", "--is-shallow-repository").strip() == b"true"
    whole = f"git fetch --unshallow {origin}" if shallow else f"git fetch {origin}"
    return (
        f"the clone is shallow, fetch the rest: {whole}"
        if shallow
        else f"fetch it if it exists: {whole}"
    )


def _git(root: Path, *arguments: str, given: bytes | None = None) -> bytes:
    ended = _run(root, list(arguments), given)
    if ended.returncode:
        raise ValueError(f"git {arguments[0]} failed: {_complaint(ended)}")
    return ended.stdout


def _run(
    root: Path, arguments: list[str], given: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "--literal-pathspecs", *arguments], cwd=root, input=given, capture_output=True
        )
    except FileNotFoundError:
        raise ValueError("git: no such command; comparing commits needs Git") from None


def _complaint(ended: subprocess.CompletedProcess[bytes]) -> str:
    return (
        ended.stderr.decode(errors="replace").strip().removeprefix("fatal: ").splitlines()[0]
        if ended.stderr
        else "?"
    )
