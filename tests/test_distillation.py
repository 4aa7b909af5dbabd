"""Distilling: the teacher's answers by item and view, phases, and that a teacher who can be asked
is worth having.
"""

import numpy as np
import pytest
import torch
from learning import TASK, cache_by_hand, copied, forbid_teacher, item, mel_store, noting, same

from earshot.distillation.distill import Distillation
from earshot.distillation.lessons import with_lessons
from earshot.models.heads import ABSENT
from earshot.params import KD, BiLSTM, CrossEntropy, Distill, FeatureMSE, Recipe, Terms, Text
from earshot.tasks.choice import Choice
from earshot.training.batches import Loader
from earshot.training.loop import predict

READS = Text(buckets=256, dim=16)
CHOICE = Choice(READS)
STUDENT = BiLSTM(name="bilstm", hidden=16, stack=2, text=READS)
SETTINGS = Distill(batch=8, learning_rate=1e-2, schedule="cosine")
HARD = Terms(ce=CrossEntropy(weight=1.0))
PAPER = Terms(
    ce=CrossEntropy(weight=0.6), kd=KD(weight=0.3, temperature=2.0), feature=FeatureMSE(weight=0.1)
)


def recipe(terms: Terms, epochs: int, *data: str) -> Recipe:
    return Recipe(track="listening", data=list(data) or ["fewshot"], epochs=epochs, terms=terms)


# a small world: passages are three of eight words, each word a pattern of mel frames, said with
# noise

WORDS = "bike lamp coat rain mill boot fish drum".split()
MELS, WORD_FRAMES = 6, 4


class World:
    def __init__(
        self, folder, fewshot: int = 8, pool: int = 150, validation: int = 40, test: int = 120
    ):
        rng = np.random.default_rng(0)
        patterns = {word: rng.normal(size=(WORD_FRAMES, MELS)) for word in WORDS}
        self.items: dict[str, list] = {}
        self.right: dict[str, int] = {}
        audio, said_of = {}, {}
        for role, count in {
            "fewshot": fewshot,
            "pool": pool,
            "validation": validation,
            "test": test,
        }.items():
            self.items[role] = []
            for number in range(count):
                said = rng.choice(WORDS, 3, replace=False)
                passage = np.concatenate([patterns[word] for word in said])
                audio[f"{role}-{number}"] = (passage + 0.3 * rng.normal(size=passage.shape)).astype(
                    np.float16
                )
                for question in range(3 if role == "pool" else 1):
                    others = [word for word in WORDS if word not in said]
                    options = [
                        rng.choice(said),
                        *rng.choice(others, 4 if role == "pool" else 2, replace=False),
                    ]
                    order = rng.permutation(len(options))
                    options, answer = tuple(str(options[i]) for i in order), int(np.argmin(order))
                    id = f"{role}-{number}-{question}"
                    known = -1 if role == "pool" else answer
                    about = {"options": options, "question": "which of these words is said"}
                    asked = item(id, [f"{role}-{number}"], known, role=role, **about)
                    self.items[role].append(asked)
                    self.right[id] = answer
                    logits = 6 * (np.arange(len(options)) == answer) + rng.normal(size=len(options))
                    hidden = passage.mean(0)[None]
                    said_of[id, 0] = {"logits": logits[:, None], "hidden": hidden}
        self.mel = mel_store(folder / "mel.parquet", audio)
        asked = self.items["fewshot"] + self.items["pool"]
        self.cache = cache_by_hand(folder / "cache", asked, said_of)

    def distill(self, recipe: Recipe, scratch, seed: int = 0, on_epoch=lambda epoch, scores: None):
        items = [asked for role in recipe.data for asked in self.items[role]]
        told = (self.mel, items, self.items["validation"], self.cache)
        run = Distillation(recipe, STUDENT, SETTINGS, CHOICE, *told, seed, scratch, on_epoch)
        return run.run().student

    def score(self, student) -> float:
        answers = predict(student, CHOICE, Loader(self.items["test"], self.mel, CHOICE, 32))
        right = [answers[one.id].argmax() == self.right[one.id] for one in self.items["test"]]
        return float(np.mean(right))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_a_batch_gets_the_signals_of_its_own_items(world):
    asked = [*world.items["fewshot"], *world.items["pool"][:20]]
    batches, seen = Loader(asked, world.mel, TASK, 5).shuffled(0, 0), 0
    for batch in with_lessons(batches, world.cache, ["logits", "hidden"]):
        signals = batch.signals
        assert set(signals) == {"logits", "hidden"}
        assert signals["logits"].shape == batch.inputs["options"].shape[:2]
        assert signals["logits"].dtype == signals["hidden"].dtype == torch.float32
        rows = zip(batch.items, signals["logits"], signals["hidden"], strict=True)
        for one, logits, hidden in rows:
            kept, count = world.cache["logits", one.id, 0][:, 0], len(one.options)
            assert np.array_equal(logits[:count].numpy(), kept)
            assert (logits[count:] == ABSENT).all()
            vector = world.cache["hidden", one.id, 0][0].astype(np.float32)
            assert np.array_equal(hidden.numpy(), vector)
            seen += 1
    assert seen == len(asked)


def test_hard_labels_need_nothing_of_the_teacher(world, tmp_path, monkeypatch):
    first = world.distill(recipe(HARD, 2), tmp_path / "first")
    taught = world.distill(recipe(PAPER, 2), tmp_path / "kd")
    assert not same(copied(first), copied(taught))

    def refuse(*_):
        raise AssertionError("a signal was read")

    monkeypatch.setattr(type(world.cache), "__getitem__", refuse)
    assert same(copied(world.distill(recipe(HARD, 2), tmp_path / "hard")), copied(first))


@pytest.mark.slow
def test_a_teacher_asked_about_the_pool_teaches_what_few_labels_cannot(
    world, tmp_path, monkeypatch
):
    """From cache and store alone: the pool carries no label, so all that is gained there is the
    teacher's.
    """
    forbid_teacher(monkeypatch)
    hard = world.score(world.distill(recipe(HARD, 20), tmp_path / "hard"))
    pool = world.score(world.distill(recipe(PAPER, 30, "fewshot", "pool"), tmp_path / "pool"))
    assert hard < 0.6
    assert pool > 0.9


def test_feature_alone_pulls_the_student_to_the_teachers_vectors(world, tmp_path):
    history = []
    terms = Terms(feature=FeatureMSE(weight=1.0))
    world.distill(recipe(terms, 8, "pool"), tmp_path, on_epoch=noting(history))
    assert history[-1][1]["feature"] < 0.3 * history[0][1]["feature"]
