"""Answers: what every model answers to every test item, in one Parquet table."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from earshot.runtime.files import atomic
from earshot.tables.items import Item

Answers = dict[str, np.ndarray]  # item id → probabilities (C,), or the symbols of frames (T,)
SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("model", pa.string()),
        ("seed", pa.int32()),
        ("answer", pa.int32()),
        ("probabilities", pa.list_(pa.float32())),
        ("text", pa.string()),
    ]
)
_LANGUAGE = "{}: language"
NONE = -1  # of a transcript, which chooses no option


def language_of(id: str) -> str:
    """Return the key under which a recogniser's answers have the language of an item, a tag: a text
    `()`.
    """
    return _LANGUAGE.format(id)


def answered(items: Sequence[Item], answers: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Return the items to which all seeds have an answer: a teacher of one language has no other
    than those of its own.
    """
    return [item for item in items if all(item.id in one for one in answers)]


def write(
    path: str | Path, items: Sequence[Item], answers: Mapping[str, Sequence[Answers]]
) -> None:
    """Write a row per model, seed and item, in that order, as one atomic file; `answer` is the most
    probable option.
    """

    def columns(some: Sequence[np.ndarray]) -> dict[str, Sequence]:
        return {
            "answer": [int(one.argmax()) for one in some],
            "probabilities": [np.asarray(one, np.float32) for one in some],
            "text": [None] * len(some),
        }

    _write(path, items, answers, columns)


def write_texts(
    path: str | Path, items: Sequence[Item], texts: Mapping[str, Sequence[Mapping[str, str]]]
) -> None:
    """Write the same of transcripts, a `text` per model, seed and item that it answered."""

    def columns(some: Sequence[str]) -> dict[str, Sequence]:
        nothing = {"answer": [NONE] * len(some), "probabilities": [[]] * len(some)}
        return nothing | {"text": some}

    _write(path, items, texts, columns, partly=True)


def _write(
    path: str | Path,
    items: Sequence[Item],
    models: Mapping[str, Sequence[Any]],
    columns: Callable[[Sequence[Any]], dict[str, Sequence]],
    partly: bool = False,
) -> None:
    with atomic(path) as partial, pq.ParquetWriter(partial, SCHEMA) as table:
        for model, seeds in models.items():
            for seed, of_seed in enumerate(seeds):
                ids = [item.id for item in items if not partly or item.id in of_seed]
                keys = {"item": ids, "model": [model] * len(ids), "seed": [seed] * len(ids)}
                some = columns([of_seed[id] for id in ids])
                table.write_table(pa.table(keys | some, SCHEMA))


def read(path: str | Path) -> pd.DataFrame:
    """Return the table; ValueError names a file that is none."""
    table = pq.read_table(path)
    if not table.schema.equals(SCHEMA):
        raise ValueError(f"{path}: not a table of answers")
    return table.to_pandas()
