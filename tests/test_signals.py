"""A teacher's signals: right, keyed by item and view, refused when not to be trusted, resumable."""

import json
import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from learning import (
    CLASSES,
    LAYERS,
    TASK,
    WIDTH,
    clips,
    item,
    scene,
    teacher_params,
    tiny_checkpoint,
)

from earshot.features.recordings import Recordings
from earshot.models.heads import encode
from earshot.params import Cache, Views
from earshot.runtime.files import sha256, write_json
from earshot.tables import sequences
from earshot.tables.items import Item
from earshot.tables.sequences import Store
from earshot.tables.signals import DTYPES, INDEX, SignalError, Signals, identity
from earshot.teacher import cache, frames, saved
from earshot.teacher.wav2vec2 import Teacher
from earshot.training.routing import SIZE, attention

SECONDS = {f"u{i}": 0.25 + 0.03 * i for i in range(8)}
ITEMS = [
    *[item(f"q{i}", [f"u{i}"], i % 3, role="fewshot") for i in range(6)],
    item("q6", ["u1"], -1, role="pool", options=("a", "b", "c d", "e", "f")),
    item("q7", ["u6", "u7"], 1, role="fewshot", options=("yes", "no")),
]
CLIPS = [
    *[scene(f"u{i}", i % 3, ("fewshot", "pool")[i % 2]) for i in range(4)],
    scene("u4", 1, "fewshot", "u6"),
]
VIEWS = [
    (clip.id, v) for clip in CLIPS for v in (range(3) if clip.id in ("u0", "u2", "u4") else [0])
]


class Setting:
    """A saved teacher and its clips, in a folder: of choices, or `layered` of classes with
    views.
    """

    def __init__(self, root: Path, layered: bool = False, seed: int = 7):
        self.root, self.items = root, CLIPS if layered else ITEMS
        self.task = CLASSES if layered else TASK
        self.params = Cache(layers=[0, 1] if layered else [0, 2], part=2, layered=layered)
        kind, text = ("classes", None) if layered else ("choice", TASK.text)
        tuned = teacher_params(str(root / "encoder"), text=text, auxiliary=layered)
        if not (root / "teacher").exists():
            tiny_checkpoint(root / "encoder", "layer")
            torch.manual_seed(seed)
            saved.save(Teacher(tuned, self.task), self.task, tuned, root / "teacher")
        manifest = clips(root / "clips", SECONDS)
        views = Views(count=2, devices=["a"]) if layered else Views()
        self.recordings = Recordings(manifest, views, seed=3)
        self.teacher, _ = saved.load(tuned, kind, root / "teacher")
        self.identity = identity(root / "teacher")

    def write(self, folder: Path, items: list[Item] | None = None, **changes) -> None:
        params = self.params.model_copy(update=changes)
        asker = partial(frames.signals, self.teacher, self.task, self.recordings, params)
        items = items or self.items
        cache.write(folder, asker, self.identity, items, self.recordings.views, params)

    def read(self, folder: Path, items: list[Item] | None = None, **changes) -> Signals:
        settings = self.params.model_copy(update=changes).model_dump()
        views = self.recordings.views
        return Signals(folder, items or self.items, self.identity, settings, views)


@pytest.fixture(scope="module", params=["choices", "layered"])
def setting(request, tmp_path_factory) -> Setting:
    return Setting(tmp_path_factory.mktemp(request.param), request.param == "layered")


@pytest.fixture(scope="module")
def whole(setting) -> dict[str, bytes]:
    """The bytes of an undisturbed cache."""
    setting.write(setting.root / "whole")
    return contents(setting.root / "whole")


@pytest.fixture
def folder(tmp_path, whole) -> Path:
    """An undisturbed cache, to be spoilt."""
    (tmp_path / "cache").mkdir()
    for name, content in whole.items():
        (tmp_path / "cache" / name).write_bytes(content)
    return tmp_path / "cache"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def forge(folder: Path, name: str, change) -> None:
    """Rewrite a store, and its checksum too, so that only its content can give it away."""
    path = folder / f"{name}.parquet"
    store = Store(path)
    rows = change([(*key, array.copy()) for key, array in store.items()])
    with sequences.Writer(path, name, store.width, str(store.dtype)) as writer:
        writer.append(rows)
    index = json.loads((folder / INDEX).read_text())
    index["signals"][name] = sha256(path)
    write_json(folder / INDEX, index)


