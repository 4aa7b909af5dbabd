"""DVC's way of naming content: MD5 of a file's bytes; of a folder, MD5 of the list of its files. No
DVC is needed for it.
"""

import hashlib
import json
import os
from pathlib import Path

FOLDER = ".dir"


def md5(path: Path) -> str:
    """Return the MD5 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def files(folder: Path) -> list[str]:
    """Return all files below a folder, relative to it, with `/`, sorted."""
    found = (Path(where, name) for where, _, names in os.walk(folder) for name in names)
    return sorted(path.relative_to(folder).as_posix() for path in found)


def folder_md5(listing: dict[str, str]) -> str:
    """Return what DVC calls a folder that holds these files: {path in it: MD5}."""
    entries = [{"md5": listing[name], "relpath": name} for name in sorted(listing)]
    return (
        hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
        + FOLDER
    )


def read_listing(path: Path) -> dict[str, str]:
    """Return {path in the folder: MD5} of a `.dir` object in DVC's cache; ValueError when it is
    none.
    """
    try:
        return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: not a listing of a folder") from None


def object_path(cache: Path, name: str) -> Path:
    """Return where DVC's cache keeps the content of an MD5."""
    return cache / "files/md5" / name[:2] / name[2:]
