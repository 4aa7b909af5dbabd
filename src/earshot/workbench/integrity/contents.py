"""Whether a file can be used for what it is: read to its end, with what its reader needs."""

import csv
import json
import math
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import soundfile
from safetensors import safe_open

from earshot.runtime.files import sha256
from earshot.tables import answers, items
from earshot.tables.manifest import read_manifest
from earshot.tables.sequences import Store

Check = Callable[[Path], None]  # raises an error
METADATA = {"task", "sample_rate", "features", "student"}  # of an ONNX file
TASKS = {"choice": "buckets", "classes": "labels", "transcript": "frame_seconds"}


def fault(path: Path) -> str | None:
    """Return why a file cannot be used, in a line; None when it can, or its kind is unknown."""
    checks = [check for pattern, check in CHECKS.items() if fnmatch(path.as_posix(), pattern)]
    try:
        if checks:
            checks[0](path)
    except Exception as error:  # whatever a library makes of rotten bytes
        text = str(error).removeprefix(f"{path}: ")
        return " ".join(text.split())[:200] or type(error).__name__
    return None


def _rows(read: Callable[[Path], Any]) -> Check:
    """Return the check of a table that `read` takes in: it must have rows."""

    def check(path: Path) -> None:
        if not len(read(path)):
            raise ValueError("no rows")

    return check


def _store(path: Path) -> None:
    """Read every sequence: of the length that is said to be there, all of it finite."""
    store = Store(path)
    if not len(store):
        raise ValueError("no rows")
    for (id, view), array in store.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{id}, view {view}, has values that are not finite")


def _signals(path: Path) -> None:
    for signal, checksum in json.loads(path.read_text(encoding="utf-8"))["signals"].items():
        store = path.with_name(f"{signal}.parquet")
        if not store.is_file():
            raise ValueError(f"{store.name} is missing")
        if sha256(store) != checksum:
            raise ValueError(f"{store.name} has not the checksum that is recorded here")


def _weights(path: Path) -> None:
    with safe_open(path, "np") as file:  # the header must describe the file to its last byte
        if not list(file.keys()):
            raise ValueError("no tensors")


def _onnx(path: Path) -> None:
    onnxruntime.set_default_logger_severity(4)  # its faults are told by the exception
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    needed = METADATA | {TASKS.get(metadata.get("task", ""), "task")}
    if absent := sorted(name for name in needed if not metadata.get(name)):
        raise ValueError(f"no {', '.join(absent)} in its metadata")


def _json(path: Path) -> None:
    if not all(map(math.isfinite, _floats(json.loads(path.read_text(encoding="utf-8"))))):
        raise ValueError("a number in it is not finite")


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _floats(inner)


def _csv(path: Path) -> None:
    with open(path, newline="", encoding="utf-8") as lines:
        head, *rows = csv.reader(lines, strict=True)
    for number, row in enumerate(rows, 2):
        if len(row) != len(head):
            raise ValueError(f"row {number} has {len(row)} cells, the heading {len(head)}")


def _wav(path: Path) -> None:
    with soundfile.SoundFile(path) as sound:
        if len(sound.read()) != sound.frames or not sound.frames:
            raise ValueError("it ends before its sound does")


# The first pattern that fits says what a file is.
CHECKS: dict[str, Check] = {
    "*/manifest.parquet": _rows(read_manifest),
    "*/items.parquet": _rows(items.read),
    "*/answers.parquet": _rows(answers.read),
    "*/mel.parquet": _store,
    "*/cache/*/index.json": _signals,
    "*/cache/*.parquet": _store,
    "*.safetensors": _weights,
    "*.onnx": _onnx,
    "*.json": _json,
    "*.csv": _csv,
    "*.wav": _wav,
}
