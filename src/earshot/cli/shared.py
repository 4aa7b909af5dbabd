"""What commands share: parameters, the model to use, a line with a bar."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

_BAR = 30  # characters


def parameters(track: str | None) -> Any:
    """Return what params.yaml says; ValueError when it has no such track."""
    from earshot import params
    from earshot.runtime import yaml_file

    parsed = params.parse(yaml_file.read("params.yaml"))
    if track and track not in parsed.tracks:
        raise ValueError(f"--track {track}: params.yaml has {', '.join(parsed.tracks)}")
    return parsed


def model(given: Path | None, usual: Path) -> Path:
    """Return the model file asked for, or the usual one; ValueError when that has not been made."""
    if given is None and not usual.is_file():
        raise ValueError(f"{usual}: no such file; run `make repro` to train it, or pass --model")
    return given or usual


def bar(before: str, name: str, width: int, probability: float) -> str:
    """Return a line with a name and its probability; on a terminal with a bar."""
    bar = "#" * round(_BAR * probability) if sys.stdout.isatty() else ""
    return f"{before} {name:{width}}  {probability:6.1%}  {bar}".rstrip()


def print_json(content: Any) -> None:
    """Print one JSON object; in ASCII where the terminal lacks one of its characters."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(content, allow_nan=False)
    print(text)


def words(text: str) -> str:
    """Read a text from the command line."""
    try:
        text.encode()
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        raise argparse.ArgumentTypeError(f"{text!a} is not in {encoding}") from None
    return text


def positive(text: str) -> int:
    """Read a whole number of at least 1 from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number of at least 1")
    return int(text)
