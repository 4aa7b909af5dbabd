"""Students with a CTC head: padding changes nothing, and from each term they learn to write."""

import numpy as np
import pytest
import torch
from learning import cache_by_hand, copied, mel_store, noting
from transcribed import CELL, SYMBOLS, frames, spoken

from earshot.distillation.distill import Distillation
from earshot.evaluation import transcripts
from earshot.evaluation.ask import student_answers
from earshot.models import checkpoint
from earshot.models.students import STUDENTS, begin_with
from earshot.params import (
    CTC,
    BiLSTM,
    Conformer,
    ConvNeXt,
    Distill,
    Frames,
    LayerPairs,
    Pair,
    Pseudo,
    Recipe,
    Terms,
)
from earshot.tasks.transcript import FramesError, Transcript, transcript_signals
from earshot.text import alphabet
from earshot.training.batches import collate
from earshot.training.output import run

TASK = Transcript(None, SYMBOLS)
BILSTM = BiLSTM(name="bilstm", hidden=12, layers=2, stack=2)
CONFORMER = Conformer(name="conformer", width=16, layers=2, heads=2, kernel=5, stride=4)
CONVNEXT = ConvNeXt(name="convnext", width=16, layers=2, kernel=5)
STUDENT = {"bilstm": BILSTM, "conformer": CONFORMER, "convnext": CONVNEXT}


