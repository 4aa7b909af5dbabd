"""The teacher's answers in Parquet: right, keyed by item, refused when not to be trusted,
resumable.
"""

import json
import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from learning import TEXT, WIDTH, clips, item, teacher_params, tiny_checkpoint

from earshot.features.recordings import Recordings
from earshot.models.wav2vec2 import Teacher
from earshot.params import Cache
from earshot.runtime.files import sha256, write_json
from earshot.tables.items import Item
from earshot.teacher import cache as teacher_cache
from earshot.teacher import finetune
from earshot.teacher.cache import CacheError, TeacherCache, write
from earshot.text import encode_item

PARAMS = Cache(layers=[0, 2], part=2)
SECONDS = {f"u{i}": 0.25 + 0.03 * i for i in range(8)}
ITEMS = [
    *[item(f"q{i}", [f"u{i}"], i % 3, role="fewshot") for i in range(6)],
    item(
        "q6",
        ["u1"],
        -1,
        role="pool",
        question="which words are said",
        options=("a", "b", "c d", "e", "f"),
    ),
    item("q7", ["u6", "u7"], 1, role="fewshot", options=("yes", "no")),
]
PARTS = [f"part-{number:05}.parquet" for number in range(4)]  # seven passages, two to a part


class Setting:
    """A saved teacher and its clips, in a folder."""

    def __init__(self, root: Path, seed: int = 7):
        self.root, self.checkpoint = root, str(root / "encoder")
        if not (root / "teacher").exists():
            tiny_checkpoint(root / "encoder", "layer")
            clips(root / "clips", SECONDS)
            torch.manual_seed(seed)
            finetune.save(
                Teacher(teacher_params(self.checkpoint)),
                teacher_params(self.checkpoint),
                root / "teacher",
            )
        paths = [str(root / "clips" / f"{id}.wav") for id in SECONDS]
        self.recordings = Recordings(pd.DataFrame({"id": list(SECONDS), "path": paths}))
        self.teacher = finetune.load(teacher_params(self.checkpoint), root / "teacher")
        self.identity = teacher_cache.identity(root / "teacher")

    def write(self, folder: Path, items: list[Item] = ITEMS, params: Cache = PARAMS) -> None:
        rows = partial(finetune.cache_rows, self.teacher, self.recordings, TEXT, params)
        write(folder, rows, self.identity, items, self.recordings.views, params)

    def read(self, folder: Path, items: list[Item] = ITEMS, params: Cache = PARAMS) -> TeacherCache:
        return TeacherCache(folder, items, self.identity, params, self.recordings.views)

    @torch.inference_mode()
    def ask(self, asked: Item) -> tuple[np.ndarray, np.ndarray]:
        """Return logits `(C,)` and the means of layers 0 and 2 from the top, without batch, store
        or cache.
        """
        heard = [self.teacher.lower(self.recordings[u, 0]).states[-1] for u in asked.utterances]
        states = torch.cat(heard).half().float()
        outputs = self.teacher.upper(states[None], torch.tensor([len(states)]))
        question, options = encode_item(asked.question, asked.options, TEXT.buckets)
        logits = self.teacher.head(
            outputs[0].mean(1), torch.from_numpy(question)[None], torch.from_numpy(options)[None]
        )
        return logits[0].numpy(), torch.stack(
            [outputs[0][0].mean(0), outputs[2][0].mean(0)]
        ).numpy()


@pytest.fixture(scope="module")
def setting(tmp_path_factory) -> Setting:
    return Setting(tmp_path_factory.mktemp("setting"))


@pytest.fixture(scope="module")
def whole(setting) -> dict[str, bytes]:
    """The bytes of an undisturbed cache."""
    setting.write(setting.root / "whole")
    return contents(setting.root / "whole")


