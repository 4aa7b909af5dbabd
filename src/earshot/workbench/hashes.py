"""DVC's way of naming content: MD5 of a file's bytes; of a folder, MD5 of the list of its files."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

FOLDER = ".dir"


def md5(path: Path) -> str:
    """Return the MD5 of a file's bytes, all of them read, whatever DVC knows of its time."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def files(path: Path) -> list[str]:
    """Return the names of the files below a folder, with `/`, sorted; [""] of a file."""
    if path.is_file():
        return [""]
    found = [Path(where, name) for where, _, names in os.walk(path) for name in names]
    return sorted(file.relative_to(path).as_posix() for file in found)


def folder_md5(listing: Mapping[str, str]) -> str:
    """Return what DVC calls a folder that holds these files: {path in it: MD5}."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    tree = Tree()
    for name, content in listing.items():
        tree.add(tuple(name.split("/")), None, HashInfo("md5", content))
    tree.digest()
    return tree.hash_info.value


def read_listing(cache: Path, name: str) -> dict[str, str] | None:
    """Return {path in a folder: MD5} as DVC's cache has it; None where that is lost or rotten."""
    path = object_path(cache, name)
    try:
        if md5(path) != name.removesuffix(FOLDER):
            return None
        return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def object_path(cache: Path, name: str) -> Path:
    """Return where DVC's cache keeps the content of an MD5."""
    return cache / "files/md5" / name[:2] / name[2:]
