"""The user's own recordings: a CSV or Parquet table with a row per clip.

Columns `path` (absolute, or relative to the table), `speaker`, `split`, and `text` or `label` or
both (one of them per row; in split `pool` both may be blank). Optional: `id` (else the file's
stem), `passage` (else the speaker), `language`, `device`, `location`, and `subset`: the smallest
labelled share that holds the clip (5, 10, 25, 50 or 100, in percent).
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from earshot.corpora.delimited import check_header
from earshot.features import audio
from earshot.params import Manifest, Split
from earshot.runtime.files import read_text
from earshot.tables.manifest import Clip, CorpusError
from earshot.tables.rows import TwiceError, once

REQUIRED = ("path", "speaker", "split")
SUBSETS = ("5", "10", "25", "50", "100")


def build(params: Manifest, folder: Path, seed: int) -> Iterator[Clip]:
    """Yield the table's clips in its order; nothing is written to `folder` and nothing drawn from
    `seed`.

    A row that stands there twice is kept once, and logged. Raises CorpusError, naming table and
    row, for a missing column or value, an unknown split or subset, a row with both or neither of
    text and label, and two different rows for an id or a recording.
    """
    table = Path(params.path)
    columns, rows = _read(table)
    try:
        check_header(table, columns, REQUIRED, ",")
    except CorpusError as error:
        instead = f"{{name: recordings, shape: table, root: {table}}}"
        raise CorpusError(f"{error}; or, to have roles dealt, write corpus: {instead}") from None
    if not {"text", "label"} & set(columns):
        raise CorpusError(f"{table}: missing column text or label")
    found: list[tuple[str, Clip]] = []
    for number, (line, row) in enumerate(rows, 1):
        place = f"line {line}, row {number}" if line else f"row {number}"
        found.append((place, _clip(row, table.parent, f"{table}: {place}")))
    _check_recordings(table, found)
    try:
        clips = once(table, ((place, clip.id, clip) for place, clip in found))
    except TwiceError as error:
        raise CorpusError(f"{error}, or add a column id") from None
    yield from clips.values()


def files(params: Manifest) -> list[Path]:
    """Return the table."""
    return [Path(params.path)]


def _check_recordings(table: Path, found: list[tuple[str, Clip]]) -> None:
    """Raise CorpusError naming the rows where one recording has two texts or labels."""
    first: dict[str, tuple[str, Clip]] = {}
    for place, clip in found:
        other, same = first.setdefault(clip.path, (place, clip))
        if (clip.text, clip.label) != (same.text, same.label):
            fault = f"{clip.path} has another text or label in {other}"
            raise CorpusError(f"{table}: {place}: {fault}; keep one of the two")


def _clip(row: dict[str, str | None], folder: Path, where: str) -> Clip:
    for column in REQUIRED:
        if row[column] is None:
            raise CorpusError(f"{where}: {column} is blank")
    if row["split"] not in get_args(Split):
        raise CorpusError(
            f"{where}: split {row['split']!r} is not one of {', '.join(get_args(Split))}"
        )
    text, label = row.get("text"), row.get("label")
    if text is not None and label is not None:
        raise CorpusError(f"{where}: both text and label are given; one of them is expected")
    if text is None and label is None and row["split"] != "pool":
        raise CorpusError(
            f"{where}: neither text nor label is given; only split 'pool' may do without"
        )
    subset = (row.get("subset") or "").removesuffix(
        ".0"
    ) or None  # whole numbers beside blanks become fractions
    if subset is not None and subset not in SUBSETS:
        raise CorpusError(f"{where}: subset {subset!r} is not one of {', '.join(SUBSETS)}")
    path = folder / row["path"]
    return Clip(
        row.get("id") or path.stem,
        str(path),
        *audio.header(path),
        speaker=row["speaker"],
        split=row["split"],
        text=text,
        passage=row.get("passage") or row["speaker"],
        label=label,
        **{column: row.get(column) for column in ("language", "device", "location")},
        subset=None if subset is None else int(subset),
    )


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str | None]]]]:
    """Return column names, and rows of stripped strings, None where blank, each with its line.

    The line is 0 in a Parquet table, which has none.
    """
    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
            columns = table.column_names
            rows = [(0, list(row.values())) for row in table.to_pylist()]
        else:
            columns, rows = _csv(path)
    except (OSError, UnicodeError, csv.Error, pa.ArrowInvalid) as error:
        reason = " ".join(str(error).removeprefix(f"{path}: ").split())
        raise CorpusError(f"{path}: not a readable CSV or Parquet table ({reason})") from None
    fields = [(line, [_value(field) for field in row]) for line, row in rows]
    return columns, [(line, dict(zip(columns, row, strict=True))) for line, row in fields]


def _csv(path: Path) -> tuple[list[str], list[tuple[int, list[str | None]]]]:
    """Return the header and the rows of a CSV file; fields that a row lacks are None."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    columns = [name.strip() for name in next(reader, [])]
    rows: list[tuple[int, list[str | None]]] = []
    line = reader.line_num + 1
    try:
        for row in reader:
            if any(field.strip() for field in row[len(columns) :]):
                where = f"{path}: line {line}, row {len(rows) + 1}"
                remedy = "quote a text that has commas"
                raise CorpusError(f"{where}: more fields than columns; {remedy}")
            lacking = [None] * (len(columns) - len(row))
            if row:
                rows.append((line, [*row[: len(columns)], *lacking]))
            line = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"line {line}: {error}; close the quotation") from None
    return columns, rows


def _value(value: Any) -> str | None:
    return (
        None if value is None or value != value else str(value).strip() or None
    )  # NaN differs from itself
