"""The labelled subset: whole segments, balanced, nested; and every fault by name."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scenes import LABELS, clip, frame, manifest

from earshot.items import classes as labels
from earshot.params import Labels
from earshot.tables import items
from earshot.tables.items import UNKNOWN, Item, ItemError
from earshot.tables.manifest import SCHEMA, read_manifest

SHARES = (5, 10, 25, 50, 100)


def build(table: pd.DataFrame, share: int = 10, seed: int = 3) -> list[Item]:
    return labels.build(table, table["id"], Labels(source="labels", share=share), seed)


def labelled(table: pd.DataFrame, share: int, seed: int = 3) -> set[str]:
    return {item.id for item in build(table, share, seed) if item.role == "fewshot"}


def counts(ids: set[str]) -> dict[str, int]:
    return {label: sum(id.startswith(f"{label}-") for id in ids) for label in LABELS}


def test_a_clip_is_an_item_whose_options_are_the_classes():
    table = manifest()
    built = build(table)
    items.check(built, table["id"])
    assert [item.id for item in built] == table["id"].tolist()
    label, location = (
        dict(zip(table["id"], table[name], strict=True)) for name in ("label", "location")
    )
    for item in built:
        found = (item.question, item.skill, item.utterances, item.options)
        assert found == ("", "scene", (item.id,), LABELS)
        assert item.passage == location[item.id]
        assert item.answer == (UNKNOWN if item.role == "pool" else LABELS.index(label[item.id]))


def test_labels_of_the_pool_are_not_stored(tmp_path):
    items.write(build(manifest()), tmp_path / "items.parquet")
    pool = items.read(tmp_path / "items.parquet", "pool")
    assert {item.answer for item in pool} == {UNKNOWN}
    assert len(pool) + 16 == 4 * 20 * 2


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_drawn_subsets_are_nested_balanced_and_of_whole_segments(seed):
    table = manifest(segments=60, clips=3)
    drawn = [labelled(table, share, seed) for share in SHARES]
    for smaller, larger in pairwise(drawn):
        assert smaller < larger
    for share, ids in zip(SHARES, drawn, strict=True):
        assert counts(ids) == dict.fromkeys(LABELS, 3 * 60 * share // 100)
        inside = table.set_index("id").loc[sorted(ids)]
        whole = table[(table["split"] == "pool") & table["passage"].isin(inside["passage"])]
        assert set(whole["id"]) == ids
    assert len(drawn[-1]) == (table["split"] == "pool").sum()


def test_another_seed_draws_others_and_the_order_of_clips_does_not_matter():
    table = manifest()
    assert labelled(table, 10, 1) != labelled(table, 10, 2)
    shuffled = table.iloc[np.random.default_rng(0).permutation(len(table))].reset_index(drop=True)
    assert labelled(shuffled, 10, 1) == labelled(table, 10, 1)


def test_a_frequent_class_gives_no_more_than_a_rare_one():
    rows = [
        clip(f"{label}-{i}", label=label)
        for label, n in zip(LABELS, (300, 60, 20, 20), strict=True)
        for i in range(n)
    ]
    table = frame(rows)
    drawn = labels.drawn(table, 10, 3)
    assert table["label"][drawn].value_counts().to_dict() == dict.fromkeys(LABELS, 10)
    # of 200 each could give 50; bus gives 60 at most, the rare two all they have, airport the rest
    assert table["label"][labels.drawn(table, 50, 3)].value_counts().to_dict() == {
        "airport": 100, "bus": 60, "metro": 20, "park": 20,
    }  # fmt: skip
    assert labels.drawn(table, 100, 3).all()


def test_a_segment_is_drawn_even_where_it_is_more_than_the_share():
    table = manifest(segments=2, clips=9)
    assert counts(labelled(table, 5)) == dict.fromkeys(LABELS, 9)


def test_the_corpus_own_subsets_are_taken():
    table = manifest()
    training = table["split"] == "pool"
    table.loc[training, "subset"] = [SHARES[i % 5] for i in range(training.sum())]
    subset = pd.to_numeric(table["subset"])
    for share in SHARES:
        assert labelled(table, share) == set(table["id"][training & (subset <= share)])
    table.loc[table.index[training][0], "subset"] = None  # in no list: the pool's
    assert build(table, 100)[0].role == "pool"


def test_unlabelled_training_clips_are_the_pools():
    table = manifest()
    table = frame([*table.to_dict("records"), clip("new"), clip("newer")])
    found = {item.id: item.role for item in build(table, 100)[-2:]}
    assert found == {"new": "pool", "newer": "pool"}


def test_rejected_clips_are_no_items():
    table = manifest()
    accepted = table["id"][1:]
    built = labels.build(table, accepted, Labels(source="labels"), 3)
    assert [item.id for item in built] == accepted.tolist()


def test_without_location_the_segment_is_what_is_resampled():
    table = manifest()
    table["location"] = None
    assert {item.passage for item in build(table)} == set(table["passage"])


def spoilt(**changes) -> pd.DataFrame:
    """A corpus with changes to one clip: the last, of the test, or the one that `row` names."""
    table = manifest()
    row = changes.pop("row", len(table) - 1)
    for column, value in changes.items():
        table.at[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (spoilt(label=None), "^clip park-test-3-3-1-s5: no label, though its role is test$"),
        (
            spoilt(row=0, label=None, subset=10),
            "^clip airport-pool-0-0-0-a: no label, though its role is fewshot$",
        ),
        (
            spoilt(label="bush"),
            "^clip park-test-3-3-1-s5: label 'bush' is not that of any training clip "
            "\\(airport, bus",
        ),
        (
            spoilt(split="teacher"),
            "^clip park-test-3-3-1-s5: split 'teacher' is not one of pool, validation, test$",
        ),
        (spoilt(row=0, subset=10), "^class bus: no fewshot clip \\(3 of 4 classes lack one\\)$"),
        (
            spoilt(row=0, subset=25),
            r"^fewshot\.share=10: .* no list of that share \(of TAU 2022: split10\.csv\)",
        ),
        (
            spoilt(row=0, label="zoo"),
            "^class zoo: no validation clip \\(1 of 5 classes lack one\\)$",
        ),
    ],
)
def test_a_fault_is_named(table, message):
    with pytest.raises(ItemError, match=message):
        build(table)


@pytest.mark.parametrize("split", labels.SPLITS)
def test_a_split_that_is_not_there_is_named(split):
    table = manifest()
    with pytest.raises(ItemError, match=f"^split '{split}' has no recordings that can be used"):
        build(table[table["split"] != split])


def test_a_manifest_from_disk_is_read(tmp_path):
    table = manifest()
    assert set(table.columns) == set(SCHEMA.names)
    rows = pa.Table.from_pylist(table[SCHEMA.names].to_dict("records"), schema=SCHEMA)
    pq.write_table(rows, tmp_path / "manifest.parquet")
    assert build(read_manifest(tmp_path / "manifest.parquet")) == build(table)
