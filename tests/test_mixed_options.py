"""Questions with two, three and five options in one set: each model is asked each with its options,
and all of them are scored.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import results
import soundfile
from students import opinionated, recurrent

from earshot import predict
from earshot.evaluation import ask, choice, metrics, plots
from earshot.evaluation.validation import VALIDATION
from earshot.export.int8 import quantize
from earshot.export.onnx_file import export
from earshot.params import Evaluate, Features, Text
from earshot.tables.items import Item
from earshot.tasks.choice import Choice
from earshot.text import encode, encode_item
from earshot.workbench.results import Track

BUCKETS = 4096
OPTIONS = {
    "three": ("a doctor", "a soldier", "a thief"),
    "five": ("a lamp", "a letter", "a kettle", "a candle", "a very old mirror"),
    "two": ("yes", "no"),
    "four": ("red", "green", "blue", "a darker shade of grey"),
}
ITEMS = [
    Item(id, "test", "detail", f"p{n // 3}", (f"u{n // 3}",), f"What is it, {id}?", options, n % 2)
    for n, (id, options) in enumerate(OPTIONS.items())
]


STUDENT = recurrent(text=Text(buckets=BUCKETS, dim=6))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The student's float and int8 file, and two clips of noise."""
    folder = tmp_path_factory.mktemp("mixed")
    export(opinionated(STUDENT), Features(), STUDENT, folder / "float.onnx", {})
    quantize(folder / "float.onnx", folder / "int8.onnx")
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 16_000))
    for number, samples in enumerate(noise):
        soundfile.write(folder / f"u{number}.wav", samples, 16_000)
    return folder


def manifest(folder: Path) -> pd.DataFrame:
    ids = ["u0", "u1"]
    paths = [str(folder / f"{id}.wav") for id in ids]
    return pd.DataFrame({"id": ids, "path": paths, "device": None})


def test_no_question_is_asked_with_options_of_another(files):
    every = [option for some in OPTIONS.values() for option in some]
    known = {tuple(encode(option, BUCKETS, "option")): option for option in every}
    by_task = Choice(Text(buckets=BUCKETS, dim=6)).inputs(ITEMS)["options"].numpy()
    _, by_file = predict.load(files / "float.onnx").inputs(ITEMS)
    np.testing.assert_array_equal(by_file, by_task)
    for item, rows in zip(ITEMS, by_file, strict=True):
        asked = [tuple(row[row > 0].tolist()) for row in rows]
        assert tuple(known[ids] for ids in asked if ids) == item.options
        assert asked[len(item.options) :] == [()] * (5 - len(item.options))


# int8 takes the scale of what it computes from all questions of a clip
@pytest.mark.parametrize(("form", "within"), [("float", 1e-5), ("int8", 0.02)])
def test_a_file_answers_a_set_as_it_answers_each_question(files, form, within):
    path = files / f"{form}.onnx"
    (answers,) = ask.file_answers([path], ITEMS, manifest(files))
    one = predict.load(path)
    for item in ITEMS:
        samples, _ = soundfile.read(files / f"{item.utterances[0]}.wav", dtype="float32")
        question, options = encode_item(item.question, item.options, BUCKETS)
        alone = predict.softmax(one.logits(samples, question[None], options[None])[0])
        assert answers[item.id] == pytest.approx(alone, abs=within)
        assert len(alone) == len(item.options) and np.ptp(alone) > 1e-3


def answering(right: set[str]) -> dict[str, np.ndarray]:
    """Answers of which some are right, each by place 0 or 1."""
    chosen = {item.id: item.answer if item.id in right else 1 - item.answer for item in ITEMS}
    return {item.id: np.eye(len(item.options))[chosen[item.id]] for item in ITEMS}


def test_all_of_them_are_scored():
    models = {"hard": [answering({"three"})], "kd": [answering({"three", "five", "two"})]}
    params = Evaluate(recipes=["hard", "kd"], gains=["kd_vs_hard"], resamples=100)
    training = [Item(f"t{i.id}", "teacher", *list(vars(i).values())[2:8]) for i in ITEMS]
    quality = choice.quality(models, training, ITEMS, pd.DataFrame(), params, 1)
    assert (quality["hard"]["accuracy"], quality["kd"]["accuracy"]) == (0.25, 0.75)
    assert quality["gain"]["kd_vs_hard"]["accuracy"] == 0.5
    assert VALIDATION["choice"](models["kd"], ITEMS, 1)["accuracy"] == 0.75
    stacked = metrics.stack(models["kd"], [item.id for item in ITEMS])
    assert stacked.shape == (1, 4, 5) and stacked[0, 2].tolist() == [1, 0, 0, 0, 0]


def test_chance_is_the_mean_over_questions(tmp_path):
    table = plots.confusion_table(ITEMS, np.array([[1, 4, 0, 1]]))
    assert table["predicted"].tolist() == ["1", "4", "0", "1"]
    track = Track("t", {"kd": {"accuracy": 0.5}}, {}, {}, {"confusion": table}, {})
    assert track.chance == pytest.approx((1 / 3 + 1 / 5 + 1 / 2 + 1 / 4) / 4)
    test = [ITEMS[n % 3] for n in range(90)]
    given = {model: [answering({"two"})] for model in results.MODELS}
    results.draw(tmp_path / "test", same=False, test=test, answers=given)
    assert "chance 34%" in (tmp_path / "test/accuracy.svg").read_text()
