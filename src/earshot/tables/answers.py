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
NONE = -1  # of a transcript, which chooses no option


def language_of(id: str) -> str:
    """Return the key of the language that a model says an item is in, beside its transcript."""
    return f"{id} language"


def write(
    path: str | Path, items: Sequence[Item], answers: Mapping[str, Sequence[Answers]]
) -> None:
    """Write a row per model, seed and item, in that order, as one atomic file; `answer` is the most
    probable option.
    """

    def columns(of_seed: Answers) -> dict[str, Sequence]:
        return {
            "answer": [int(of_seed[item.id].argmax()) for item in items],
            "probabilities": [np.asarray(of_seed[item.id], np.float32) for item in items],
            "text": [None] * len(items),
        }

    _write(path, items, answers, columns)


def write_texts(
    path: str | Path, items: Sequence[Item], texts: Mapping[str, Sequence[Sequence[str]]]
) -> None:
    """Write the same of transcripts, a `text` per model, seed and item."""

    def columns(of_seed: Sequence[str]) -> dict[str, Sequence]:
        nothing = {"answer": [NONE] * len(items), "probabilities": [[]] * len(items)}
        return nothing | {"text": of_seed}

    _write(path, items, texts, columns)


def _write(
    path: str | Path,
    items: Sequence[Item],
    models: Mapping[str, Sequence[Any]],
    columns: Callable[[Any], dict[str, Sequence]],
) -> None:
    with atomic(path) as partial, pq.ParquetWriter(partial, SCHEMA) as table:
        for model, seeds in models.items():
            for seed, of_seed in enumerate(seeds):
                keys = {
                    "item": [item.id for item in items],
                    "model": [model] * len(items),
                    "seed": [seed] * len(items),
                }
                table.write_table(pa.table(keys | columns(of_seed), SCHEMA))


def read(path: str | Path) -> pd.DataFrame:
    """Return the table; ValueError names a file that is none."""
    table = pq.read_table(path)
    if not table.schema.equals(SCHEMA):
        raise ValueError(f"{path}: not a table of answers")
    return table.to_pandas()
