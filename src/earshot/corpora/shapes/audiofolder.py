"""Hugging Face's `audiofolder`: recordings, and beside them `metadata.csv`, `.jsonl` or `.parquet`
with a column `file_name`; a folder a split, or none.

https://huggingface.co/docs/datasets/audio_dataset
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from earshot.corpora.shapes import table
from earshot.corpora.shapes.row import Row, named_split

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def read(root: Path) -> Iterator[Row]:
    """Yield the recordings in the order of their tables."""
    for metadata in files(root):
        above = named_split(*metadata.parent.relative_to(root).parts)
        for row in table.rows(metadata, [metadata.parent]):
            yield replace(row, split=row.split or above)


def files(root: Path) -> list[Path]:
    """Return the tables: in the folder, or in those of its splits."""
    return [path for name in NAMES for path in [*root.glob(name), *sorted(root.glob(f"*/{name}"))]]
