"""A third task, made here alone: counting words. No library file is edited; transcripts will
fit.
"""

from functools import partial

import numpy as np
import pytest
import torch
from learning import clips, mel_store, noting, teacher_params, tiny_checkpoint
from torch import nn

from earshot import tasks
from earshot.distillation.distill import Distillation
from earshot.evaluation import validation
from earshot.evaluation.ask import student_answers
from earshot.features.recordings import Recordings
from earshot.models import checkpoint
from earshot.params import BiLSTM, Cache, CrossEntropy, Distill, FeatureMSE, Recipe, Terms
from earshot.tables import items, signals
from earshot.tables.items import Item
from earshot.tasks.task import Score
from earshot.teacher import ask, cache, saved
from earshot.teacher.tune import tune


class Counting:
    """How many words are said: one number a passage, from items with transcripts alone."""

    def __init__(self, text, labels=()):
        self.labels = ()

    @classmethod
    def of(cls, text, asked):
        return cls(text)

    def head(self, width):
        return nn.Linear(width, 1)

    def inputs(self, asked):
        return {}

    def targets(self, asked):
        counts = [len(one.transcript.split()) if one.transcript else np.nan for one in asked]
        return {"words": torch.tensor(counts, dtype=torch.float32)}

    def logits(self, head, encoded, batch):
        return {"words": head(encoded.pooled)[:, 0]}

    def loss(self, output, batch):
        known = ~batch.targets["words"].isnan()
        errors = (output.logits["words"] - batch.targets["words"])[known]
        return errors.square().sum() / known.sum().clamp(min=1)

    def decode(self, output, batch):
        counts = output.logits["words"].cpu().numpy()
        return {one.id: count for one, count in zip(batch.items, counts, strict=True)}

    def signals(self, output, batch):
        rows = zip(batch.items, batch.views, output.logits["words"].cpu().numpy(), strict=True)
        return {"logits": [(one.id, view, count.reshape(1, 1)) for one, view, count in rows]}

    def count(self, answer, item):
        return np.array([abs(answer - len(item.transcript.split())), 1.0])

    def score(self, counts):
        return Score(-counts[0] / counts[1], 0.0, counts[0])


def spoken(role: str, number: int) -> Item:
    words = " ".join(["word"] * (1 + number % 3))
    known = None if role == "pool" else words
    id = f"{role}-{number}"
    return Item(id, role, "transcript", id, (id,), transcript=known)


def test_counting_words_goes_through_teacher_cache_students_and_scores(tmp_path, monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "counting", Counting)

    def error(answers, asked, seed):
        return {
            "error": -Counting(None)
            .score(sum(Counting(None).count(answers[0][one.id], one) for one in asked))
            .value
        }

    monkeypatch.setitem(validation.VALIDATION, "counting", error)
    roles = {"fewshot": 6, "pool": 6, "validation": 6, "test": 9}
    built = [spoken(role, n) for role, count in roles.items() for n in range(count)]
    seconds = {one.id: 0.3 + 0.2 * (int(one.id.split("-")[1]) % 3) for one in built}  # longer: more
    items.check(built, seconds)
    items.write(built, tmp_path / "items.parquet")
    read = partial(items.read, tmp_path / "items.parquet")

    recordings = Recordings(clips(tmp_path / "clips", seconds))
    params = teacher_params(tiny_checkpoint(tmp_path / "encoder"), text=None, epochs=2)
    teacher = tmp_path / "teacher"
    held_out = read("validation")
    settings = (recordings, read("fewshot"), held_out, 3, tmp_path / "scratch", teacher)
    tune(params, "counting", *settings, lambda epoch, scores: None)

    asked, kept = read("fewshot", "pool"), Cache(part=4)
    asker = ask.Asker(params, "counting", teacher, recordings, kept)
    identity = signals.identity(teacher)
    cache.write(tmp_path / "cache", asker, identity, asked, recordings.views, kept)
    known = (tmp_path / "cache", asked, identity, kept.model_dump(), recordings.views)
    taught = signals.Signals(*known)

    rng = np.random.default_rng(0)
    words = {one.id: 1 + int(one.id.split("-")[1]) % 3 for one in built}
    frames = {  # as loud as the clip is wordy, so that there is something to learn
        id: words[id] - 2 + 0.1 * rng.normal(size=(int(100 * length), 6))
        for id, length in seconds.items()
    }
    mel = mel_store(
        tmp_path / "mel.parquet", {id: one.astype(np.float16) for id, one in frames.items()}
    )
    terms = Terms(ce=CrossEntropy(weight=0.9), feature=FeatureMSE(weight=0.1))
    recipe = Recipe(track="words", data=["fewshot", "pool"], epochs=40, terms=terms)
    student, task, history = BiLSTM(name="bilstm", hidden=4, stack=2), Counting(None), []
    told = (Distill(batch=4, learning_rate=0.03), task, mel, asked, held_out, taught, 0)
    result = Distillation(recipe, student, *told, tmp_path / "distil", noting(history)).run()
    assert {"ce", "feature", "loss", "validation"} <= set(history[-1][1])
    checkpoint.save_weights(tmp_path / "student.safetensors", result.student.state_dict())

    test = read("test")
    model, loaded = saved.load(params, "counting", teacher)
    of_teacher = ask.answers(model, loaded, recordings, test)
    (of_student,) = student_answers(student, task, mel, test, [tmp_path / "student.safetensors"])
    for one in asked[:3]:  # the cache holds what the teacher answers
        group = ask.answers(model, loaded, recordings, [one])
        assert taught["logits", one.id, 0].item() == pytest.approx(group[one.id], abs=1e-3)
    for answers in (of_teacher, of_student):
        assert answers.keys() == {one.id for one in test}
        assert np.isfinite(error([answers], test, 0)["error"])
    mean = {one.id: np.mean([words[each.id] for each in read("fewshot")]) for one in test}
    assert error([of_student], test, 0)["error"] < error([mean], test, 0)["error"] / 3
