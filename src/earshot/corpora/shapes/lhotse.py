"""Lhotse's cuts, JSON lines, plain or compressed: a cut with one supervision is a recording.

https://lhotse.readthedocs.io/en/latest/cuts.html
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from earshot.corpora.shapes.row import Row, located_above, named_split, seconds, value
from earshot.tables.manifest import CorpusError


def read(root: Path) -> Iterator[Row]:
    """Yield the cuts of a file, or of all in a folder, a file a split.

    CorpusError, with file and line, for a cut of several recordings or with more or fewer than one
    supervision, and for a recording that is no file.
    """
    for path in files(root):
        for where, cut in _cuts(path):
            yield _row(cut, where, path)


def files(root: Path) -> list[Path]:
    """Return the files of cuts."""
    if root.is_file():
        return [root]
    return sorted([*root.glob("*cuts*.jsonl"), *root.glob("*cuts*.jsonl.gz")])


def _cuts(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    open_one = gzip.open if path.suffix == ".gz" else open
    try:
        with open_one(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}: line {number}", json.loads(line)
    except (OSError, EOFError, ValueError) as error:
        raise CorpusError(f"{path}: no JSON lines ({' '.join(str(error).split())})") from None


def _row(cut: dict[str, Any], where: str, path: Path) -> Row:
    if not isinstance(cut, dict) or "recording" not in cut:
        kind = cut.get("type", "?") if isinstance(cut, dict) else type(cut).__name__
        raise CorpusError(f"{where}: a {kind} without a recording; save cuts of one each (MonoCut)")
    spoken = cut.get("supervisions") or []
    if len(spoken) != 1:
        wanted = "one is wanted: cuts.trim_to_supervisions()"
        raise CorpusError(f"{where}: {len(spoken)} supervisions in cut {cut.get('id')!r}; {wanted}")
    (source, *more) = cut["recording"].get("sources") or [{}]
    if more or source.get("type") != "file":
        kind = source.get("type")
        raise CorpusError(f"{where}: a recording of type {kind!r}; cuts.save_audios() writes files")
    custom = spoken[0].get("custom") or {}
    return Row(
        located_above(source["source"], where, path.parent),
        where,
        id=value(cut, ["id"]),
        text=value(spoken[0], ["text"]),
        label=value(custom, ["label", "class"]),
        speaker=value(spoken[0], ["speaker"]),
        group=value(cut["recording"], ["id"]),
        language=value(spoken[0], ["language"]),
        split=named_split(path.name),
        begin=seconds(cut, "start", where) or 0.0,
        seconds=seconds(cut, "duration", where),
    )
