"""The table of what every model said."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earshot.tables import answers
from earshot.tables.items import Item

ITEMS = [
    Item(f"t{n}", "test", "detail", "p", ("u",), "What?", ("one", "two", "three")[: 3 - n], 0)
    for n in range(2)
]
SAID = {
    "teacher": [{"t0": np.array([0.2, 0.5, 0.3]), "t1": np.array([0.9, 0.1])}],
    "kd": [{"t0": np.array([0.6, 0.3, 0.1]), "t1": np.array([0.5, 0.5])}] * 2,
}


def test_a_row_per_model_seed_and_item(tmp_path):
    answers.write(tmp_path / "a.parquet", ITEMS, SAID)
    table = answers.read(tmp_path / "a.parquet")
    keys = list(zip(table["model"], table["seed"], table["item"], table["answer"], strict=True))
    assert keys == [
        ("teacher", 0, "t0", 1), ("teacher", 0, "t1", 0),
        ("kd", 0, "t0", 0), ("kd", 0, "t1", 0), ("kd", 1, "t0", 0), ("kd", 1, "t1", 0),
    ]  # fmt: skip
    assert (
        table["probabilities"][0] == pytest.approx([0.2, 0.5, 0.3])
        and len(table["probabilities"][1]) == 2
    )
    answers.write(tmp_path / "b.parquet", ITEMS, SAID)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_an_item_without_an_answer_leaves_no_file(tmp_path):
    with pytest.raises(KeyError, match="t1"):
        answers.write(tmp_path / "a.parquet", ITEMS, {"kd": [{"t0": np.array([0.6, 0.4])}]})
    assert list(tmp_path.iterdir()) == []


def test_another_table_is_named(tmp_path):
    pq.write_table(pa.table({"item": ["t0"]}), tmp_path / "mine.parquet")
    with pytest.raises(ValueError, match=r"mine\.parquet: not a table of answers"):
        answers.read(tmp_path / "mine.parquet")
