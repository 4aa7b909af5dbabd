"""Whether a file can be used for what it is: read to its end, with what its reader needs."""

import json
import math
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

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


def _manifest(path: Path) -> None:
    from earshot.tables.manifest import read_manifest

    _some(read_manifest(path))


def _items(path: Path) -> None:
    from earshot.tables import items

    _some(items.read(path))


def _answers(path: Path) -> None:
    from earshot.tables import answers

    _some(answers.read(path))


def _store(path: Path) -> None:
    """Read every sequence: of the length that is said to be there, all of it finite."""
    import numpy as np

    from earshot.tables.sequences import Store

    store = Store(path)
    _some(store)
    for (id, view), array in store.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{id}, view {view}, has values that are not finite")


def _signals(path: Path) -> None:
    from earshot.runtime.files import sha256

    for signal, checksum in json.loads(path.read_text(encoding="utf-8"))["signals"].items():
        store = path.with_name(f"{signal}.parquet")
        if not store.is_file():
            raise ValueError(f"{store.name} is missing")
        if sha256(store) != checksum:
            raise ValueError(f"{store.name} has not the checksum that is recorded here")


def _weights(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, "np") as file:  # the header must describe the file to its last byte
        if not list(file.keys()):
            raise ValueError("no tensors")


def _onnx(path: Path) -> None:
    import onnxruntime

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
    import csv

    with open(path, newline="", encoding="utf-8") as lines:
        head, *rows = csv.reader(lines, strict=True)
    for number, row in enumerate(rows, 2):
        if len(row) != len(head):
            raise ValueError(f"row {number} has {len(row)} cells, the heading {len(head)}")


def _wav(path: Path) -> None:
    import soundfile

    with soundfile.SoundFile(path) as sound:
        if len(sound.read()) != sound.frames or not sound.frames:
            raise ValueError("it ends before its sound does")


def _some(rows: Any) -> None:
    if not len(rows):
        raise ValueError("no rows")


# The first pattern that fits says what a file is.
CHECKS: dict[str, Check] = {
    "*/manifest.parquet": _manifest,
    "*/items.parquet": _items,
    "*/answers.parquet": _answers,
    "*/mel.parquet": _store,
    "*/cache/*/index.json": _signals,
    "*/cache/*.parquet": _store,
    "*.safetensors": _weights,
    "*.onnx": _onnx,
    "*.json": _json,
    "*.csv": _csv,
    "*.wav": _wav,
}
