"""Float16 sequences in Parquet."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earshot.tables import sequences as store
from earshot.tables.sequences import ROW_GROUP, Store, StoreError


def sequences(count: int = 2 * ROW_GROUP + 7, width: int = 5) -> list[store.Row]:
    rng = np.random.default_rng(0)
    return [
        (f"u{i:02}", 0, rng.normal(size=(1 + i % 9, width)).astype(np.float16))
        for i in range(count)
    ]


def write(path, rows, **metadata) -> Store:
    store.write(path, rows, "mel", rows[0][2].shape[1], metadata)
    return Store(path)


def test_what_was_written_is_read_in_any_order(tmp_path):
    rows = sequences()
    store.write(tmp_path / "mel.parquet", iter(rows), "mel", 5, {"hop_length": 160})
    mel = Store(tmp_path / "mel.parquet")
    assert (len(mel), mel.width, mel.column) == (len(rows), 5, "mel")
    assert mel.metadata["hop_length"] == 160
    assert list(mel) == [(id, 0) for id, _, _ in rows]
    for row in np.random.default_rng(1).permutation(len(rows)):
        id, _, array = rows[row]
        assert mel[id].dtype == np.float16
        assert np.array_equal(mel[id], array)
        assert mel.frames(id) == len(array)


def test_float32_is_rounded_once(tmp_path):
    array = np.array([[1 / 3, 1e-3, -2.0]], np.float32)
    mel = write(tmp_path / "mel.parquet", [("a", 0, array)])
    assert np.array_equal(mel["a"], array.astype(np.float16))


def test_non_contiguous_arrays_keep_their_order(tmp_path):
    array = np.arange(12, dtype=np.float16).reshape(3, 4)
    assert np.array_equal(write(tmp_path / "mel.parquet", [("a", 0, array.T)])["a"], array.T)


def test_views_are_told_apart(tmp_path):
    clean, other = np.zeros((2, 3), np.float16), np.ones((4, 3), np.float16)
    mel = write(tmp_path / "mel.parquet", [("a", 1, other), ("a", 0, clean)])
    assert np.array_equal(mel["a"], clean)
    assert np.array_equal(mel["a", 0], clean)
    assert np.array_equal(mel["a", 1], other)
    assert mel.frames(("a", 1)) == 4
    assert ("a", 1) in mel and "a" in mel and ("a", 2) not in mel and "b" not in mel


def test_a_missing_key_is_named(tmp_path):
    mel = write(tmp_path / "mel.parquet", sequences(3))
    with pytest.raises(KeyError, match="nobody"):
        mel["nobody"]
    with pytest.raises(KeyError, match="u01.*7"):
        mel["u01", 7]
    with pytest.raises(KeyError, match="nobody"):
        mel.frames("nobody")


def test_the_same_rows_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, sequences(), n_mels=5, hop=1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kept", [0, 3, 100, -1])
def test_a_truncated_file_is_refused_by_name(tmp_path, kept):
    path = tmp_path / "mel.parquet"
    write(path, sequences())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(StoreError, match="mel.parquet: not a readable store"):
        Store(path)


def test_what_is_no_store_is_refused_by_name(tmp_path):
    (tmp_path / "noise.parquet").write_bytes(np.random.default_rng(0).bytes(4096))
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "table.parquet")
    pq.write_table(
        pa.table({"id": ["a"]}).replace_schema_metadata({"other": "1"}),
        tmp_path / "described.parquet",
    )
    for name in ("noise.parquet", "table.parquet", "described.parquet", "missing.parquet"):
        with pytest.raises(StoreError, match=f"{name}: not a readable store"):
            Store(tmp_path / name)


@pytest.fixture
def six_values():
    """A table that promises 4×2 values of a row that has 3×2."""
    values = np.zeros(6, np.float16).tobytes()
    row = {"id": ["a"], "view": [0], "frames": [4], "mel": [values]}
    return pa.table(row, schema=store.schema("mel", 2, "float16", {}))


def test_lengths_that_disagree_with_bytes_are_refused(tmp_path, six_values):
    path = tmp_path / "mel.parquet"
    with store._parquet_writer(path, six_values.schema) as writer:
        writer.write_table(six_values)
    with pytest.raises(StoreError, match="mel.parquet: row 0 is not where the rows' lengths say"):
        Store(path)["a"]


def test_pages_that_would_have_to_be_decoded_are_refused(tmp_path, six_values):
    pq.write_table(six_values, tmp_path / "mel.parquet")
    with pytest.raises(StoreError, match="mel.parquet: not a readable store.*plain pages"):
        Store(tmp_path / "mel.parquet")


def test_other_readers_of_parquet_find_the_same_values(tmp_path):
    rows = sequences()
    write(tmp_path / "mel.parquet", rows)
    found = pq.read_table(tmp_path / "mel.parquet").column("mel").to_pylist()
    assert found == [array.tobytes() for _, _, array in rows]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "mel.parquet"
    write(path, sequences(2))
    before = path.read_bytes()

    def rows():
        yield from sequences()
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        store.write(path, rows(), "mel", 5, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_merged_stores_hold_the_rows_of_both(tmp_path):
    rows = sequences()
    write(tmp_path / "one", rows[:20], hop=1)
    write(tmp_path / "two", rows[20:], hop=1)
    store.merge(tmp_path / "all", [tmp_path / "one", tmp_path / "two"])
    merged = Store(tmp_path / "all")
    assert list(merged) == [(id, 0) for id, _, _ in rows]
    assert merged.metadata == Store(tmp_path / "one").metadata
    for id, _, array in reversed(rows):
        assert np.array_equal(merged[id], array)


def test_stores_of_different_width_do_not_merge(tmp_path):
    write(tmp_path / "one", sequences(3, width=5))
    store.write(tmp_path / "two", sequences(3, width=4), "hidden", 4, {})
    with pytest.raises(ValueError):
        store.merge(tmp_path / "all", [tmp_path / "one", tmp_path / "two"])
    assert not (tmp_path / "all").exists()
