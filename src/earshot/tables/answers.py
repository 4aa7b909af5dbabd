"""Answers: what every model answers to every test item, in one Parquet table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from earshot.runtime.files import atomic
from earshot.tables.items import Item

Answers = dict[str, np.ndarray]  # item id → probabilities (C,)
SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("model", pa.string()),
        ("seed", pa.int32()),
        ("answer", pa.int32()),
        ("probabilities", pa.list_(pa.float32())),
    ]
)


def write(
    path: str | Path, items: Sequence[Item], answers: Mapping[str, Sequence[Answers]]
) -> None:
    """Write a row per model, seed and item, in that order, as one atomic file; `answer` is the most
    probable option.
    """
    with atomic(path) as partial, pq.ParquetWriter(partial, SCHEMA) as table:
        for model, seeds in answers.items():
            for seed, of_seed in enumerate(seeds):
                rows = [np.asarray(of_seed[item.id], np.float32) for item in items]
                columns = {
                    "item": [item.id for item in items],
                    "model": [model] * len(items),
                    "seed": [seed] * len(items),
                    "answer": [int(of_seed[item.id].argmax()) for item in items],
                    "probabilities": rows,
                }
                table.write_table(pa.table(columns, SCHEMA))


def read(path: str | Path) -> pd.DataFrame:
    """Return the table; ValueError names a file that is none."""
    table = pq.read_table(path)
    if not table.schema.equals(SCHEMA):
        raise ValueError(f"{path}: not a table of answers")
    return table.to_pandas()
