"""A recording as another tool's files describe it, and what all readers of such files share."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earshot.runtime.files import TextError, read_text
from earshot.tables.manifest import CorpusError

AUDIO = {f".{end}" for end in "wav flac mp3 ogg opus m4a aac aif aiff au sph w64 caf".split()}
# What tools call splits, in their tables and in the names of their folders and files.
SPLITS = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development", "cv"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "tt"), "test"),
    **{role: role for role in ("teacher", "pool", "fewshot")},
}
ABOVE = 3  # folders above a table's, from one of which the tool that wrote it may have run


@dataclass(frozen=True)
class Row:
    """One recording, or the part of it from `begin` on of `seconds` (None: all of it).

    `where` is the file and line that describe it. `split` is a value of `SPLITS`, None where nobody
    says; `group` names what must not be divided beside the speaker: a place, a longer recording.
    `id` is None where the path says enough.
    """

    path: Path
    where: str
    id: str | None = None
    text: str | None = None
    label: str | None = None
    speaker: str | None = None
    group: str | None = None
    language: str | None = None
    split: str | None = None
    begin: float = 0.0
    seconds: float | None = None


def named_split(*names: str) -> str | None:
    """Return the split that the name of a folder or file says: the last of these that says one.

    >>> named_split("data", "train_clean.json")
    'train'
    """
    for name in reversed(names):
        words = name.lower().replace(".", "_").replace("-", "_").split("_")
        for word in words:
            if word in SPLITS:
                return SPLITS[word]
    return None


def split_of(value: str | None, where: str) -> str | None:
    """Return the split that a table's value says; CorpusError where it is none."""
    if value is None:
        return None
    if value.lower() not in SPLITS:
        known = ", ".join(dict.fromkeys(SPLITS.values()))
        raise CorpusError(f"{where}: split {value!r} is not one of {known}")
    return SPLITS[value.lower()]


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a file that are not blank, each with its place, `file: line n`."""
    try:
        text = read_text(path)
    except (TextError, OSError) as error:
        raise CorpusError(str(error)) from None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}: line {number}", line


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a file of JSON lines, each with its place."""
    for where, line in lines(path):
        try:
            content = json.loads(line)
        except ValueError as error:
            raise CorpusError(f"{where}: no JSON ({error})") from None
        if not isinstance(content, dict):
            raise CorpusError(f"{where}: {type(content).__name__}, not an object in braces")
        yield where, content


def value(fields: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Return the first of these fields that is not blank, as text."""
    for name in names:
        found = fields.get(name)
        if found is not None and found == found and str(found).strip():  # NaN is not itself
            return str(found).strip()
    return None


def seconds(fields: Mapping[str, Any], name: str, where: str) -> float | None:
    """Return a field's seconds, None where it is absent; CorpusError for another value."""
    found = fields.get(name)
    if found is None:
        return None
    try:
        number = float(found)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < float("inf"):
        raise CorpusError(f"{where}: {name}={found!r} is no number of seconds")
    return number


def located_above(path: str, where: str, folder: Path) -> Path:
    """Return where a file lies whose path a tool wrote as seen from where it ran: beside its table,
    or some folders above. A mere name is looked for beside the table alone.
    """
    further = list(folder.resolve().parents)[:ABOVE] if "/" in path else []
    return located(path, where, [folder, *further])


def located(path: str, where: str, folders: Sequence[Path]) -> Path:
    """Return where a file lies that is named in a table; CorpusError names it where it does not."""
    places = [folder / path for folder in folders]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise CorpusError(f"{where}: {places[0]}: no such file")
    return found
