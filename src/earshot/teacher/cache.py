"""What the teacher said, in Parquet: keyed by item and view, never by position.

Parts are written one by one, each atomic, and an index with checksums comes last. A reader refuses,
by name, a cache that is damaged, incomplete, or made by another teacher or for other items.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from earshot.features.recordings import Key
from earshot.models import accelerator
from earshot.params import Cache
from earshot.runtime import parallel
from earshot.runtime.files import atomic, sha256, write_json
from earshot.runtime.progress import chunks
from earshot.tables import sequences
from earshot.tables.items import Item
from earshot.training import routing
from earshot.training.batches import Group, by_audio, common_views

SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("view", pa.int32()),
        ("logits", pa.list_(pa.float32())),
        ("hidden", pa.binary()),  # float16 (kept layers, D)
        ("layer_logits", pa.binary()),  # float32 (L, C); null where not kept, as the next
        ("attention", pa.binary()),  # float16 (L, 12, 12)
    ]
)
Rows = Callable[[Sequence[Group]], Iterator[tuple[list[dict[str, Any]], list[sequences.Row]]]]


def identity(folder: Path) -> str:
    """Return the text that tells the teacher saved in `folder` from any other."""
    return json.dumps(json.loads((folder / "identity.json").read_text()), sort_keys=True)


class CacheError(ValueError):
    """A teacher cache that must not be used."""


def key(
    items: Sequence[Item], identity: str, params: Cache, views: Mapping[str, Sequence[int]]
) -> str:
    """Return the hash of all that a cache depends on; `views` are those of each utterance."""
    asked = [
        (
            item.id,
            item.utterances,
            item.question,
            item.options,
            common_views(item.utterances, views),
        )
        for item in items
    ]
    return hashlib.sha256(json.dumps([asked, identity, params.model_dump()]).encode()).hexdigest()


def write(
    folder: Path,
    rows: Rows,
    identity: str,
    items: Sequence[Item],
    views: Mapping[str, Sequence[int]],
    params: Cache,
    engine: str = "local",
) -> None:
    """Ask the teacher all `items` in all views and write `folder`: parts first, `index.json` last.

    `rows` answers passages, as `teacher.Asker` does. Whole parts found in `folder` are kept.
    Several processes, or with `engine` 'ray' its workers, write parts of their own.
    """
    passages = sorted(by_audio(items).items(), key=lambda group: (len(group[0]), group[0]))
    pieces = list(chunks(passages, params.part))
    whole = key(items, identity, params, views)
    described = SCHEMA.with_metadata({"earshot": json.dumps({"teacher": identity, "key": whole})})
    if accelerator.is_main():
        for left in folder.glob(".*.partial-*"):  # by a killed run
            left.unlink()
    accelerator.wait()
    parts = [
        _Part(folder / f"part-{number:05d}.parquet", params.layered)
        for number in range(len(pieces))
    ]
    missing = [
        (
            part,
            [(audio, view, group) for audio, group in piece for view in common_views(audio, views)],
        )
        for part, piece in zip(parts, pieces, strict=True)
        if not part.whole(described)
    ]
    accelerator.wait()  # all look before anyone writes
    for _ in parallel.one_by_one(
        partial(_write_part, rows, described), accelerator.share(missing), "teacher answers", engine
    ):
        pass
    accelerator.wait()
    if accelerator.is_main():
        checksums = {file.name: sha256(file) for part in parts for file in part.files}
        index = {
            "key": whole,
            "teacher": identity,
            "items": len(items),
            "layers": len(params.layers),
            "parts": checksums,
        }
        write_json(folder / "index.json", index)
    accelerator.wait()


class _Part(NamedTuple):
    path: Path
    layered: bool

    @property
    def frames(self) -> Path:
        return self.path.with_name(self.path.name.replace("part", "frames"))

    @property
    def files(self) -> list[Path]:
        return [self.path, self.frames] if self.layered else [self.path]

    def whole(self, schema: pa.Schema) -> bool:
        """Whether all files are there, made for this very cache."""
        return (
            all(file.exists() for file in self.files)
            and pq.read_schema(self.path).metadata == schema.metadata
        )


def _write_part(rows: Rows, schema: pa.Schema, task: tuple[_Part, Sequence[Group]]) -> None:
    """Write a part, its front-end frames before it: where the part is, they are complete."""
    (part, groups), said = task, list[dict[str, Any]]()
    part.path.unlink(missing_ok=True)  # a part of others must not stay beside our frames

    def fronts() -> Iterator[sequences.Row]:
        for some, own in rows(groups):
            said.extend(some)
            yield from own

    own = fronts()
    first = next(own, None)  # without layers there is none, and all has been said
    if first is not None:
        sequences.write(part.frames, chain([first], own), "front", first[2].shape[1], {})
    with atomic(part.path) as partial_file:
        pq.write_table(pa.Table.from_pylist(said, schema=schema), partial_file, compression="none")


class _Row(NamedTuple):
    """Where an answer begins in a file, and the bytes of its parts, one after another."""

    place: int
    logits: int
    hidden: int
    layer_logits: int
    attention: int


class TeacherCache:
    """Read what `write` wrote, after checking it against its items and its teacher.

    What was checked lies in an unnamed file, not in memory, and is read from there answer by
    answer.

    Raises CacheError naming the first fault: no index, a missing or changed part, another teacher,
    other items, views or settings, a missing or doubled item, a value that is not finite.
    """

    def __init__(
        self,
        folder: Path,
        items: Sequence[Item],
        identity: str,
        params: Cache,
        views: Mapping[str, Sequence[int]],
    ):
        try:
            index = json.loads((folder / "index.json").read_text())
            made_by, made_for, parts, layers = (
                index[field] for field in ("teacher", "key", "parts", "layers")
            )
        except (OSError, ValueError, KeyError, TypeError):
            raise CacheError(f"{folder}: incomplete cache, it has no readable index.json") from None
        if made_by != identity:
            raise CacheError(
                f"{folder}: stale cache, made by another teacher than {folder.parent.name} has now"
            )
        if made_for != key(items, identity, params, views):
            raise CacheError(f"{folder}: stale cache, made for other items, views or settings")
        self._rows: dict[Key, _Row] = {}
        self._frames: dict[Key, sequences.Store] = {}
        self._said, self._layers = tempfile.TemporaryFile(), layers  # noqa: SIM115 - open as long as this is
        for name, checksum in parts.items():
            self._read(folder / name, checksum)
        self._said.flush()
        missing = [
            item.id
            for item in items
            for view in common_views(item.utterances, views)
            if (item.id, view) not in self._rows
        ]
        if missing:
            raise CacheError(
                f"{folder}: incomplete cache, {len(missing)} items are missing, {missing[0]} first"
            )

    def _read(self, part: Path, checksum: str) -> None:
        if not part.exists():
            raise CacheError(f"{part}: missing part")
        if sha256(part) != checksum:
            raise CacheError(f"{part}: damaged part, its checksum is not the recorded one")
        if part.name.startswith("frames"):
            frames = sequences.Store(part)
            self._frames |= dict.fromkeys(frames, frames)
            return
        table = pq.read_table(part)
        if not table.schema.equals(SCHEMA):
            raise CacheError(
                f"{part}: damaged part, its columns are {', '.join(table.column_names)}"
            )
        for row in table.to_pylist():
            logits = np.array(row["logits"], np.float32).tobytes()
            pieces = (logits, row["hidden"], row["layer_logits"] or b"", row["attention"] or b"")
            place = _Row(self._said.tell(), *map(len, pieces))
            content = b"".join(pieces)
            if not all(np.isfinite(value).all() for value in self._arrays(content, place).values()):
                raise CacheError(f"{part}: item {row['item']} has values that are not finite")
            if (row["item"], row["view"]) in self._rows:
                raise CacheError(f"{part}: item {row['item']} is there twice")
            self._rows[row["item"], row["view"]] = place
            self._said.write(content)

    def _arrays(self, content: bytes, row: "_Row") -> dict[str, np.ndarray]:
        hidden, classes = row.logits, row.logits // 4
        said = {
            # writable, as torch wants it
            "logits": np.frombuffer(content, np.float32, classes).copy(),
            "hidden": np.frombuffer(content, np.float16, row.hidden // 2, hidden).reshape(
                self._layers, -1
            ),
        }
        if row.attention:
            layer_logits = hidden + row.hidden
            own = np.frombuffer(content, np.float32, row.layer_logits // 4, layer_logits)
            maps = np.frombuffer(
                content, np.float16, row.attention // 2, layer_logits + row.layer_logits
            )
            said |= {
                "layer_logits": own.reshape(-1, classes),
                "attention": maps.reshape(-1, routing.SIZE, routing.SIZE),
            }
        return said

    def said(self, item: str, view: int = 0) -> dict[str, np.ndarray]:
        """Return `logits` (C,), `hidden` (kept layers, D), and if layered `layer_logits` (L, C),
        `attention` (L, 12, 12).
        """
        row = self._rows[item, view]
        return self._arrays(os.pread(self._said.fileno(), sum(row[1:]), row.place), row)

    def frames(self, item: Item, view: int = 0) -> np.ndarray:
        """Return the front-end frames `(T, D)` of an item's utterances, end to end."""
        keys = [(utterance, view) for utterance in item.utterances]
        return np.concatenate([self._frames[key][key] for key in keys])