def count_clips(setting: Setting, monkeypatch) -> list[np.ndarray]:
    """Return the clips that the teacher is run on from now on."""
    together, clips = setting.teacher.lower_together, []
    counted = lambda some: clips.extend(some) or together(some)  # noqa: E731
    monkeypatch.setattr(setting.teacher, "lower_together", counted, raising=False)
    return clips


@torch.inference_mode()
def test_they_are_what_the_teacher_makes_of_every_item_and_view(setting, folder):
    """Against the teacher run clip by clip, without batch, store or cache."""
    signals, teacher = setting.read(folder), setting.teacher
    views = setting.recordings.views
    asked = [(one, view) for one in setting.items for view in views.get(one.id, [0])]
    for one, view in asked:
        lower = [teacher.lower(setting.recordings[u, view]) for u in one.utterances]
        states = torch.cat([each.states[-1] for each in lower])[None].half().float()
        length = torch.tensor([states.shape[1]])
        outputs = teacher.encode(states, length)[1]  # layer 1, the frozen one, first
        means = [output[0].mean(0) for output in outputs]
        encoded = encode(teacher, states, length, torch.tensor([0]))
        batch = SimpleNamespace(inputs=setting.task.inputs([one]))
        logits = setting.task.logits(teacher.head, encoded, batch)["answers"][0]
        kept = signals["logits", one.id, view]
        assert kept.shape == (len(one.options), 1) and kept.dtype == np.float32
        assert kept[:, 0] == pytest.approx(logits.numpy(), abs=1e-4)
        hidden = [means[-1 - layer].numpy() for layer in setting.params.layers]
        assert signals["hidden", one.id, view].shape == (2, WIDTH)
        assert np.allclose(signals["hidden", one.id, view], hidden, rtol=1e-3, atol=1e-3)
        if setting.params.layered:
            pairs = zip(teacher.auxiliary, means, strict=True)
            own = np.stack([head(mean).numpy() for head, mean in pairs])
            assert np.allclose(signals["layer_logits", one.id, view], own, atol=2e-3)
            maps = signals["attention", one.id, view].reshape(LAYERS, SIZE, SIZE)
            expected = torch.cat([attention(output, length) for output in outputs])
            assert np.allclose(maps, expected, atol=5e-3) and np.abs(maps).max() > 0.05
            for utterance, each in zip(one.utterances, lower, strict=True):
                front = signals["front", utterance, view]
                # clips of one length run together: the last bits of float16 may differ
                assert np.allclose(front, each.front.numpy(), rtol=1e-3, atol=1e-3)
    if setting.params.layered:
        assert [(one.id, view) for one, view in asked] == VIEWS
        assert len({signals["hidden", id, view].tobytes() for id, view in VIEWS}) == len(VIEWS)
    with pytest.raises(KeyError, match="nobody"):
        signals["logits", "nobody", 0]


def test_there_is_a_store_per_signal_and_an_index(setting, whole, folder):
    names = ["logits", "hidden"]
    if setting.params.layered:
        names += ["layer_logits", "attention", "front"]
    assert set(whole) == {INDEX, *(f"{name}.parquet" for name in names)}
    index = json.loads(whole[INDEX])
    assert index["signals"] == {name: sha256(folder / f"{name}.parquet") for name in names}
    assert index["teacher"] == setting.identity
    for name in names:
        assert Store(folder / f"{name}.parquet").dtype == DTYPES[name]


def test_they_belong_to_items_whatever_the_order_and_the_parts(setting, folder, tmp_path):
    signals, shuffled = setting.read(folder), setting.items.copy()
    random.Random(1).shuffle(shuffled)
    setting.write(tmp_path / "shuffled", shuffled)
    setting.write(tmp_path / "one", part=100)
    others = [
        setting.read(tmp_path / "shuffled", shuffled),
        setting.read(tmp_path / "one", part=100),
    ]
    forge(folder, "logits", lambda rows: rows[::-1])
    reversed_rows = setting.read(folder)
    for one in setting.items:
        for name in ("logits", "hidden"):
            kept = signals[name, one.id, 0]
            assert np.array_equal(kept, reversed_rows[name, one.id, 0])
            for other in others:
                assert np.allclose(kept, other[name, one.id, 0], atol=2e-3)


# what is refused, by name


