"""A table with a row a recording: CSV, TSV, Parquet or JSON lines, its columns called as anybody
calls them.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from earshot.corpora.shapes.row import Row, json_lines, located, named_split, split_of, value
from earshot.runtime.files import TextError, read_text
from earshot.tables.manifest import CorpusError

ENDS = (".csv", ".tsv", ".parquet", ".jsonl")
COLUMNS = {  # what each field is called, the first that a row has
    "path": ("path", "file", "filename", "file_name", "audio"),
    "label": ("label", "class", "category", "scene_label"),
    "text": ("text", "sentence", "transcription", "transcript"),
    "speaker": ("speaker", "client_id", "speaker_id"),
    "group": ("location", "recording", "group", "src_file"),
    "language": ("language", "locale"),
    "split": ("split",),
    "id": ("id",),
}
FOLDERS = ("", "audio", "clips", "wavs", "../audio", "../clips", "../wavs")  # beside a table


def read(root: Path) -> Iterator[Row]:
    """Yield the recordings of a table, or of the one table in a folder, in its order."""
    for table in files(root):
        yield from rows(table, [table.parent / folder for folder in FOLDERS])


def files(root: Path) -> list[Path]:
    """Return the table; CorpusError where a folder has none, or several."""
    if root.is_file():
        return [root]
    found = sorted(
        path for end in ENDS for path in [*root.glob(f"*{end}"), *root.glob(f"*/*{end}")]
    )
    if len(found) != 1:
        names = ", ".join(str(path.relative_to(root)) for path in found[:5])
        reason = f"{len(found)} tables ({names}); name one" if found else "no table in it"
        raise CorpusError(f"{root}: {reason}")
    return found


def rows(table: Path, folders: Sequence[Path]) -> Iterator[Row]:
    """Yield the recordings of a table; files are looked for in `folders`.

    CorpusError, with file and line, for a table that cannot be read, without a column for paths,
    with no text and no label, a blank path, a file that is not there, an unknown split.
    """
    columns, found = _read(table)
    _check(table, columns)
    for where, fields in found:
        known = {name: value(fields, names) for name, names in COLUMNS.items() if name != "path"}
        path = located(_path(fields, columns, where), where, folders)
        split = split_of(known.pop("split"), where)
        within = named_split(*path.parts[-3:-1]) if split is None else split
        yield Row(path, where, split=within, **known)


def _path(fields: Mapping[str, Any], columns: Sequence[str], where: str) -> str:
    """Return the path of a row, which the library `datasets` has in a structure with the bytes."""
    column = _column(columns, "path")
    given = fields.get(column)
    if isinstance(given, Mapping) and given.get("bytes"):
        raise CorpusError(f"{where}: {column} holds the sound itself; write files, and their paths")
    path = value(given, ["path"]) if isinstance(given, Mapping) else value(fields, [column])
    if path is None:
        raise CorpusError(f"{where}: {column} is blank")
    return path


def _column(columns: Sequence[str], field: str) -> str | None:
    return next((name for name in COLUMNS[field] if name in columns), None)


def _check(table: Path, columns: Sequence[str]) -> None:
    there = ", ".join(columns) or "none"
    other = next((mark for mark in ";|\t" if len(columns) == 1 and mark in columns[0]), None)
    if other:
        raise CorpusError(f"{table}: its fields are separated by {other!r}; write commas instead")
    if _column(columns, "path") is None:
        names = ", ".join(COLUMNS["path"])
        raise CorpusError(f"{table}: no column of recordings ({names}); its columns: {there}")
    if not (_column(columns, "text") or _column(columns, "label")):
        names = ", ".join([*COLUMNS["label"], *COLUMNS["text"]])
        raise CorpusError(f"{table}: neither label nor text ({names}); its columns: {there}")


def _read(table: Path) -> tuple[list[str], list[tuple[str, dict[str, Any]]]]:
    """Return a table's columns, and its rows, each with its place."""
    end = table.suffix.lower()
    try:
        if end == ".jsonl":
            found = list(json_lines(table))
            return list(dict.fromkeys(name for _, fields in found for name in fields)), found
        if end == ".parquet":
            read = pq.read_table(table)
            listed = enumerate(read.to_pylist(), 1)
            return read.column_names, [(f"{table}: row {number}", row) for number, row in listed]
        return _separated(table, "\t" if end == ".tsv" else ",")
    except (OSError, TextError, csv.Error, pa.ArrowInvalid) as error:
        reason = " ".join(str(error).removeprefix(f"{table}: ").split())
        raise CorpusError(f"{table}: no readable table ({reason})") from None


def _separated(table: Path, separator: str) -> tuple[list[str], list[tuple[str, dict[str, Any]]]]:
    text = io.StringIO(read_text(table), newline="")
    quoting = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    reader = csv.reader(text, delimiter=separator, quoting=quoting, strict=True)
    columns = [name.strip() for name in next(reader, [])]
    found, line = [], reader.line_num + 1
    for fields in reader:
        where, line = f"{table}: line {line}", reader.line_num + 1
        if not fields:
            continue
        if len(fields) != len(columns):
            there = f"{len(fields)} fields, where the header has {len(columns)}"
            raise CorpusError(f"{where}: {there}; quote a text that has the separator")
        found.append((where, dict(zip(columns, fields, strict=True))))
    return columns, found
