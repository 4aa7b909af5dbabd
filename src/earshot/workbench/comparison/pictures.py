"""The plots' pictures whose bytes differ between two sides."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from earshot.workbench.comparison.snapshot import Snapshot

FORMS = (".png", ".svg", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Picture:
    """A picture that differs: on which sides it is, and its URL there where one can be known."""

    path: str
    in_base: bool
    in_head: bool
    base_url: str | None
    head_url: str | None


def pictures(
    base: Snapshot, head: Snapshot, folder: str, link: Callable[[str, str], str] | None
) -> list[Picture]:
    """Return the pictures in `folder` that one side alone has, or that differ by a byte."""
    old, new = (_pictures(side, folder) for side in (base, head))
    differing = [path for path in sorted({*old, *new}) if old.get(path) != new.get(path)]
    committed = _committed(head, folder) if differing else {}
    return [
        Picture(
            path,
            path in old,
            path in new,
            link(base.commit, path) if link and path in old and base.commit else None,
            link(head.commit, path)
            if link and path in new and head.commit and committed.get(path) == new[path]
            else None,
        )
        for path in differing
    ]


def _pictures(side: Snapshot, folder: str) -> dict[str, str]:
    return {
        path: blob
        for path, blob in side.blobs(folder).items()
        if PurePosixPath(path).suffix.lower() in FORMS
    }


def _committed(side: Snapshot, folder: str) -> dict[str, str]:
    """Return the files of the commit that a side's URLs name: a working tree's may differ from
    them.
    """
    if side.tree is not None or side.commit is None:
        return side.blobs(folder)
    return side.at_commit().blobs(folder)
