"""Questions that somebody wrote: items from a YAML file."""

import re
import unicodedata
from pathlib import Path
from typing import Any

from earshot.runtime import yaml_file
from earshot.runtime.yaml_file import YamlError
from earshot.tables.items import Item, ItemError
from earshot.tables.rows import TwiceError, once

_FIELDS = {
    "id": str,
    "skill": str,
    "question": str,
    "utterances": list,
    "options": list,
    "answer": str,
}
_KINDS = {str: "text", list: "list"}


def authored(path: str | Path) -> list[Item]:
    """Read hand-written items from YAML: a list of id, skill, utterances, question, options, answer
    (from 0), role.

    Every scalar is the text that stands there: `yes`, `7:30`, `1.50` and `~` may be options.
    `role` is `fewshot` unless given. An item that stands there twice is kept once, and logged.
    Raises ItemError naming file, line and item for an unknown, missing or mistyped field, and for
    two different items of one id.
    """
    try:
        entries = yaml_file.read(path, as_text=True)
    except YamlError as error:
        raise ItemError(str(error)) from None
    except OSError as error:
        raise ItemError(f"{path}: {error}") from None
    if not isinstance(entries, list):
        raise ItemError(f"{path}: expected a list of items")
    rows = []
    for number, (line, entry) in enumerate(zip(yaml_file.lines(path), entries, strict=True)):
        name = entry.get("id", number) if isinstance(entry, dict) else number
        item = _item(f"{path}: line {line}: item {name}", entry)
        rows.append((f"line {line}", item.id, item))
    try:
        return list(once(path, rows).values())
    except TwiceError as error:
        raise ItemError(str(error)) from None


def _item(name: str, entry: Any) -> Item:
    """Return an entry as an item; ItemError says what is wrong with the entry of this name."""
    if not isinstance(entry, dict) or set(entry) - {"role"} != set(_FIELDS):
        raise ItemError(f"{name}: needs exactly the fields {', '.join(_FIELDS)} and may have role")
    entry = {"role": "fewshot"} | entry
    for field, kind in (_FIELDS | {"role": str}).items():
        if not isinstance(entry[field], kind):
            raise ItemError(f"{name}: {field}={entry[field]!r} is no {_KINDS[kind]}")
        if kind is list and (other := [one for one in entry[field] if type(one) is not str]):
            raise ItemError(f"{name}: {field}: {other[0]!r} is no text; put it into quotes")
    if not re.fullmatch("-?[0-9]+", entry["answer"]):
        answer = f"answer={entry['answer']!r}"
        raise ItemError(f"{name}: {answer} is no place of an option, counted from 0")
    utterances = tuple(unicodedata.normalize("NFC", one) for one in entry["utterances"])
    read = {
        "answer": int(entry["answer"]),
        "options": tuple(entry["options"]),
        "passage": utterances[0] if utterances else "",
        "utterances": utterances,
    }
    return Item(**(entry | read))
