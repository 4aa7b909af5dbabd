"""Whether a file can be used for what it is: read to its end, of the right columns, with what a
reader needs.
"""

import json
import math
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

Check = Callable[[Path], None]  # raises ValueError
METADATA = {"task", "sample_rate", "features", "student"}  # of an ONNX file
TASKS = {"choice": "buckets", "classes": "labels"}


def fault(path: Path) -> str | None:
    """Return why a file cannot be used, in a line; None when it can, or nothing is known about its
    kind.
    """
    check = next(
        (check for pattern, check in CHECKS.items() if fnmatch(path.as_posix(), pattern)), None
    )
    try:
        if check:
            check(path)
    except Exception as error:  # whatever a library makes of rotten bytes
        text = str(error).removeprefix(f"{path}: ")
        return " ".join(text.split())[:200] or type(error).__name__
    return None


def _parquet(path: Path, schema: Any = None) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if schema is not None and not file.schema_arrow.equals(schema):
            raise ValueError(
                f"its columns are {', '.join(file.schema_arrow.names)}, expected {', '.join(schema.names)}"
            )
        rows = sum(file.read_row_group(group).num_rows for group in range(file.num_row_groups))
        if rows != file.metadata.num_rows:
            raise ValueError(
                f"{rows} rows can be read, {file.metadata.num_rows} are said to be there"
            )
        if not rows:
            raise ValueError("no rows")


def _manifest(path: Path) -> None:
    from earshot.tables.manifest import SCHEMA

    _parquet(path, SCHEMA)


def _items(path: Path) -> None:
    from earshot.tables.items import SCHEMA

    _parquet(path, SCHEMA)


def _answers(path: Path) -> None:
    from earshot.tables.answers import SCHEMA

    _parquet(path, SCHEMA)


def _part(path: Path) -> None:
    from earshot.teacher.cache import SCHEMA

    _parquet(path, SCHEMA)


def _store(path: Path) -> None:
    """Read every sequence's length and bytes, a row group at a time."""
    import pyarrow.parquet as pq

    from earshot.tables.sequences import Store

    width, column = (store := Store(path)).width, store.column
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            for row in file.read_row_group(group).to_pylist():
                if len(row[column]) != 2 * width * row["frames"]:
                    raise ValueError(
                        f"{row['id']}, view {row['view']}, is not {row['frames']}×{width} float16 values"
                    )


def _cache_index(path: Path) -> None:
    from earshot.runtime.files import sha256

    for name, checksum in json.loads(path.read_text())["parts"].items():
        if not (part := path.with_name(name)).is_file():
            raise ValueError(f"{name} is missing")
        if sha256(part) != checksum:
            raise ValueError(f"{name} has not the checksum that is recorded here")


def _weights(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, "np") as file:  # the header must describe the file to its last byte
        if not list(file.keys()):
            raise ValueError("no tensors")


def _onnx(path: Path) -> None:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)  # its faults are said here
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    held = session.get_modelmeta().custom_metadata_map
    needed = METADATA | {TASKS.get(held.get("task", ""), "task")}
    if absent := sorted(needed - {name for name, value in held.items() if value}):
        raise ValueError(f"no {', '.join(absent)} in its metadata")


def _json(path: Path) -> None:
    def numbers(value: Any) -> Any:
        if isinstance(value, dict):
            yield from (number for inner in value.values() for number in numbers(inner))
        elif isinstance(value, list):
            yield from (number for inner in value for number in numbers(inner))
        elif isinstance(value, float):
            yield value

    if not all(map(math.isfinite, numbers(json.loads(path.read_text())))):
        raise ValueError("a number in it is not finite")


# The first pattern that fits says what a file is.
CHECKS: dict[str, Check] = {
    "*/manifest.parquet": _manifest,
    "*/items.parquet": _items,
    "*/answers.parquet": _answers,
    "*/mel.parquet": _store,
    "*/cache/part-*.parquet": _part,
    "*/cache/frames-*.parquet": _store,
    "*/cache/index.json": _cache_index,
    "*.parquet": _parquet,
    "*.safetensors": _weights,
    "*.onnx": _onnx,
    "*.json": _json,
}
