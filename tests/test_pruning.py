"""Pruned students: of dead units nothing is missed; smaller in every form, and the same bytes when
training was killed.
"""

import json

import numpy as np
import onnx
import pytest
import torch
from learning import TASK as CHOICE
from learning import TEXT, copied, item, noting, same
from test_transcript_students import TASK, World

from earshot.distillation.distill import Distillation, Distilled
from earshot.distillation.objective import Objective
from earshot.export import size
from earshot.export.agreement import Clip
from earshot.export.students import Exporter
from earshot.models import checkpoint
from earshot.models.heads import MatchingHead
from earshot.models.pruning import Group, Place, inherit, norms
from earshot.models.students import STUDENTS, load_student, metadata
from earshot.params import (
    BiLSTM,
    Conformer,
    ConvNeXt,
    Distill,
    Features,
    Frames,
    Prune,
    Recipe,
    Terms,
)
from earshot.tables.items import Item
from earshot.training.batches import collate
from earshot.training.output import run

FRONT, FORMS = Features(), ("float", "int8")
BILSTM = BiLSTM(name="bilstm", hidden=12, layers=2, stack=2)
SPEAKING = BILSTM.model_copy(update={"languages": ["de", "en"], "language": "predicted"})
READING = {pool: TEXT.model_copy(update={"pool": pool}) for pool in ("mean", "attend", "match")}
CONFORMER = Conformer(name="conformer", width=16, layers=2, heads=4, kernel=5, stride=2, feed=24)
CONVNEXT = ConvNeXt(name="convnext", width=16, layers=2, kernel=5, feed=24)


