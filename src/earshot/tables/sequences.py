"""Float16 sequences in Parquet, read in any order: log-mel features and hidden states.

One binary column of raw float16 bytes, uncompressed, in small row groups of a memory-mapped file:
shuffled reading stays close to sequential reading, which `list<halffloat>` does not.
"""

import json
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from earshot.runtime.files import atomic
from earshot.runtime.progress import chunks

ROW_GROUP = 16
WINDOW = 1 << 20  # bytes read before their pages are let go
Row = tuple[str, int, np.ndarray]  # id, view, (T, width)


class StoreError(ValueError):
    """A store that is damaged or is not a store."""


def schema(column: str, width: int, metadata: dict[str, Any]) -> pa.Schema:
    """Return the schema of a store of `(T, width)` sequences with JSON metadata."""
    fields = [
        ("id", pa.string()),
        ("view", pa.int32()),
        ("frames", pa.int32()),
        (column, pa.binary()),
    ]
    described = {"column": column, "width": width, **metadata}
    return pa.schema(fields, metadata={"earshot": json.dumps(described, sort_keys=True)})


def write(
    path: str | Path, rows: Iterable[Row], column: str, width: int, metadata: dict[str, Any]
) -> int:
    """Stream rows `(id, view, (T, width) array)` to an atomic Parquet file; return how many there
    were.
    """
    shape, count = schema(column, width, metadata), 0
    with (
        atomic(path) as partial,
        pq.ParquetWriter(
            partial, shape, compression="none", write_statistics=False, use_dictionary=False
        ) as writer,
    ):
        for group in chunks(rows, ROW_GROUP):
            arrays = [np.ascontiguousarray(array, np.float16) for _, _, array in group]
            columns = [
                [id for id, _, _ in group],
                [view for _, view, _ in group],
                [len(array) for array in arrays],
                [array.tobytes() for array in arrays],
            ]
            writer.write_table(
                pa.table(
                    [pa.array(c, f.type) for c, f in zip(columns, shape, strict=True)], schema=shape
                )
            )
            count += len(group)
    return count


def merge(path: str | Path, parts: list[Path]) -> None:
    """Concatenate stores of one schema into one atomic file, row group by row group."""
    with (
        atomic(path) as partial,
        pq.ParquetWriter(
            partial,
            pq.read_schema(parts[0]),
            compression="none",
            write_statistics=False,
            use_dictionary=False,
        ) as writer,
    ):
        for part in parts:
            file = pq.ParquetFile(part, memory_map=True)
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group))


class Store:
    """Random access to a store's sequences by `(id, view)`.

    >>> mel = Store("data/listening/mel.parquet")
    >>> mel["84-121123-0000"].shape
    (209, 40)

    Raises StoreError when the file is no store, or its lengths disagree with its bytes.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(self._map)))
            self.metadata: dict[str, Any] = json.loads(self._file.schema_arrow.metadata[b"earshot"])
        except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{self.path}: not a readable store ({type(error).__name__}: {error})"
            ) from None
        self.column, self.width = self.metadata["column"], self.metadata["width"]
        # a little of every row group: mapped, their neighbours would come along
        with pq.ParquetFile(self.path) as unmapped:
            index = unmapped.read(columns=["id", "view", "frames"]).to_pydict()
        self._place = {
            key: row for row, key in enumerate(zip(index["id"], index["view"], strict=True))
        }
        self._frames = index["frames"]
        groups = [self._file.metadata.row_group(g) for g in range(self._file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum([group.num_rows for group in groups])])
        self._sizes, self._touched = [group.total_byte_size for group in groups], 0

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, key: str | tuple[str, int]) -> bool:
        return _full(key) in self._place

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._place)

    def views(self) -> dict[str, list[int]]:
        """Return the views of each id, in ascending order."""
        held: dict[str, list[int]] = {}
        for id, view in sorted(self._place):
            held.setdefault(id, []).append(view)
        return held

    def frames(self, key: str | tuple[str, int]) -> int:
        """Return the length T of a sequence."""
        return self._frames[self._place[_full(key)]]

    def __getitem__(self, key: str | tuple[str, int]) -> np.ndarray:
        """Return a sequence as float16 `(T, width)`; KeyError names a missing key."""
        row = self._place[_full(key)]
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        column = self._file.read_row_group(group, columns=[self.column]).column(0)
        flat = np.frombuffer(column[row - int(self._starts[group])].as_buffer(), np.float16)
        if flat.size != self._frames[row] * self.width:
            raise StoreError(
                f"{self.path}: {key} holds {flat.size} values, expected {self._frames[row]}×{self.width}"
            )
        self._release(self._sizes[group])
        return flat.reshape(-1, self.width)

    def _release(self, read: int) -> None:
        """Let go of the pages that were read: they stay in the system's cache, but no longer count
        as this process' own.
        """
        self._touched += read
        if self._touched > WINDOW and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


def _full(key: str | tuple[str, int]) -> tuple[str, int]:
    return (key, 0) if isinstance(key, str) else key
