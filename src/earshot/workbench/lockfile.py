"""dvc.lock: what every stage depended on and made when it last ran."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

NAME = "dvc.lock"


def stages(root: Path) -> dict[str, dict[str, Any]]:
    """Return dvc.lock's stages by name, as DVC writes them; none where there is no lock."""
    path = root / NAME
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else {}


def dependencies(root: Path, stage: str) -> list[dict[str, Any]]:
    """Return what a stage depended on (`path`, `md5`, …); nothing of a stage that never ran."""
    return stages(root).get(stage, {}).get("deps", [])


@cache
def _read(path: Path, changed: int) -> dict[str, dict[str, Any]]:
    """Read a lock as of `changed`, its time: it is long, and asked for again and again."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return (yaml.load(path.read_text(encoding="utf-8"), loader) or {}).get("stages") or {}
