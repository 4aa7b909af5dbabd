"""The layered cache: views, each layer's answer and attention map, the front end's frames; whole
wherever it is killed.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from learning import LAYERS, SCENES, clips, scene, teacher_params, tiny_checkpoint
from test_teacher_cache import PARTS, SECONDS, Setting, contents, count_lower, forge, spread

from earshot.features.recordings import Recordings
from earshot.models.wav2vec2 import Lower, Teacher
from earshot.params import Cache, Views
from earshot.tables.items import Item
from earshot.tables.sequences import Store
from earshot.teacher import cache as teacher_cache
from earshot.teacher import finetune
from earshot.teacher.cache import CacheError, TeacherCache, write
from earshot.training.routing import SIZE, attention

LAYERED = Cache(layers=[0, 1], part=2, layered=True)
SCENE_ITEMS = [
    *[scene(f"u{i}", i % 3, ("fewshot", "pool")[i % 2]) for i in range(4)],
    scene("u4", 1, "fewshot", "u6"),
]
FRAMES = [f"frames-{number:05}.parquet" for number in range(3)]  # five passages, two to a part
KEYS = [
    (clip.id, view)
    for clip in SCENE_ITEMS
    for view in (range(3) if clip.id in ("u0", "u2", "u4") else [0])
]


class Layered(Setting):
    """A teacher of classes with a head for every layer; clips of device a have views."""

    def __init__(self, root: Path):
        self.root = root
        params = teacher_params(
            tiny_checkpoint(root / "encoder", "layer"), text=None, auxiliary=True
        )
        self.recordings = Recordings(
            clips(root / "clips", SECONDS), Views(count=2, devices=["a"]), seed=3
        )
        torch.manual_seed(7)
        finetune.save(Teacher(params, 3), params, root / "teacher", SCENES)
        self.teacher, self.identity = (
            finetune.load(params, root / "teacher"),
            teacher_cache.identity(root / "teacher"),
        )

    def write(self, folder: Path, items: list[Item] = SCENE_ITEMS, params: Cache = LAYERED) -> None:
        rows = partial(finetune.cache_rows, self.teacher, self.recordings, None, params)
        write(folder, rows, self.identity, items, self.recordings.views, params)

    def read(
        self, folder: Path, items: list[Item] = SCENE_ITEMS, params: Cache = LAYERED
    ) -> TeacherCache:
        return TeacherCache(folder, items, self.identity, params, self.recordings.views)


@pytest.fixture(scope="module")
def layered(tmp_path_factory) -> Layered:
    return Layered(tmp_path_factory.mktemp("layered"))


@pytest.fixture(scope="module")
def layered_whole(layered) -> dict[str, bytes]:
    layered.write(layered.root / "whole")
    return contents(layered.root / "whole")


@pytest.fixture
def layered_folder(tmp_path, layered_whole) -> Path:
    return spread(layered_whole, tmp_path / "cache")


@torch.inference_mode()
def test_layered_it_holds_what_every_layer_says_of_every_view(layered, layered_folder):
    cache, seen = layered.read(layered_folder), {}
    for clip in SCENE_ITEMS:
        for view in [view for id, view in KEYS if id == clip.id]:
            heard = [layered.teacher.lower(layered.recordings[u, view]) for u in clip.utterances]
            states = torch.cat([own.states[-1] for own in heard])[None]
            # layer 1, the frozen one, first
            outputs = layered.teacher.upper(states, torch.tensor([states.shape[1]]))[::-1]
            said = cache.said(clip.id, view)
            means = [output[0].mean(0) for output in outputs]
            logits = [
                head(mean).numpy()
                for head, mean in zip(layered.teacher.auxiliary, means, strict=True)
            ]
            maps = [
                attention(output, torch.tensor([output.shape[1]]))[0].numpy() for output in outputs
            ]
            assert said["logits"] == pytest.approx(
                layered.teacher.head(means[-1][None])[0].numpy(), abs=2e-3
            )
            assert np.allclose(
                said["hidden"], torch.stack([means[2], means[1]]).numpy(), rtol=1e-3, atol=1e-3
            )
            assert (
                said["layer_logits"].shape == (LAYERS, 3)
                and said["layer_logits"].dtype == np.float32
            )
            assert np.allclose(said["layer_logits"], np.stack(logits), atol=2e-3)
            assert (
                said["attention"].shape == (LAYERS, SIZE, SIZE)
                and said["attention"].dtype == np.float16
            )
            assert np.allclose(said["attention"], np.stack(maps), atol=5e-3)
            assert np.abs(said["attention"]).max() > 0.05
            frames = cache.frames(clip, view)
            assert np.array_equal(
                frames, np.concatenate([own.front.half().numpy() for own in heard])
            )
            seen[clip.id, view] = frames
    assert list(seen) == KEYS and len(KEYS) == 11
    assert len({frames.tobytes() for frames in seen.values()}) == len(KEYS)
    for missing in (("u1", 1), ("u0", 3)):
        with pytest.raises(KeyError):
            cache.said(*missing)


def test_layered_parts_have_frames_beside_them(layered, layered_whole, layered_folder):
    assert sorted(layered_whole) == [*FRAMES, "index.json", *PARTS[:3]]
    assert json.loads(layered_whole["index.json"])["parts"].keys() == {*FRAMES, *PARTS[:3]}
    for frames, part in zip(FRAMES, PARTS, strict=False):
        rows = pq.read_table(layered_folder / part).select(["item", "view"]).to_pylist()
        asked = {row["item"]: row["view"] for row in rows}
        heard = {
            (u, row["view"])
            for row in rows
            for clip in SCENE_ITEMS
            if clip.id == row["item"]
            for u in clip.utterances
        }
        assert set(Store(layered_folder / frames)) == heard and asked


def test_layered_cutting_into_other_parts_changes_no_answer(layered, layered_folder, tmp_path):
    one = LAYERED.model_copy(update={"part": 100})
    layered.write(tmp_path / "one", params=one)
    cache, other = layered.read(layered_folder), layered.read(tmp_path / "one", params=one)
    for id, view in KEYS:
        for name, value in cache.said(id, view).items():
            assert np.allclose(value, other.said(id, view)[name], atol=2e-3), name


@pytest.mark.parametrize("place", [0, 0.5, 0.999])
def test_a_damaged_frames_part_is_refused(layered, layered_folder, place):
    content = bytearray((layered_folder / FRAMES[1]).read_bytes())
    content[int(place * len(content))] ^= 1
    (layered_folder / FRAMES[1]).write_bytes(content)
    with pytest.raises(CacheError, match=f"{FRAMES[1]}: damaged part"):
        layered.read(layered_folder)
    (layered_folder / FRAMES[1]).unlink()
    with pytest.raises(CacheError, match=f"{FRAMES[1]}: missing part"):
        layered.read(layered_folder)


def test_other_views_are_stale(layered, layered_folder):
    views = layered.recordings.views | {"u0": [0, 1]}
    with pytest.raises(
        CacheError, match=f"{layered_folder}: stale cache, made for other items, views or settings"
    ):
        TeacherCache(layered_folder, SCENE_ITEMS, layered.identity, LAYERED, views)


@pytest.mark.parametrize("column", ["layer_logits", "attention"])
def test_layered_values_that_are_not_finite_are_named(layered, layered_folder, column):
    def spoil(rows):
        kind = np.float32 if column == "layer_logits" else np.float16
        numbers = np.frombuffer(rows[1][column], kind).copy()
        numbers[-1] = np.nan
        rows[1][column] = numbers.tobytes()
        return rows

    forge(layered_folder, PARTS[0], spoil)
    with pytest.raises(CacheError, match=f"{PARTS[0]}: item u0 has values that are not finite"):
        layered.read(layered_folder)


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "where", ["while hearing", "while frames are written", "before the part", "while the part is"]
)
def test_killed_anywhere_a_layered_rerun_ends_in_the_same_bytes(
    layered, layered_whole, tmp_path, monkeypatch, where
):
    folder = tmp_path / "cache"
    with monkeypatch.context() as patch:
        if where == "while hearing":
            lower, calls = layered.teacher.lower, []

            def fails(samples):
                calls.append(1)
                if len(calls) == 7:  # the first part takes four
                    raise Killed
                return lower(samples)

            patch.setattr(layered.teacher, "lower", fails, raising=False)
        elif where == "while frames are written":
            writer = pq.ParquetWriter.write_table
            opened = []

            def half(self, table, *arguments, **options):
                opened.append(1)
                if len(opened) == 3:  # frames, the part, the frames of the second
                    raise Killed
                writer(self, table, *arguments, **options)

            patch.setattr(pq.ParquetWriter, "write_table", half)
        else:
            written, parts = pq.write_table, []

            def write_table(table, path, **options):
                parts.append(path)
                if len(parts) == 2:
                    if where == "while the part is":
                        written(table, path, **options)
                    raise Killed
                written(table, path, **options)

            patch.setattr(pq, "write_table", write_table)
        with pytest.raises(Killed):
            layered.write(folder)
    for number in range(3):  # where the part is, its frames are complete
        if (folder / PARTS[number]).exists():
            assert (folder / FRAMES[number]).read_bytes() == layered_whole[FRAMES[number]]
    assert not (folder / PARTS[1]).exists()
    with pytest.raises(CacheError, match="incomplete cache"):
        layered.read(folder)
    kept = (folder / PARTS[0]).exists()
    calls = count_lower(layered, monkeypatch)
    layered.write(folder)
    # u0, u2, u4 + u6 in three views, u1 and u3 in one
    assert len(calls) == (14 - 4 if kept else 14)
    assert contents(folder) == layered_whole


@pytest.mark.parametrize("lost", [FRAMES[1], PARTS[1]])
def test_a_part_or_its_frames_alone_is_written_again(
    layered, layered_folder, layered_whole, monkeypatch, lost
):
    (layered_folder / "index.json").unlink()
    (layered_folder / lost).unlink()
    calls = count_lower(layered, monkeypatch)
    layered.write(layered_folder)
    assert len(calls) == 4  # u2 in three views, u3
    assert contents(layered_folder) == layered_whole


def test_frames_of_one_teacher_never_stay_beside_the_part_of_another(
    layered, layered_folder, layered_whole, monkeypatch
):
    """Another teacher's run, killed between frames and part, leaves nothing that looks whole."""
    (layered_folder / "index.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(layered, "identity", "somebody else")
        lower = layered.teacher.lower
        changed = lambda samples: Lower(lower(samples).front + 1, lower(samples).states)  # noqa: E731
        patch.setattr(layered.teacher, "lower", changed, raising=False)

        def refuse(*_, **__):
            raise Killed

        patch.setattr(pq, "write_table", refuse)
        with pytest.raises(Killed):
            layered.write(layered_folder)
    assert (layered_folder / FRAMES[0]).read_bytes() != layered_whole[FRAMES[0]]
    layered.write(layered_folder)
    assert contents(layered_folder) == layered_whole
