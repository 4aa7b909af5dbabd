"""What the teacher said, in Parquet: logits and pooled hidden vectors, keyed by item and view.

Parts are written one by one, each atomic, and an index with checksums comes last. A reader refuses, by name, a cache
that is damaged, incomplete, or made by another teacher or for other items.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from earshot.batches import by_audio, collate
from earshot.files import atomic, sha256, write_json
from earshot.items import Item
from earshot.models.heads import masked_mean
from earshot.models.teacher import Teacher
from earshot.params import Cache
from earshot.progress import chunks, track
from earshot.teacher import BATCH_PASSAGES, heard, lower_states

SCHEMA = pa.schema(
    [("item", pa.string()), ("view", pa.int32()), ("logits", pa.list_(pa.float32())), ("hidden", pa.binary())]
)


class CacheError(ValueError):
    """A teacher cache that must not be used."""


def key(items: Sequence[Item], identity: str, params: Cache) -> str:
    """Return the hash of all that a cache depends on."""
    asked = [(item.id, item.utterances, item.question, item.options) for item in items]
    return hashlib.sha256(json.dumps([asked, identity, params.model_dump()]).encode()).hexdigest()


@torch.inference_mode()
def _answers(
    teacher: Teacher,
    groups: Sequence[tuple[tuple[str, ...], list[Item]]],
    manifest: pd.DataFrame,
    buckets: int,
    layers: list[int],
) -> Iterator[dict[str, Any]]:
    """Yield cache rows for passages: logits of each item, and the chosen layers' means over time."""
    utterances = heard([item for _, items in groups for item in items])
    states = {id: hidden for id, _, hidden in lower_states(teacher, manifest, utterances)}
    for some in chunks(groups, BATCH_PASSAGES):
        batch = collate(some, states, buckets)
        outputs = teacher.upper(batch.sequences, batch.lengths)
        pooled = [masked_mean(outputs[layer], batch.lengths)[batch.passage] for layer in [0, *layers]]
        logits = teacher.head(pooled[0], batch.questions, batch.options)
        kept = torch.stack(pooled[1:], dim=1).numpy().astype(np.float16)
        for item, row, hidden in zip(batch.items, logits.numpy(), kept, strict=True):
            yield {"item": item.id, "view": 0, "logits": row[: len(item.options)], "hidden": hidden.tobytes()}


def write(
    folder: Path,
    teacher: Teacher,
    identity: str,
    items: Sequence[Item],
    manifest: pd.DataFrame,
    buckets: int,
    params: Cache,
) -> None:
    """Ask the teacher all `items` and write `folder`: parts first, `index.json` last. Whole parts found there are kept."""
    groups = sorted(by_audio(items).items(), key=lambda group: (len(group[0]), group[0]))
    whole = key(items, identity, params)
    parts: dict[str, str] = {}
    pieces = list(chunks(groups, params.part_passages))
    for number, piece in enumerate(track(pieces, "teacher answers", unit="part")):
        path = folder / f"part-{number:05d}.parquet"
        if not path.exists():
            rows = list(_answers(teacher, piece, manifest, buckets, params.layers))
            described = SCHEMA.with_metadata({"earshot": json.dumps({"teacher": identity, "key": whole})})
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
        except (OSError, ValueError):
            raise CacheError(f"{folder}: incomplete cache, it has no readable index.json") from None
        if index["teacher"] != identity:
            raise CacheError(f"{folder}: stale cache, made by another teacher than {folder.parent.name} has now")
        if index["key"] != key(items, identity, params):
            raise CacheError(f"{folder}: stale cache, made for other items or settings")
        self._logits: dict[str, np.ndarray] = {}
        self._hidden: dict[str, np.ndarray] = {}
        for name, checksum in index["parts"].items():
            self._read(folder / name, checksum, index["layers"])
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
