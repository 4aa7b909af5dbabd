"""dvc.lock: what every stage depended on and made when it last ran.

    python -m earshot.workbench.lockfile

DVC writes it in place, for half a second after every stage: a kill then leaves a part of it, which
no `dvc` reads. Stages keep the last whole one in `scratch`; this brings that back. Nor does any
`dvc` read a torn `.dvc/tmp/rwlock`, in which running commands note what they read and write; this
removes it.
"""

import json
import logging
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from earshot.runtime.files import atomic

NAME = "dvc.lock"
KEPT = Path("scratch") / NAME  # as `stages/declared.py` copies it
IN_USE = Path(".dvc/tmp/rwlock")


def stages(root: Path) -> dict[str, dict[str, Any]]:
    """Return dvc.lock's stages by name, as DVC writes them; none where there is no lock."""
    path = root / NAME
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else {}


class Output(NamedTuple):
    """What a stage wrote; `files` are how many a folder holds."""

    stage: str
    path: str
    md5: str
    bytes: int
    files: int


def outputs(root: Path) -> list[Output]:
    """Return what stages wrote, in the order of dvc.lock; none without it."""
    return [
        Output(stage, out["path"], out["md5"], out.get("size", 0), out.get("nfiles", 1))
        for stage, entry in stages(root).items()
        for out in entry.get("outs", ())
    ]


def dependencies(root: Path, stage: str) -> list[dict[str, Any]]:
    """Return what a stage depended on (`path`, `md5`, …); nothing of a stage that never ran."""
    return stages(root).get(stage, {}).get("deps", [])


@cache
def _read(path: Path, changed: int) -> dict[str, dict[str, Any]]:
    """Read a lock as of `changed`, its time: it is long, and asked for again and again."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return (yaml.load(path.read_text(encoding="utf-8"), loader) or {}).get("stages") or {}


def mend(root: Path) -> str | None:
    """Replace a torn dvc.lock by the last whole one, or by none; return what was done, if anything.

    Without any, DVC's run cache still has what stages made.
    """
    path, kept = root / NAME, root / KEPT
    if not path.exists() or _is_whole(path):
        return None
    torn = kept.with_suffix(".torn")
    torn.parent.mkdir(exist_ok=True)
    os.replace(path, torn)
    if not _is_whole(kept):
        return f"{NAME} was torn by a kill and is now {torn.relative_to(root)}"
    with atomic(path) as partial:
        shutil.copyfile(kept, partial)
    return f"{NAME} was torn by a kill; the last whole one is back"


def free(root: Path) -> str | None:
    """Remove DVC's notes of what is in use where a kill tore them; return what was done, if
    anything.

    They are those of killed commands, as a running one writes them under a lock.
    """
    from dvc.rwlock import RWLOCK_LOCK, SCHEMA
    from voluptuous import Invalid
    from zc.lockfile import LockError, LockFile

    path = root / IN_USE
    if not path.exists():
        return None
    try:
        held = LockFile(str(path.with_name(RWLOCK_LOCK)))
    except LockError:
        return None  # a command writes it at this moment
    try:
        SCHEMA(json.loads(path.read_text()))
    except (ValueError, Invalid):
        path.unlink()
        return f"{IN_USE} was torn by a kill and is removed"
    finally:
        held.close()
    return None


def _is_whole(path: Path) -> bool:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(path.read_bytes(), loader))
    except (OSError, yaml.YAMLError, Invalid):
        return False
    return True


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    for done in filter(None, (mend(Path()), free(Path()))):
        logging.warning(done)
