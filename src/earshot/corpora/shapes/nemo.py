"""NeMo's manifests: JSON lines with `audio_filepath`, `duration`, `offset`, `text` or a label.

https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html
"""

from collections.abc import Iterator
from pathlib import Path

from earshot.corpora.shapes.row import (
    Row,
    json_lines,
    located_above,
    named_split,
    seconds,
    split_of,
    value,
)
from earshot.tables.manifest import CorpusError

ENDS = ("json", "jsonl")


def read(root: Path) -> Iterator[Row]:
    """Yield the recordings of a manifest, or of all in a folder, a manifest a split.

    CorpusError, with file and line, for a line that is no object, has no `audio_filepath`, neither
    text nor label, names no file or seconds that are none.
    """
    for manifest in files(root):
        named = named_split(manifest.stem)
        for where, fields in json_lines(manifest):
            given = value(fields, ["audio_filepath"])
            if given is None:
                raise CorpusError(f"{where}: no audio_filepath")
            begin, length = (seconds(fields, name, where) for name in ("offset", "duration"))
            yield Row(
                located_above(given, where, manifest.parent),
                where,
                text=value(fields, ["text"]),
                label=value(fields, ["label", "command"]),
                speaker=value(fields, ["speaker"]),
                language=value(fields, ["lang", "language"]),
                split=split_of(value(fields, ["split"]), where) or named,
                begin=begin or 0.0,
                seconds=length,
            )


def files(root: Path) -> list[Path]:
    """Return the manifests."""
    if root.is_file():
        return [root]
    return sorted(path for end in ENDS for path in root.glob(f"*.{end}"))
