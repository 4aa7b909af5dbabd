"""Distilling: the weighted sum, the teacher's answers by item, and that a teacher who can be asked is worth having."""

from math import log

import numpy as np
import pytest
import torch
from learning import TEXT, cache_by_hand, copied, item, mel_store, same

from earshot import distillation
from earshot.batches import Batch, Loader
from earshot.distillation import Objective, distill, with_teacher
from earshot.models import teacher as teacher_model
from earshot.models.heads import ABSENT
from earshot.params import KD, BiLSTM, CrossEntropy, Distill, FeatureMSE, Recipe, Terms, Text
from earshot.training import predict

STUDENT = BiLSTM(name="bilstm", hidden=16, stack=2, text=Text(buckets=256, dim=16))
SETTINGS = Distill(batch_passages=8, learning_rate=1e-2, schedule="cosine")
HARD = Terms(ce=CrossEntropy(weight=1.0))
PAPER = Terms(ce=CrossEntropy(weight=0.6), kd=KD(weight=0.3, temperature=2.0), feature=FeatureMSE(weight=0.1))


def recipe(terms: Terms, epochs: int, *data: str) -> Recipe:
    return Recipe(track="listening", data=list(data) or ["fewshot"], epochs=epochs, terms=terms)


# the objective


def batch_by_hand() -> tuple[Batch, torch.Tensor, torch.Tensor]:
    """Two items, the second unlabelled; see test_losses for the same numbers, worked out."""
    nothing = torch.zeros(2, 1, dtype=torch.long)
    batch = Batch([], nothing, nothing, nothing, nothing, nothing, answers=torch.tensor([0, -1]))
    batch.teacher_logits = torch.tensor([[2 * log(2), 0, 0], [1, 2, 3]])
    batch.teacher_hidden = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    logits = torch.tensor([[0, 0, 2 * log(2)], [1, 2, 3]], requires_grad=True)
    return batch, logits, torch.tensor([[1.0], [0.0]], requires_grad=True)


def objective_by_hand(terms: Terms) -> Objective:
    objective = Objective(terms, student_width=1, teacher_width=2)
    objective.project.weight.data, objective.project.bias.data = torch.tensor([[1.0], [2.0]]), torch.zeros(2)
    return objective


def test_the_papers_weighted_sum_by_hand():
    values = objective_by_hand(PAPER)(*batch_by_hand())
    # CE: softmax(0, 0, ln 4) = (1, 1, 4)/6, answer 0 → ln 6, the one labelled item. KD at T = 2: ½ ln 2 (test_losses).
    # feature: the projections (1, 2) and (0, 0) against (0, 0) and (3, 4) → (5 + 25)/2
    assert {name: value.item() for name, value in values.items()} == pytest.approx(
        {"ce": log(6), "kd": log(2) / 2, "feature": 15, "loss": 0.6 * log(6) + 0.3 * log(2) / 2 + 0.1 * 15}
    )


def test_the_two_term_form_by_hand():
    terms = Terms(ce=CrossEntropy(weight=0.7), kd=KD(weight=0.3, temperature=2.0))
    values = objective_by_hand(terms)(*batch_by_hand())
    assert values.keys() == {"ce", "kd", "loss"}
    assert values["loss"].item() == pytest.approx(0.7 * log(6) + 0.3 * log(2) / 2)


def test_terms_without_weight_are_left_out():
    terms = Terms(ce=CrossEntropy(weight=1.0), kd=KD(weight=0.0, temperature=2.0), feature=FeatureMSE(weight=0.0))
    batch, logits, pooled = batch_by_hand()
    batch.teacher_logits = batch.teacher_hidden = None  # so nothing of the teacher is needed
    values = objective_by_hand(terms)(batch, logits, pooled)
    assert values.keys() == {"ce", "loss"}
    assert values["loss"].item() == values["ce"].item() == pytest.approx(log(6))


def test_the_projection_trains_by_the_feature_term_alone():
    objective = objective_by_hand(PAPER)
    batch, logits, pooled = batch_by_hand()
    objective(batch, logits, pooled)["loss"].backward()
    # 0.1 · 2/N · Σ (F_S − F_T) · pooled = 0.1 · (1, 2) · 1, the second item's vector being 0
    assert objective.project.weight.grad.flatten().tolist() == pytest.approx([0.1, 0.2])
    assert pooled.grad[0].item() == pytest.approx(0.1 * (1 * 1 + 2 * 2))
    hard = objective_by_hand(HARD)
    hard(*batch_by_hand())["loss"].backward()
    assert hard.project.weight.grad is None


def test_every_term_that_params_know_has_a_loss():
    assert set(Terms.model_fields) == set(distillation.TERMS)


# a small world: passages are three of eight words, each word a pattern of mel frames, said with noise

WORDS = "bike lamp coat rain mill boot fish drum".split()
MELS, WORD_FRAMES = 6, 4