def made(params, task=TASK, n_mels=8, seed=0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return STUDENTS[params.name](params, n_mels, task).eval()


def deaden_lstm(student, dead: list[list[int]]) -> None:
    """Zero hidden units, of each layer's two directions: their gates, and who reads them."""
    readers = [*zip(student.ahead, student.behind, strict=True)][1:]
    for layer, pair in enumerate(zip(student.ahead, student.behind, strict=True)):
        for place, (lstm, units) in enumerate(zip(pair, dead, strict=True)):
            for tensor in lstm.parameters():
                tensor.view(4, lstm.hidden_size, -1)[:, units] = 0
            lstm.weight_hh_l0[:, units] = 0
            columns = [place * lstm.hidden_size + unit for unit in units]
            if layer < len(readers):
                for above in readers[layer]:
                    above.weight_ih_l0[:, columns] = 0
            elif hasattr(student.head, "weight"):
                heads = [student.head, getattr(student.head, "language", None)]
                for linear in filter(None, heads):
                    linear.weight[:, columns] = 0
            elif isinstance(student.head, MatchingHead):
                student.head.tokens.weight[:, columns] = 0
                student.head.gate.weight[columns] = 0
                student.head.gate.bias[columns] = 0
            else:
                layers = [student.head.embed[2], getattr(student.head, "key", None)]
                for linear in filter(None, layers):
                    linear.weight[columns] = 0
                    linear.bias[columns] = 0


def deaden_conformer(student, units: list[int], heads: list[int]) -> None:
    """Zero units of the feed-forward layers, and heads of attention."""
    for block in student.blocks:
        for feed in (block.before, block.behind):
            feed[1].weight[units] = 0
            feed[1].bias[units] = 0
            feed[4].weight[:, units] = 0
        attention = block.attention
        for tensor in (attention.qkv.weight, attention.qkv.bias):
            tensor.view(3, attention.heads, attention.units, -1)[:, heads] = 0
        attention.out.weight.view(16, attention.heads, -1)[:, heads] = 0


def outputs(student, task, heard) -> np.ndarray:
    mel, group = heard
    _, output = run(student, task, collate([group], mel, task))
    every = [one.flatten() for name, one in output.logits.items() if name != "frame_counts"]
    return torch.cat(every).detach().numpy()


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("head", ["symbols", "languages", *READING])
def test_of_dead_units_nothing_is_missed(head, world):
    text = READING.get(head)
    params = SPEAKING if head == "languages" else BILSTM.model_copy(update={"text": text})
    task = type(CHOICE)(text) if text else TASK
    full, dead = made(params, task), [[0, 3, 4, 7, 8, 11], [1, 2, 3, 5, 9, 10]]
    with torch.no_grad():
        deaden_lstm(full, dead)
    small = made(params.pruned(0.5), task, seed=1)
    inherit(small, full)
    assert small.ahead[1].weight_ih_l0.shape == (4 * 6, 2 * 6)
    asked = question(world) if text else world.asked[0]
    heard = world.mel, (asked.utterances, 0, [asked])
    assert np.allclose(outputs(small, task, heard), outputs(full, task, heard), atol=1e-6)


def question(world: World) -> Item:
    """An item with a question about the first clip."""
    return item("q", [world.asked[0].id])


def test_of_dead_feed_forward_units_and_heads_neither(world):
    full = made(CONFORMER)
    with torch.no_grad():
        deaden_conformer(full, [*range(0, 24, 2)], [0, 3])
    small = made(CONFORMER.pruned(0.5), seed=1)
    inherit(small, full)
    attention = small.blocks[0].attention
    assert attention.qkv.weight.shape == (3 * 2 * 4, 16) and attention.out.weight.shape == (16, 8)
    assert small.blocks[1].behind[4].weight.shape == (16, 12)
    asked = world.asked[0]
    heard = world.mel, (asked.utterances, 0, [asked])
    assert np.allclose(outputs(small, TASK, heard), outputs(full, TASK, heard), atol=1e-6)


def test_nor_of_the_units_that_mix_frames(world):
    full, dead = made(CONVNEXT), [*range(0, 24, 2)]
    with torch.no_grad():
        for block in full.blocks:
            for tensor in (block.wider.weight, block.wider.bias):
                tensor[dead] = 0
            block.narrower.weight[:, dead] = 0
    small = made(CONVNEXT.pruned(0.5), seed=1)
    inherit(small, full)
    assert small.blocks[1].narrower.weight.shape == (16, 12)
    asked = world.asked[0]
    heard = world.mel, (asked.utterances, 0, [asked])
    assert np.allclose(outputs(small, TASK, heard), outputs(full, TASK, heard), atol=1e-6)


def test_a_unit_weighs_the_norm_of_all_that_makes_or_reads_it():
    rows = torch.tensor([[1.0, 0], [0, 2], [2, 0], [0, 0]])  # two units, twice
    reads = torch.tensor([[9.0, 2, 1]])  # from the second column on
    group = Group(2, [Place("rows", 0, repeats=2), Place("reads", 1, 1)])
    assert norms(group, {"rows": rows, "reads": reads}).tolist() == pytest.approx([3, 5**0.5])


TERMS = Terms(frames=Frames(weight=1.0, select="symmetric", around=1))
HALF = Prune(share=0.5, epochs=2)


def learn(world: World, scratch, params=BILSTM, prune=HALF, on_epoch=lambda *_: None):
    recipe = Recipe(track="any", data=["pool"], epochs=2, terms=TERMS, prune=prune)
    pool, validation = world.items["pool"][:12], world.items["validation"][:4]
    told = (world.mel, pool, validation, world.signals, 0)
    settings = Distill(batch=6, learning_rate=0.02)
    return Distillation(recipe, params, settings, TASK, *told, scratch, on_epoch).run()


@pytest.fixture(scope="module")
def straight(world, tmp_path_factory) -> tuple[Distilled, list]:
    history = []
    return learn(world, tmp_path_factory.mktemp("straight"), on_epoch=noting(history)), history


@pytest.mark.parametrize("killed_after", [0, 1, 2])
@pytest.mark.parametrize("within", [False, True], ids=["between epochs", "within an epoch"])
def test_killed_and_run_again_it_ends_in_the_same_bytes(
    world, tmp_path, monkeypatch, straight, killed_after, within
):
    whole, expected = straight
    assert [epoch for epoch, _ in expected] == [0, 1, 2, 3]

    def killed(*_):
        raise KeyboardInterrupt

    def on_epoch(epoch, _):
        if epoch == killed_after:
            monkeypatch.setattr(Objective, "forward", killed) if within else killed()

    with pytest.raises(KeyboardInterrupt):
        learn(world, tmp_path, on_epoch=on_epoch)
    monkeypatch.undo()
    history = []
    resumed = learn(world, tmp_path, on_epoch=noting(history))
    assert history == expected
    assert same(copied(resumed.student), copied(whole.student))


def test_pruned_it_goes_on_from_where_it_was(world, straight, tmp_path):
    whole, history = straight
    alone = learn(world, tmp_path, prune=None)
    assert alone.student.ahead[0].hidden_size == 12 and whole.student.ahead[0].hidden_size == 6
    losses = [scores["loss"] for _, scores in history]
    assert losses[2] < losses[0]


@pytest.mark.parametrize("params", [BILSTM, CONFORMER, CONVNEXT], ids=lambda params: params.name)
def test_the_smaller_student_is_what_files_hold(params, tmp_path):
    full, small = made(params, n_mels=40), made(params.pruned(0.5), n_mels=40)
    inherit(small, full)
    clip = Clip(np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32), ())
    weights = {}
    for name, student, prune in (("full", full, None), ("small", small, HALF)):
        folder = tmp_path / name
        folder.mkdir()
        file = folder / "seed-0.safetensors"
        checkpoint.save_weights(file, student.state_dict(), metadata(params, prune))
        assert same(copied(load_student(params, 40, TASK, file)), copied(student))
        report = Exporter(params, FRONT, TASK, folder, folder, {}, [clip]).export("seed-0")
        assert report["agreement"]["float_max_difference"] < 1e-4
        weights[name] = [size.network_parameters(folder / f"seed-0.{kind}.onnx") for kind in FORMS]
    for (_, of_full), (_, of_small) in zip(*weights.values(), strict=True):
        assert of_small < 0.85 * of_full
    said = onnx.load(tmp_path / "small/seed-0.float.onnx").metadata_props
    (sizes,) = [json.loads(one.value) for one in said if one.key == "student"]
    assert sizes == params.pruned(0.5).model_dump()
