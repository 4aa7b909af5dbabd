"""YAML 1.2, as DVC reads and writes it: `5e-05` is a number, `yes` and `7:30` are texts."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from earshot.runtime.files import read_text

# What to write instead, by what the parser complains of.
_REMEDIES = {
    r"character '\t'": "indent with spaces, not with tabs",
    "cannot start any token": "put the text into quotes",
    "mapping values are not allowed": "quote a text that holds ': ', or mend the indentation",
    "expected ',' or ']'": "close the bracket with ]",
    "expected ',' or '}'": "close the brace with }",
    "expected <block end>": "indent the line like those that it belongs to",
    "found unexpected end of stream": "close the quotation",
    "found unexpected document separator": "close the quotation",
    "could not find expected ':'": "write `key: value`",
    "duplicate key": "keep one of the two",
    "found undefined alias": "put a text that begins with * into quotes",
    "constructor for the tag": "put a text that begins with ! into quotes",
}


class YamlError(ValueError):
    """A text that is no YAML; one line with file, line, what is wrong and what to write instead."""


def read(path: str | Path, as_text: bool = False) -> Any:
    """Return what a YAML file holds; with `as_text` every scalar is the text that stands there.

    Raises YamlError, and OSError where the file cannot be opened.
    """
    try:
        text = read_text(path)
    except UnicodeError as error:
        raise YamlError(str(error)) from None
    return parse(text, str(path), as_text)


def parse(text: str, name: str, as_text: bool = False) -> Any:
    """Return what a YAML text holds; YamlError names it `name`."""
    try:
        return YAML(typ="base" if as_text else "safe", pure=True).load(text)
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        raise YamlError(f"{name}: {_reason(error, text)}") from None


def lines(path: str | Path) -> list[int]:
    """Return the lines in which the entries of a YAML file begin, which `read` found to be a
    list.
    """
    root = YAML(typ="base", pure=True).compose(read_text(path))
    return [entry.start_mark.line + 1 for entry in root.value]


def _reason(error: Exception, text: str) -> str:
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"line {line}: the character {chr(error.character)!r} may not stand in YAML"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if not isinstance(error, MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    problem = " ".join((error.problem or error.context or "not YAML").split())
    found = f"line {mark.line + 1}: {problem}" if mark else problem
    begun = error.context_mark
    if begun and mark and begun.line != mark.line:
        found += f", {error.context} that begins in line {begun.line + 1}"
    remedies = [remedy for part, remedy in _REMEDIES.items() if part in problem]
    return "; ".join([found, *remedies[:1]])
