"""Tables in text files, fields between separators, as releases and spreadsheets write them."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from earshot.runtime.files import TextError, encoding, read_text
from earshot.tables import rows
from earshot.tables.manifest import CorpusError

SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}


def read(
    path: Path,
    columns: Sequence[str],
    optional: Sequence[str] = (),
    quoting: int = csv.QUOTE_NONE,
    maybe_blank: Sequence[str] = (),
) -> pd.DataFrame:
    """Return columns of a tab-separated table, and those of `optional` that it has.

    All are texts, stripped, by number of line. None is taken for a missing value: a class may be
    called None, a place NA. Raises CorpusError naming file and line where a column is missing, or
    blank unless it is in `maybe_blank`, where fields and header do not match, and for bytes that
    are no text.
    """
    try:
        with open(path, newline="", encoding=encoding(path)) as file:
            reader = csv.reader(file, delimiter="\t", quoting=quoting)
            header = [name.strip() for name in next(reader, [])]
            if any("\0" in name for name in header):
                read_text(path)  # says what is wrong
            check_header(path, header, columns, "\t")
            wanted = dict.fromkeys([*columns, *optional])
            kept = [name for name in wanted if name in header]
            places = [header.index(name) for name in kept]
            lines = _rows(path, reader, header)
            found = {line: [row[place].strip() for place in places] for line, row in lines}
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file") from None
    except (OSError, UnicodeError, csv.Error) as error:
        raise CorpusError(f"{path}: not a tab-separated table ({_why(path, error)})") from None
    table = pd.DataFrame.from_dict(found, orient="index", columns=kept, dtype=str)
    for column in (one for one in columns if one not in maybe_blank):
        if (blank := table[column] == "").any():
            row = int(blank.to_numpy().argmax())
            where = f"{path}: line {table.index[row]}, row {row + 1}"
            raise CorpusError(f"{where}: {column} is blank")
    return table


def once(path: Path, table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a table, by number of line, with one row for each value of a column.

    Rows that are the same are kept once, and logged; CorpusError names the lines of two that
    differ.
    """
    twice = table[table[column].duplicated(keep=False)]
    names = twice[column]
    values = zip(twice.index, names, twice.to_numpy().tolist(), strict=True)
    try:
        rows.once(path, ((f"line {line}", name, row) for line, name, row in values))
    except rows.TwiceError as error:
        raise CorpusError(str(error)) from None
    return table.drop_duplicates(column)


def _rows(path: Path, reader: Iterator[list[str]], header: list[str]) -> Iterator[tuple]:
    """Yield (line, fields) of each row that is not blank; CorpusError where one has too few or
    too many fields.
    """
    last = reader.line_num
    for row in reader:
        line, last = last + 1, reader.line_num
        if not any(field.strip() for field in row):
            continue
        if len(row) < len(header) or any(field.strip() for field in row[len(header) :]):
            tabs = "a tab is missing" if len(row) < len(header) else "a tab too many"
            fields = f"{len(row)} fields, where the header has {len(header)}"
            remedy = "write one tab between two fields, none in a text"
            raise CorpusError(f"{path}: line {line}: {fields}: {tabs}; {remedy}")
        yield line, row


def _why(path: Path, error: Exception) -> str:
    """Return what is wrong with a file that cannot be read."""
    if isinstance(error, UnicodeError) and not isinstance(error, TextError):
        try:
            read_text(path)
        except TextError as exact:
            error = exact
    return " ".join(str(error).removeprefix(f"{path}: ").split())


def check_header(
    path: Path, columns: Sequence[str], required: Sequence[str], separator: str
) -> None:
    """Raise CorpusError unless a header has each required column once; it says what to write."""
    absent = [column for column in required if column not in columns]
    line = separator.join(columns)
    for other, name in SEPARATORS.items():
        parts = {part.strip(' "').casefold() for part in line.split(other)}
        if absent and other != separator and parts.issuperset(required):
            wanted = f"separate them by {SEPARATORS[separator]}"
            raise CorpusError(f"{path}: line 1: columns are separated by {name}; {wanted}")
    spelled = {column.strip().casefold(): column for column in columns}
    if near := [f"{spelled[one]!r} as {one!r}" for one in absent if one in spelled]:
        raise CorpusError(f"{path}: line 1: write the column {', '.join(near)}")
    if absent:
        separated = f"columns are separated by {SEPARATORS[separator]}"
        there = ", ".join(columns)
        raise CorpusError(f"{path}: missing column {', '.join(absent)} ({separated}: {there})")
    for column, count in Counter(columns).items():
        if count > 1 and column:
            raise CorpusError(f"{path}: line 1: {count} columns are called {column!r}; keep one")