class World:
    def __init__(self, folder, fewshot: int = 8, pool: int = 150, validation: int = 40, test: int = 120):
        rng = np.random.default_rng(0)
        patterns = {word: rng.normal(size=(WORD_FRAMES, MELS)) for word in WORDS}
        self.items: dict[str, list] = {}
        self.right: dict[str, int] = {}
        audio, logits, hidden = {}, {}, {}
        for role, count in {"fewshot": fewshot, "pool": pool, "validation": validation, "test": test}.items():
            self.items[role] = []
            for number in range(count):
                said = rng.choice(WORDS, 3, replace=False)
                passage = np.concatenate([patterns[word] for word in said])
                audio[f"{role}-{number}"] = (passage + 0.3 * rng.normal(size=passage.shape)).astype(np.float16)
                for question in range(3 if role == "pool" else 1):
                    others = [word for word in WORDS if word not in said]
                    options = [rng.choice(said), *rng.choice(others, 4 if role == "pool" else 2, replace=False)]
                    order = rng.permutation(len(options))
                    options, answer = tuple(str(options[i]) for i in order), int(np.argmin(order))
                    id = f"{role}-{number}-{question}"
                    asked = item(
                        id, [f"{role}-{number}"], -1 if role == "pool" else answer, role=role, options=options,
                        question="which of these words is said",
                    )  # fmt: skip
                    self.items[role].append(asked)
                    self.right[id] = answer
                    logits[id] = (6 * (np.arange(len(options)) == answer) + rng.normal(size=len(options))).astype(np.float32)
                    hidden[id] = passage.mean(0)[None]
        self.mel = mel_store(folder / "mel.parquet", audio)
        asked = self.items["fewshot"] + self.items["pool"]
        self.cache = cache_by_hand(folder / "cache", asked, logits, hidden)

    def distill(self, recipe: Recipe, scratch, seed: int = 0, on_epoch=lambda epoch, scores: None):
        items = [asked for role in recipe.data for asked in self.items[role]]
        return distill(
            recipe, STUDENT, SETTINGS, self.mel, items, self.items["validation"], self.cache, seed, scratch, on_epoch
        )[0]

    def score(self, student) -> float:
        answers = predict(student, Loader(self.items["test"], self.mel, STUDENT.text.buckets, 32))
        return float(np.mean([answers[asked.id].argmax() == self.right[asked.id] for asked in self.items["test"]]))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def no_teacher(monkeypatch):
    """Whoever makes or asks a teacher fails."""

    def refuse(*_, **__):
        raise AssertionError("the teacher was asked")

    monkeypatch.setattr(teacher_model, "load_backbone", refuse)
    for name in ("__init__", "lower", "upper", "pool"):
        monkeypatch.setattr(teacher_model.Teacher, name, refuse)


def test_a_batch_gets_the_answers_of_its_own_items(world):
    asked = [*world.items["fewshot"], *world.items["pool"][:20]]
    seen = 0
    for batch in with_teacher(Loader(asked, world.mel, TEXT.buckets, 5).shuffled(0, 0), world.cache):
        assert batch.teacher_logits.shape == batch.options.shape[:2]
        assert batch.teacher_logits.dtype == batch.teacher_hidden.dtype == torch.float32
        for one, logits, hidden in zip(batch.items, batch.teacher_logits, batch.teacher_hidden, strict=True):
            assert np.array_equal(logits[: len(one.options)].numpy(), world.cache.logits(one.id))
            assert (logits[len(one.options) :] == ABSENT).all()
            assert np.array_equal(hidden.numpy(), world.cache.hidden(one.id)[0].astype(np.float32))
            seen += 1
    assert seen == len(asked)


def test_students_of_a_seed_start_alike_whatever_the_recipe(world, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(distillation, "fit", lambda student, **_: begun.append(copied(student)) or 0.0)
    for number, (terms, epochs, data, seed) in enumerate(
        [(HARD, 3, ["fewshot"], 0), (PAPER, 1, ["fewshot", "pool"], 0), (HARD, 3, ["fewshot"], 1)]
    ):
        torch.manual_seed(100 + number)
        world.distill(recipe(terms, epochs, *data), tmp_path, seed)
    assert same(begun[0], begun[1])
    assert not same(begun[0], begun[2])


def test_the_same_seed_ends_in_the_same_student_another_in_another(world, tmp_path):
    students = [world.distill(recipe(PAPER, 2), tmp_path / str(n), seed) for n, seed in enumerate((0, 0, 1))]
    assert same(copied(students[0]), copied(students[1]))
    assert not same(copied(students[0]), copied(students[2]))
    assert not students[0].training


def test_hard_labels_ignore_what_the_teacher_says(world, tmp_path, monkeypatch):
    first = world.distill(recipe(HARD, 2), tmp_path / "first")
    monkeypatch.setattr(world.cache, "logits", lambda id: np.zeros(3, np.float32))
    assert same(copied(world.distill(recipe(HARD, 2), tmp_path / "hard")), copied(first))
    taught = world.distill(recipe(PAPER, 2), tmp_path / "kd")
    monkeypatch.undo()
    assert not same(copied(world.distill(recipe(PAPER, 2), tmp_path / "other")), copied(taught))


def test_a_killed_distillation_ends_the_same(world, tmp_path):
    expected, history = [], []
    straight = world.distill(recipe(PAPER, 5), tmp_path / "straight", on_epoch=lambda *seen: expected.append(seen))

    def kill(epoch, _):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.distill(recipe(PAPER, 5), tmp_path / "killed", on_epoch=kill)
    resumed = world.distill(recipe(PAPER, 5), tmp_path / "killed", on_epoch=lambda *seen: history.append(seen))
    assert same(copied(resumed), copied(straight))
    assert history == expected
    assert set(history[0][1]) == {"ce", "kd", "feature", "loss", "validation"}


def test_a_teacher_asked_about_the_pool_teaches_what_few_labels_cannot(world, tmp_path, no_teacher):
    """From cache and store alone: the pool carries no label, so all that is gained there is the teacher's."""
    hard = world.score(world.distill(recipe(HARD, 20), tmp_path / "hard"))
    pool = world.score(world.distill(recipe(PAPER, 30, "fewshot", "pool"), tmp_path / "pool"))
    assert hard < 0.6
    assert pool > 0.9


def test_feature_alone_pulls_the_student_to_the_teachers_vectors(world, tmp_path):
    history = []
    terms = Terms(feature=FeatureMSE(weight=1.0))
    world.distill(recipe(terms, 8, "pool"), tmp_path, on_epoch=lambda _, scores: history.append(scores["feature"]))
    assert history[-1] < 0.3 * history[0]
