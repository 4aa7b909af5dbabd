"""Sequences in Parquet, read in any order: log-mel features, hidden states, logits.

One binary column of raw bytes, uncompressed, in small row groups of a memory-mapped file: shuffled
reading stays close to sequential reading, which `list<halffloat>` does not.
"""

import json
import mmap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from earshot.runtime.files import atomic

ROW_GROUP = 16
WINDOW = 1 << 20  # bytes read before their pages are let go
Key = tuple[str, int]  # id, view
Row = tuple[str, int, np.ndarray]  # id, view, (T, width)


class StoreError(ValueError):
    """A store that is damaged or is not a store."""


def schema(column: str, width: int, dtype: str, metadata: dict[str, Any]) -> pa.Schema:
    """Return the schema of a store of `(T, width)` sequences with JSON metadata."""
    fields = [("id", pa.string()), ("view", pa.int32()), ("frames", pa.int32())]
    described = {"column": column, "width": width, "dtype": dtype, **metadata}
    described = {"earshot": json.dumps(described, sort_keys=True)}
    return pa.schema([*fields, (column, pa.binary())], metadata=described)


class Writer:
    """Streams rows to an atomic Parquet file, which is there when the `with` block ends well.

    >>> with Writer(path, "mel", width=40) as store:
    ...     store.append([("84-121123-0000", 0, frames)])
    """

    def __init__(
        self,
        path: str | Path,
        column: str,
        width: int,
        dtype: str = "float16",
        metadata: dict[str, Any] | None = None,
    ):
        self._path, self._dtype = Path(path), dtype
        self._schema = schema(column, width, dtype, metadata or {})
        self._waiting: list[Row] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            partial = stack.enter_context(atomic(self._path))
            self._file = stack.enter_context(_parquet_writer(partial, self._schema))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        if exception[0] is None:
            self._write_group(self._waiting)
        self._stack.__exit__(*exception)

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows `(id, view, (T, width) array)`."""
        for row in rows:
            self._waiting.append(row)
            if len(self._waiting) == ROW_GROUP:
                self._write_group(self._waiting)
                self._waiting = []

    def _write_group(self, rows: list[Row]) -> None:
        if not rows:
            return
        arrays = [np.ascontiguousarray(array, self._dtype) for _, _, array in rows]
        columns = [
            [id for id, _, _ in rows],
            [view for _, view, _ in rows],
            [len(array) for array in arrays],
            [array.tobytes() for array in arrays],
        ]
        cells = [pa.array(c, f.type) for c, f in zip(columns, self._schema, strict=True)]
        self._file.write_table(pa.table(cells, schema=self._schema))


def _parquet_writer(path: Path, shape: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path, shape, compression="none", write_statistics=False, use_dictionary=False
    )


def write(
    path: str | Path, rows: Iterable[Row], column: str, width: int, metadata: dict[str, Any]
) -> None:
    """Stream float16 rows `(id, view, (T, width) array)` to an atomic Parquet file."""
    with Writer(path, column, width, metadata=metadata) as store:
        store.append(rows)


def merge(path: str | Path, parts: list[Path]) -> None:
    """Concatenate stores of one schema into one atomic file, row group by row group."""
    with atomic(path) as partial, _parquet_writer(partial, pq.read_schema(parts[0])) as writer:
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
            self.column, self.width = self.metadata["column"], self.metadata["width"]
            self.dtype = np.dtype(self.metadata["dtype"])
        except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{self.path}: not a readable store ({type(error).__name__}: {error})"
            ) from None
        # Read unmapped, a little of every row group: mapped, their neighbours would come along.
        with pq.ParquetFile(self.path) as unmapped:
            index = unmapped.read(columns=["id", "view", "frames"]).to_pydict()
        keys = zip(index["id"], index["view"], strict=True)
        self._place = {key: row for row, key in enumerate(keys)}
        self._frames = index["frames"]
        if len(self._place) < len(self._frames):
            raise StoreError(f"{self.path}: a key is there twice")
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
        """Return a sequence `(T, width)`; KeyError names a missing key."""
        row = self._place[_full(key)]
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        column = self._file.read_row_group(group, columns=[self.column]).column(0)
        array = self._array(column[row - int(self._starts[group])], row)
        self._release(self._sizes[group])
        return array

    def items(self) -> Iterator[tuple[tuple[str, int], np.ndarray]]:
        """Yield every key and its sequence, in the file's order."""
        keys = iter(self._place.items())
        for group, size in enumerate(self._sizes):
            for value in self._file.read_row_group(group, columns=[self.column]).column(0):
                key, row = next(keys)
                yield key, self._array(value, row)
            self._release(size)

    def _array(self, value: pa.BinaryScalar, row: int) -> np.ndarray:
        flat = np.frombuffer(value.as_buffer() or b"", self.dtype)
        if flat.size != self._frames[row] * self.width:
            expected = f"{self._frames[row]}×{self.width}"
            raise StoreError(f"{self.path}: row {row} has {flat.size} values, expected {expected}")
        return flat.reshape(-1, self.width)

    def _release(self, read: int) -> None:
        """Let go of pages that were read: they stay in the system's cache, but are not ours."""
        self._touched += read
        if self._touched > WINDOW and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


def _full(key: str | tuple[str, int]) -> tuple[str, int]:
    return (key, 0) if isinstance(key, str) else key
