"""What the teacher said, in Parquet: logits and pooled hidden vectors, keyed by item and view.

Parts are written one by one, each atomic, and an index with checksums comes last. A reader refuses, by name, a cache
that is damaged, incomplete, or made by another teacher or for other items.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from earshot.batches import by_audio
from earshot.files import atomic, sha256, write_json
from earshot.items import Item
from earshot.params import Cache
from earshot.progress import chunks, track

if TYPE_CHECKING:
    from earshot.models.teacher import Teacher

SCHEMA = pa.schema(
    [("item", pa.string()), ("view", pa.int32()), ("logits", pa.list_(pa.float32())), ("hidden", pa.binary())]
)


def identity(folder: Path) -> str:
    """Return the text that tells the teacher saved in `folder` from any other."""
    return json.dumps(json.loads((folder / "identity.json").read_text()), sort_keys=True)


class CacheError(ValueError):
    """A teacher cache that must not be used."""


def key(items: Sequence[Item], identity: str, params: Cache) -> str:
    """Return the hash of all that a cache depends on."""
    asked = [(item.id, item.utterances, item.question, item.options) for item in items]
    return hashlib.sha256(json.dumps([asked, identity, params.model_dump()]).encode()).hexdigest()


def write(
    folder: Path,
    teacher: "Teacher",
    identity: str,
    items: Sequence[Item],
    manifest: pd.DataFrame,
    buckets: int,
    params: Cache,
) -> None:
    """Ask the teacher all `items` and write `folder`: parts first, `index.json` last. Whole parts found there are kept."""
    from earshot.teacher import cache_rows  # only who writes a cache needs a teacher

    groups = sorted(by_audio(items).items(), key=lambda group: (len(group[0]), group[0]))
    whole = key(items, identity, params)
    parts: dict[str, str] = {}
    pieces = list(chunks(groups, params.part_passages))
    for left in folder.glob(".*.partial-*"):  # by a killed run
        left.unlink()
    for number, piece in enumerate(track(pieces, "teacher answers", unit="part")):
        path = folder / f"part-{number:05d}.parquet"
        described = SCHEMA.with_metadata({"earshot": json.dumps({"teacher": identity, "key": whole})})
        if not path.exists() or pq.read_schema(path).metadata != described.metadata:
            rows = list(cache_rows(teacher, piece, manifest, buckets, params.layers))
            with atomic(path) as partial:
                pq.write_table(pa.Table.from_pylist(rows, schema=described), partial, compression="none")
        parts[path.name] = sha256(path)
    index = {"key": whole, "teacher": identity, "items": len(items), "layers": len(params.layers), "parts": parts}
    write_json(folder / "index.json", index)


class TeacherCache:
    """Read what `write` wrote, after checking it against its items and its teacher.

    Raises CacheError naming the first fault: no index, a missing or changed part, another teacher, other items or
    settings, a missing or doubled item, a value that is not finite.
    """

    def __init__(self, folder: Path, items: Sequence[Item], identity: str, params: Cache):
        try:
            index = json.loads((folder / "index.json").read_text())
            made_by, made_for, parts, layers = (index[field] for field in ("teacher", "key", "parts", "layers"))
        except (OSError, ValueError, KeyError, TypeError):
            raise CacheError(f"{folder}: incomplete cache, it has no readable index.json") from None
        if made_by != identity:
            raise CacheError(f"{folder}: stale cache, made by another teacher than {folder.parent.name} has now")
        if made_for != key(items, identity, params):
            raise CacheError(f"{folder}: stale cache, made for other items or settings")
        self._logits: dict[str, np.ndarray] = {}
        self._hidden: dict[str, np.ndarray] = {}
        for name, checksum in parts.items():
            self._read(folder / name, checksum, layers)
        missing = [item.id for item in items if item.id not in self._logits]
        if missing:
            raise CacheError(f"{folder}: incomplete cache, {len(missing)} items are missing, {missing[0]} first")

    def _read(self, part: Path, checksum: str, layers: int) -> None:
        if not part.exists():
            raise CacheError(f"{part}: missing part")
        if sha256(part) != checksum:
            raise CacheError(f"{part}: damaged part, its checksum is not the recorded one")
        table = pq.read_table(part)
        if not table.schema.equals(SCHEMA):
            raise CacheError(f"{part}: damaged part, its columns are {', '.join(table.column_names)}")
        for row in table.to_pylist():
            logits = np.array(row["logits"], np.float32)
            hidden = np.frombuffer(row["hidden"], np.float16).reshape(layers, -1)
            if not (np.isfinite(logits).all() and np.isfinite(hidden).all()):
                raise CacheError(f"{part}: item {row['item']} has values that are not finite")
            if row["item"] in self._logits:
                raise CacheError(f"{part}: item {row['item']} is there twice")
            self._logits[row["item"]], self._hidden[row["item"]] = logits, hidden

    def logits(self, item: str) -> np.ndarray:
        """Return the teacher's logits `(C,)` for an item."""
        return self._logits[item]

    def hidden(self, item: str) -> np.ndarray:
        """Return the pooled teacher layers `(L, D)` for an item, as float16."""
        return self._hidden[item]
