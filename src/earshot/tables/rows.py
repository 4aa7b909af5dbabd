"""Rows that people hand in: one a clip, an utterance, a question."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


class TwiceError(ValueError):
    """Two rows for one thing that differ; one line with the file and both places."""


def once(path: str | Path, rows: Iterable[tuple[str, str, Any]]) -> dict[str, Any]:
    """Return the values of (place, name, value) by name, in the order of the rows.

    Of equal rows one is kept, and the others are counted in the log. Of two that differ
    nobody knows which is right: TwiceError names both places.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    again: list[str] = []
    for place, name, value in rows:
        if name not in values:
            values[name], places[name] = value, place
        elif value == values[name]:
            again.append(f"{name!r} in {places[name]} and {place}")
        else:
            differs = f"{name!r} stands there twice, and otherwise in {places[name]}"
            raise TwiceError(f"{path}: {place}: {differs}; keep one of the two")
    if again:
        some = "; ".join(again[:3])
        _log.warning("%s: %d row(s) stand there twice, kept once: %s", path, len(again), some)
    return values