def student(params, seed=0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return STUDENTS[params.name](params, 8, TASK)


@pytest.mark.parametrize("name", STUDENT)
def test_padding_changes_nothing(name):
    model, rng = student(STUDENT[name]).eval(), np.random.default_rng(0)
    items = [spoken("test", 0, "ab"), spoken("test", 1, "abba ab b")]
    mel = {(item.id, 0): frames(item.transcript, rng).astype(np.float16) for item in items}
    groups = [(item.utterances, 0, [item]) for item in items]
    together = run(model, TASK, collate(groups, mel, TASK))
    batch, output = together
    loss = TASK.loss(output, batch)
    losses = []
    for row, group in enumerate(groups):
        alone, of_one = run(model, TASK, collate([group], mel, TASK))
        count = of_one.logits["frame_counts"].item()
        assert output.logits["frame_counts"][row] == count
        assert count == -(-len(mel[items[row].id, 0]) // model.strides[-1])
        logits = output.logits["frames"][row, :count]
        assert torch.allclose(logits, of_one.logits["frames"][0], atol=1e-5)
        losses.append(TASK.loss(of_one, alone))
    assert loss.item() == pytest.approx(sum(losses).item() / 2, rel=1e-5)
    changed = batch.sequences.clone()
    changed[0, len(mel["test-0", 0]) :] = 7.0  # what lies beyond the first clip's end
    batch.sequences = changed
    again = TASK.decode(run(model, TASK, batch)[1], batch)
    assert np.array_equal(again["test-0"], TASK.decode(output, batch)["test-0"])


def test_a_transcript_of_more_symbols_than_frames_is_named():
    item = spoken("fewshot", 0, "abababab")
    mel = {(item.id, 0): np.zeros((12, 8), np.float16)}
    model = student(BILSTM)
    batch, output = run(model, TASK, collate([(item.utterances, 0, [item])], mel, TASK))
    with pytest.raises(FramesError, match="^fewshot-0: its transcript needs 8 frames.* has 6"):
        TASK.loss(output, batch)


class World:
    """Clips of two letters, and a teacher of half their frames' rate that knows them all."""

    def __init__(self, folder):
        rng = np.random.default_rng(1)
        sizes = {"fewshot": 8, "pool": 40, "validation": 16, "test": 24}
        self.items = {role: [spoken(role, n) for n in range(size)] for role, size in sizes.items()}
        mel, known = {}, {}
        for role, some in self.items.items():
            for number, item in enumerate(some):
                text = item.transcript or self.unknown(number)
                mel[item.id] = frames(text, rng).astype(np.float16)
                if role in ("fewshot", "pool"):
                    known[item.id, 0] = self.heard(text, rng)
        self.mel = mel_store(folder / "mel.parquet", mel)
        self.asked = self.items["fewshot"] + self.items["pool"]
        self.signals = cache_by_hand(folder / "cache", self.asked, known)

    @staticmethod
    def unknown(number: int) -> str:
        """What is said in a clip of the pool."""
        return spoken("teacher", number).transcript

    @staticmethod
    def heard(text: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The teacher's signals: each symbol in one frame amid its blanks, sure of most."""
        path = np.zeros(CELL // 2 * len(text), int)
        ids = alphabet.encode(text, SYMBOLS)
        path[CELL // 4 :: CELL // 2] = ids
        shares = np.full((len(path), len(SYMBOLS)), 0.02)
        shares[np.arange(len(path)), path] = 1 - 0.02 * (len(SYMBOLS) - 1)
        posteriors = np.log(shares)
        states = np.repeat(np.eye(4)[ids], CELL // 2, 0)  # a layer that knows the letters
        return {
            "posteriors": posteriors,
            **transcript_signals(ids, posteriors.max(1).mean()),
            "states": states,
            "hidden": states.mean(0)[None],
        }

    def distil(
        self, folder, terms: Terms, params=BILSTM, data=("fewshot", "pool"), epochs=16, start=None
    ):
        """Return the history and word error rate of a student taught so, on the test items."""
        recipe = Recipe(track="any", data=list(data), epochs=epochs, terms=terms)
        training = [item for item in self.asked if item.role in data]
        settings = Distill(batch=4, learning_rate=0.02, start=start)
        history = []
        told = (self.mel, training, self.items["validation"], self.signals, 0)
        distilled = Distillation(
            recipe, params, settings, TASK, *told, folder / "scratch", noting(history)
        ).run()
        weights = folder / "student.safetensors"
        checkpoint.save_weights(weights, distilled.student.state_dict())
        test = self.items["test"]
        (answers,) = student_answers(params, TASK, self.mel, test, [weights])
        return history, transcripts.model_score(
            transcripts.count(transcripts.hypotheses([answers], test), test), test, 200, 0
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


LABELS = {"ctc": CTC(weight=0.5)}
TAUGHT = {
    "frames": Frames(weight=1.0, select="symmetric", around=1),
    "pseudo": Pseudo(weight=1.0, confidence=0.5),
}


@pytest.mark.parametrize("term", TAUGHT)
def test_without_transcripts_a_student_learns_from(term, world, tmp_path):
    terms = Terms(**{term: TAUGHT[term]})
    history, score = world.distil(tmp_path, terms, data=["pool"])
    assert {term, "loss", "validation"} <= history[-1][1].keys()
    assert score["wer"] < 0.15


@pytest.mark.parametrize("params", [CONFORMER, CONVNEXT], ids=lambda params: params.name)
def test_students_of_another_kind_and_rate_learn_too(params, world, tmp_path):
    terms = Terms(ctc=CTC(weight=0.5), frames=Frames(weight=0.5, select="symmetric", around=1))
    _, score = world.distil(tmp_path, terms, params)
    assert score["wer"] < 0.4


@pytest.mark.parametrize("term", ["hidden", "attention"])
def test_states_pull_a_layer_towards_the_teachers(world, tmp_path, term):
    pairs = LayerPairs(weight=1.0, pairs=[Pair(teacher=0, student=2)])
    history, _ = world.distil(tmp_path, Terms(**LABELS, **{term: pairs}), epochs=6)
    first, last = (of_epoch[term] for _, of_epoch in (history[0], history[-1]))
    assert last < first / 3


def test_a_student_begins_with_the_first_layers_of_a_deeper_one(tmp_path):
    deeper, file = student(CONFORMER.model_copy(update={"layers": 4}), 1), tmp_path / "deeper"
    weights = deeper.state_dict()
    taught = {f"network.{name}": tensor for name, tensor in weights.items()}  # as teachers have it
    for saved in (weights, taught):
        checkpoint.save_weights(file, saved)
        made = student(CONFORMER)
        begin_with(made, file)
        assert all(torch.equal(tensor, weights[name]) for name, tensor in made.state_dict().items())

    narrow = student(CONFORMER.model_copy(update={"width": 8}))
    before = copied(narrow)
    begin_with(narrow, file)  # nothing of this width but what has none
    changed = [name for name in before if not torch.equal(before[name], narrow.state_dict()[name])]
    assert all(before[name].shape == weights[name].shape for name in changed)
    checkpoint.save_weights(file, {"other": torch.ones(3)})
    with pytest.raises(checkpoint.WeightsError, match="no tensor that fits"):
        begin_with(made, file)
    with pytest.raises(checkpoint.WeightsError, match="no such file; distill.start"):
        begin_with(made, tmp_path / "none")


def test_where_training_starts_shows(world, tmp_path):
    terms, file = Terms(frames=TAUGHT["frames"]), tmp_path / "student.safetensors"
    learned, _ = world.distil(tmp_path, terms, epochs=16)
    onwards, _ = world.distil(tmp_path / "again", terms, epochs=1, start=str(file))
    assert onwards[0][1]["frames"] < learned[0][1]["frames"] / 3


def test_a_teacher_that_is_never_sure_enough_is_refused_with_how_sure_it_is(world, tmp_path):
    terms = Terms(**LABELS, pseudo=Pseudo(weight=1.0, confidence=0.99))
    told = r"pseudo.confidence=0.99: of none of the \d+ transcripts .* the surest has 0.9\d$"
    with pytest.raises(ValueError, match=told):
        world.distil(tmp_path, terms, epochs=1)