@pytest.fixture
def folder(tmp_path, whole) -> Path:
    """An undisturbed cache, to be spoilt."""
    return spread(whole, tmp_path / "cache")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def spread(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def forge(folder: Path, part: str, change) -> None:
    """Rewrite a part, and its checksum too, so that only its content can give it away."""
    rows = pq.read_table(folder / part).to_pylist()
    pq.write_table(
        pa.Table.from_pylist(change(rows), schema=pq.read_schema(folder / part)), folder / part
    )
    index = json.loads((folder / "index.json").read_text())
    index["parts"][part] = sha256(folder / part)
    write_json(folder / "index.json", index)


def count_lower(setting: Setting, monkeypatch) -> list[int]:
    lower, calls = setting.teacher.lower, []
    monkeypatch.setattr(
        setting.teacher,
        "lower",
        lambda samples: calls.append(len(samples)) or lower(samples),
        raising=False,
    )
    return calls


# what it holds


def test_it_holds_what_the_teacher_says(setting, folder):
    cache = setting.read(folder)
    for asked in ITEMS:
        logits, hidden = setting.ask(asked)
        assert cache.said(asked.id)["logits"].shape == (len(asked.options),)
        assert cache.said(asked.id)["logits"] == pytest.approx(logits, abs=1e-5)
        assert cache.said(asked.id)["hidden"].shape == (2, WIDTH)
        assert cache.said(asked.id)["hidden"].dtype == np.float16
        assert np.allclose(cache.said(asked.id)["hidden"], hidden, rtol=1e-3, atol=1e-4)
    assert np.ptp([cache.said(asked.id)["logits"][0] for asked in ITEMS[:6]]) > 1e-3
    with pytest.raises(KeyError, match="nobody"):
        cache.said("nobody")


def test_parts_follow_the_documented_schema(setting, whole, folder):
    assert sorted(whole) == ["index.json", *PARTS]
    index = json.loads(whole["index.json"])
    assert index["parts"] == {part: sha256(folder / part) for part in PARTS}
    assert index["teacher"] == setting.identity
    for part in PARTS:
        table = pq.read_table(folder / part)
        assert table.column_names == [
            "item",
            "view",
            "logits",
            "hidden",
            "layer_logits",
            "attention",
        ]
        # not asked for
        assert table["layer_logits"].null_count == table["attention"].null_count == len(table)
        assert table.schema.field("logits").type == pa.list_(pa.float32())
        assert table.schema.field("hidden").type == pa.binary()
        assert set(table["view"].to_pylist()) == {0}
        assert json.loads(table.schema.metadata[b"earshot"])["teacher"] == setting.identity


def test_answers_belong_to_items_not_to_rows(setting, folder, tmp_path):
    cache, shuffled = setting.read(folder), ITEMS.copy()
    random.Random(1).shuffle(shuffled)
    setting.write(tmp_path / "shuffled", shuffled)
    other = setting.read(tmp_path / "shuffled", shuffled)
    for asked in ITEMS:
        assert np.array_equal(cache.said(asked.id)["logits"], other.said(asked.id)["logits"])
        assert np.array_equal(cache.said(asked.id)["hidden"], other.said(asked.id)["hidden"])


def test_rows_may_lie_in_any_order(setting, folder):
    before = {asked.id: setting.read(folder).said(asked.id)["logits"] for asked in ITEMS}
    for part in PARTS:
        forge(folder, part, lambda rows: rows[::-1])
    after = setting.read(folder)
    assert all(np.array_equal(before[asked.id], after.said(asked.id)["logits"]) for asked in ITEMS)


def test_cutting_into_other_parts_changes_no_answer(setting, folder, tmp_path):
    one = Cache(layers=[0, 2], part=100)
    setting.write(tmp_path / "one", params=one)
    assert sorted(contents(tmp_path / "one")) == ["index.json", PARTS[0]]
    cache, other = setting.read(folder), setting.read(tmp_path / "one", params=one)
    for asked in ITEMS:
        assert cache.said(asked.id)["logits"] == pytest.approx(
            other.said(asked.id)["logits"], abs=1e-5
        )


def test_layers_below_the_tuned_ones_can_be_kept_too(setting, tmp_path):
    params, views = Cache(layers=[1, 2], part=2), setting.recordings.views
    frozen = Teacher(teacher_params(setting.checkpoint, tuned_layers=0)).eval()
    write(
        tmp_path,
        partial(finetune.cache_rows, frozen, setting.recordings, TEXT, params),
        "frozen",
        ITEMS,
        views,
        params,
    )
    cache = TeacherCache(tmp_path, ITEMS, "frozen", params, views)
    for asked in ITEMS:
        # input, then three layers
        heard = [frozen.lower(setting.recordings[u, 0]).states for u in asked.utterances]
        means = [torch.cat([states[layer] for states in heard]).mean(0) for layer in (2, 1)]
        assert np.allclose(
            cache.said(asked.id)["hidden"], torch.stack(means).numpy(), rtol=1e-3, atol=1e-3
        )


# what is refused, by name


def test_without_an_index_it_is_incomplete(setting, folder):
    (folder / "index.json").unlink()
    with pytest.raises(CacheError, match=rf"{folder}: incomplete cache, .*index\.json"):
        setting.read(folder)


def test_a_garbled_index_is_refused(setting, folder):
    (folder / "index.json").write_text((folder / "index.json").read_text()[:-20])
    with pytest.raises(CacheError, match=rf"{folder}: .*index\.json"):
        setting.read(folder)


def test_a_missing_part_is_named(setting, folder):
    (folder / PARTS[2]).unlink()
    with pytest.raises(CacheError, match=f"{PARTS[2]}: missing part"):
        setting.read(folder)


@pytest.mark.parametrize("place", [0, 0.3, 0.6, 0.999])
def test_one_flipped_byte_is_noticed(setting, folder, place):
    content = bytearray((folder / PARTS[1]).read_bytes())
    content[int(place * len(content))] ^= 1
    (folder / PARTS[1]).write_bytes(content)
    with pytest.raises(CacheError, match=f"{PARTS[1]}: damaged part"):
        setting.read(folder)


def test_a_truncated_part_is_named(setting, folder):
    (folder / PARTS[3]).write_bytes((folder / PARTS[3]).read_bytes()[:-50])
    with pytest.raises(CacheError, match=f"{PARTS[3]}: damaged part"):
        setting.read(folder)


def test_another_teacher_is_stale(folder):
    with pytest.raises(CacheError, match=f"{folder}: stale cache, made by another teacher"):
        TeacherCache(folder, ITEMS, "somebody else", PARAMS, {id: [0] for id in SECONDS})


@pytest.mark.parametrize(
    "items",
    [
        ITEMS[:-1],
        [*ITEMS, item("q8", ["u0"])],
        [item("q0", ["u0"], question="what did he lose", role="fewshot"), *ITEMS[1:]],
        [item("q0", ["u0"], options=("a bike", "two lamps", "rain"), role="fewshot"), *ITEMS[1:]],
        [item("q0", ["u1"], role="fewshot"), *ITEMS[1:]],
    ],
    ids=["one less", "one more", "other question", "other option", "other audio"],
)
def test_other_items_are_stale(setting, folder, items):
    with pytest.raises(CacheError, match=f"{folder}: stale cache, made for other items"):
        setting.read(folder, items)


def test_other_layers_are_stale(setting, folder):
    with pytest.raises(
        CacheError, match=f"{folder}: stale cache, made for other items, views or settings"
    ):
        setting.read(folder, params=Cache(layers=[0, 1], part=2))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("column", ["logits", "hidden"])
def test_values_that_are_not_finite_are_named(setting, folder, column, value):
    def spoil(rows):
        numbers = (
            np.array(rows[0]["logits"])
            if column == "logits"
            else np.frombuffer(rows[0]["hidden"], np.float16).copy()
        )
        numbers[-1] = value
        rows[0][column] = numbers.tolist() if column == "logits" else numbers.tobytes()
        return rows

    victim = pq.read_table(folder / PARTS[0])["item"][0].as_py()
    forge(folder, PARTS[0], spoil)
    with pytest.raises(
        CacheError, match=f"{PARTS[0]}: item {victim} has values that are not finite"
    ):
        setting.read(folder)


def test_a_teacher_that_says_nan_is_found_out(setting, tmp_path, monkeypatch):
    monkeypatch.setattr(
        setting.teacher.head, "forward", lambda pooled, questions, options: pooled[:, :3] * np.nan
    )
    with pytest.raises(CacheError, match=r"item q\d .*not finite"):
        setting.write(tmp_path / "cache")
        setting.read(tmp_path / "cache")


def test_a_doubled_item_is_named(setting, folder):
    doubled = pq.read_table(folder / PARTS[0]).to_pylist()[0]
    forge(folder, PARTS[2], lambda rows: [*rows, doubled])
    with pytest.raises(CacheError, match=f"{PARTS[2]}: item {doubled['item']} is there twice"):
        setting.read(folder)


def test_a_missing_item_is_named(setting, folder):
    lost = pq.read_table(folder / PARTS[1])["item"][0].as_py()
    forge(folder, PARTS[1], lambda rows: rows[1:])
    with pytest.raises(
        CacheError, match=f"{folder}: incomplete cache, 1 items are missing, {lost} first"
    ):
        setting.read(folder)


def test_other_columns_are_named(setting, folder):
    pq.write_table(pa.table({"item": ["q0"], "scores": [[1.0]]}), folder / PARTS[0])
    index = json.loads((folder / "index.json").read_text())
    write_json(
        folder / "index.json",
        index | {"parts": index["parts"] | {PARTS[0]: sha256(folder / PARTS[0])}},
    )
    with pytest.raises(CacheError, match=f"{PARTS[0]}: damaged part, its columns are item, scores"):
        setting.read(folder)


# resuming


@pytest.mark.parametrize("left", [[], [0], [1, 3], [0, 1, 2, 3]])
def test_only_missing_parts_are_computed_again(setting, folder, whole, monkeypatch, left):
    (folder / "index.json").unlink()
    for number in set(range(4)) - set(left):
        (folder / PARTS[number]).unlink()
    calls = count_lower(setting, monkeypatch)
    setting.write(folder)
    # passages in order of their length in utterances, then of name: u0 u1 · u2 u3 · u4 u5 · u6+u7
    assert len(calls) == 2 * (4 - len(left))
    assert contents(folder) == whole


def test_each_utterance_is_heard_once(setting, tmp_path, monkeypatch):
    calls = count_lower(setting, monkeypatch)
    setting.write(tmp_path / "cache")
    assert len(calls) == len(SECONDS)  # u1 is asked about twice


def kill_in_the_third_part(root: str) -> None:
    """Write the cache, and die while half of the third part is on disk."""
    written = pq.write_table

    def write_table(table, path, **options):
        written(table, path, **options)
        if "00002" in path.name:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    pq.write_table = write_table
    Setting(Path(root)).write(Path(root) / "killed")


def test_killed_in_the_middle_a_rerun_ends_in_the_same_bytes(setting, whole, monkeypatch):
    script = (
        "import sys, test_teacher_cache; test_teacher_cache.kill_in_the_third_part(sys.argv[1])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    child = subprocess.run(
        [sys.executable, "-c", script, str(setting.root)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    killed = setting.root / "killed"
    assert [path.name for path in sorted(killed.glob("*.parquet"))] == PARTS[:2]
    with pytest.raises(CacheError, match="incomplete cache"):
        setting.read(killed)
    calls = count_lower(setting, monkeypatch)
    setting.write(killed)
    assert len(calls) == 4  # the two parts that were whole are kept
    assert {
        name: content for name, content in contents(killed).items() if not name.startswith(".")
    } == whole
    setting.read(killed)


def test_what_a_killed_writer_left_half_done_is_cleared_away(setting, folder, whole):
    (folder / "index.json").unlink()
    (folder / f".{PARTS[2]}.partial-12345").write_bytes(b"half")
    setting.write(folder)
    assert contents(folder) == whole


def test_parts_of_another_teacher_are_never_taken_over(setting, folder, tmp_path):
    other = Setting(tmp_path / "other", seed=8)
    (folder / "index.json").unlink()
    (folder / PARTS[3]).unlink()
    other.write(folder)
    other.write(tmp_path / "fresh")
    assert contents(folder) == contents(tmp_path / "fresh")
