"""What commands share: parameters, the model to use, a line with a bar."""

import argparse
import sys
from pathlib import Path
from typing import Any

_BAR = 30  # characters


def parameters(track: str | None) -> Any:
    """Return what params.yaml says; ValueError when it has no such track."""
    import yaml

    from earshot import params

    parsed = params.parse(yaml.safe_load(Path("params.yaml").read_text()))
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


def positive(text: str) -> int:
    """Read a whole number of at least 1 from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number of at least 1")
    return int(text)
