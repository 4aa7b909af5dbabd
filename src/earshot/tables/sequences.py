"""Sequences in Parquet, read in any order: log-mel features, hidden states, logits.

One binary column of raw bytes, uncompressed, a page a row group: a sequence's bytes lie in the file
as they are, so one is read by its offset, without decoding its neighbours.
"""

import json
import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from earshot.runtime.files import atomic

ROW_GROUP = 16
PAGE = (1 << 31) - 1  # bytes, at most: a row group's values stay in one
LENGTH = 4  # bytes before each of Parquet's plain values that say how long it is
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
        path,
        shape,
        compression="none",
        write_statistics=False,
        use_dictionary=False,
        data_page_size=PAGE,
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
            with pq.ParquetFile(self.path) as file:
                described = json.loads(file.schema_arrow.metadata[b"earshot"])
                index = file.read(columns=["id", "view", "frames"]).to_pydict()
                groups = [file.metadata.row_group(g) for g in range(file.num_row_groups)]
            self.metadata: dict[str, Any] = described
            self.column, self.width = self.metadata["column"], self.metadata["width"]
            self.dtype = np.dtype(self.metadata["dtype"])
            self._frames = np.array(index["frames"], np.int64)
            self._starts = self._offsets(groups)
            self._file = os.open(self.path, os.O_RDONLY)
        except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{self.path}: not a readable store ({type(error).__name__}: {error})"
            ) from None
        weakref.finalize(self, os.close, self._file)
        keys = zip(index["id"], index["view"], strict=True)
        self._place = {key: row for row, key in enumerate(keys)}
        if len(self._place) < len(self._frames):
            raise StoreError(f"{self.path}: a key is there twice")

    def _offsets(self, groups: list[pq.RowGroupMetaData]) -> np.ndarray:
        """Return where in the file each row's length and values begin `(rows,)`.

        A row group's values end where its page ends, each of them its length and its bytes; so
        they are counted from the end, and the page's header need not be read.
        """
        sizes = LENGTH + self._frames * self.width * self.dtype.itemsize
        starts, row = np.empty_like(sizes), 0
        for group in groups:
            rows = slice(row, row := row + group.num_rows)
            chunk = group.column(group.num_columns - 1)
            if chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
                raise ValueError(f"{self.column} is not in plain pages")
            end = chunk.data_page_offset + chunk.total_compressed_size
            starts[rows] = end - np.cumsum(sizes[rows][::-1])[::-1]
        return starts

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
        return int(self._frames[self._place[_full(key)]])

    def __getitem__(self, key: str | tuple[str, int]) -> np.ndarray:
        """Return a sequence `(T, width)`; KeyError names a missing key."""
        return self._read(self._place[_full(key)])

    def items(self) -> Iterator[tuple[tuple[str, int], np.ndarray]]:
        """Yield every key and its sequence, in the file's order."""
        for key, row in self._place.items():
            yield key, self._read(row)

    def _read(self, row: int) -> np.ndarray:
        shape = self._frames[row], self.width
        size = shape[0] * shape[1] * self.dtype.itemsize
        content = bytearray(os.pread(self._file, LENGTH + size, self._starts[row]))
        promised = int.from_bytes(content[:LENGTH], "little")
        if promised != size or len(content) != LENGTH + size:
            raise StoreError(f"{self.path}: row {row} is not where the rows' lengths say")
        # of a bytearray, and so writable, as torch wants it
        return np.frombuffer(content, self.dtype, offset=LENGTH).reshape(shape)


def _full(key: str | tuple[str, int]) -> tuple[str, int]:
    return (key, 0) if isinstance(key, str) else key