def damage(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / INDEX).unlink(), "incomplete cache, .*index"),
        (lambda folder: (folder / INDEX).write_text('{"key":'), "incomplete cache, .*index"),
        (lambda folder: (folder / "hidden.parquet").unlink(), "hidden.parquet: missing"),
        (lambda folder: damage(folder / "hidden.parquet", 0.0), "hidden.parquet: damaged"),
        (lambda folder: damage(folder / "logits.parquet", 0.5), "logits.parquet: damaged"),
        (lambda folder: damage(folder / "logits.parquet", 0.999), "logits.parquet: damaged"),
        (
            lambda folder: forge(folder, "hidden", lambda rows: rows[1:]),
            "hidden.parquet: incomplete, .* is missing in view",
        ),
        (
            lambda folder: forge(folder, "logits", lambda rows: rows[1:]),
            "logits.parquet: incomplete, .* is missing in view",
        ),
        (
            lambda folder: forge(folder, "hidden", lambda rows: [*rows, rows[0]]),
            "hidden.parquet: a key is there twice",
        ),
    ],
)
def test_a_spoilt_cache_is_refused(setting, folder, spoil, message):
    spoil(folder)
    with pytest.raises(SignalError, match=message):
        setting.read(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(setting, folder, value):
    def spoil(rows):
        rows[1][2][-1, -1] = value
        return rows

    stores = sorted(folder.glob("*.parquet"))
    assert {"logits", "hidden"} <= {store.stem for store in stores}
    for store in stores:
        victim = list(Store(store))[1][0]
        whole = {path: path.read_bytes() for path in (store, folder / INDEX)}
        forge(folder, store.stem, spoil)
        with pytest.raises(SignalError, match=f"{store.name}: {victim} has values that are not"):
            setting.read(folder)
        for path, content in whole.items():
            path.write_bytes(content)


def test_another_teacher_other_items_views_and_settings_are_stale(setting, folder):
    views, settings = setting.recordings.views, setting.params.model_dump()
    first = setting.items[0]
    changed = [
        setting.items[:-1],
        [*setting.items, item("q8", ["u0"])],
        [item(first.id, ["u1"], role="fewshot"), *setting.items[1:]],
        [item(first.id, ["u0"], options=("x", "y", "z"), role="fewshot"), *setting.items[1:]],
    ]
    with pytest.raises(SignalError, match=f"{folder}: stale cache, made by another teacher"):
        Signals(folder, setting.items, "somebody else", settings, views)
    for items in changed:
        with pytest.raises(SignalError, match=f"{folder}: stale cache, made for other items"):
            setting.read(folder, items)
    with pytest.raises(SignalError, match="other items, views or settings"):
        setting.read(folder, layers=[0])
    with pytest.raises(SignalError, match="other items, views or settings"):
        Signals(folder, setting.items, setting.identity, settings, views | {"u0": [0, 1]})


# resuming


def test_each_utterance_and_view_is_run_once(setting, tmp_path, monkeypatch):
    clips = count_clips(setting, monkeypatch)
    setting.write(tmp_path / "cache")
    # u1 is asked about twice; u0, u2, u4 + u6 have three views, u1 and u3 one
    assert len(clips) == (14 if setting.params.layered else len(SECONDS))


def kill_in_the_third_part(root: str, layered: str) -> None:
    """Write the cache, and die while half of the third part is on disk."""
    written = sequences.Writer._write_group

    def write_group(self, rows):
        written(self, rows)
        if "00002" in str(self._path):
            os.kill(os.getpid(), signal.SIGKILL)

    sequences.Writer._write_group = write_group
    Setting(Path(root), layered == "True").write(Path(root) / "killed")


@pytest.mark.slow
def test_killed_in_the_middle_a_rerun_ends_in_the_same_bytes(setting, whole, monkeypatch):
    script = "import sys, test_signals; test_signals.kill_in_the_third_part(*sys.argv[1:])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, str(setting.root), str(setting.params.layered)]
    child = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    killed = setting.root / "killed"
    with pytest.raises(SignalError, match="incomplete cache"):
        setting.read(killed)
    (parts,) = killed.iterdir()
    assert [part.name for part in sorted(parts.glob("0*"))] == ["00000", "00001"]
    clips = count_clips(setting, monkeypatch)
    setting.write(killed)
    # the two parts that were whole are kept: of clips with views, all but u4 + u6 in three
    assert len(clips) == (6 if setting.params.layered else 4)
    assert contents(killed) == whole and not parts.exists()
    setting.read(killed)


def test_parts_of_another_teacher_are_never_taken_over(tmp_path):
    one, other = Setting(tmp_path / "one"), Setting(tmp_path / "other", seed=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "merge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            one.write(tmp_path / "cache")
    other.write(tmp_path / "cache")
    other.write(tmp_path / "fresh")
    assert contents(tmp_path / "cache") == contents(tmp_path / "fresh")
