"""Every bench runs, on tiny inputs, and says what it should; how fast is not asked here."""

import math
from functools import partial
from importlib import import_module

import pytest
from transformers import Wav2Vec2Config

from bench import run
from bench.rounds import Result, Row, Spread, Target, interleave, rows
from earshot.params import BiLSTM, ConvNeXt

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY = Wav2Vec2Config(**SHAPE, intermediate_size=16, conv_dim=(8,) * 7)
SIZES = {"embedded": {"hidden": 4, "stack": 4}, "paper": {"hidden": 8, "stack": 1}}
INPUTS = {
    "features": {"clips": 1},
    "teacher": {"passages": 2, "config": TINY},
    "reading": {"sequences": 20, "cached": 3, "width": 32},
    "pool": {"hours": 0.02, "width": 8},
    "epoch": {"passages": 3, "width": 32, "hidden": 4},
    "optimizer": {"hidden": 4},
    "student": {"seconds": 1, "sizes": SIZES, "config": TINY},
    "recogniser": {
        "seconds": 1,
        "sizes": {
            "BiLSTM": BiLSTM(name="bilstm", hidden=4, stack=2),
            "ConvNeXt": ConvNeXt(name="convnext", width=8, layers=1),
        },
    },
    "memory": {"hours": {"features": (0.003, 0.006), "cache": (0.003, 0.006)}},
}
FORMS = ["PyTorch float", "ONNX float", "ONNX int8"]
CONTENDERS = {
    "features": ["earshot", "librosa", "torchaudio", "kaldi-native-fbank", "decoding alone"],
    "teacher": ["bare loop", "teacher cache"],
    "reading": [
        *("bytes, 1-MB blocks", "store, in order", "store, shuffled"),
        "teacher cache, opened and checked",
    ],
    "pool": ["bytes, 1-MB blocks", "store, in order", "store, shuffled"],
    "epoch": ["CE", "CE + KD + features"],
    "optimizer": ["Muon", "AdamW, PyTorch's", "Muon, PyTorch's"],
    "student": ["teacher", *(f"{size}, {form}" for size in SIZES for form in FORMS)],
    "recogniser": [
        *("BiLSTM, a step", "ConvNeXt, a step"),
        *("BiLSTM, 1 s in int8", "ConvNeXt, 1 s in int8"),
    ],
    "memory": [f"{part}, {hours} h" for part in ("features", "cache") for hours in (0.003, 0.006)],
}
TARGETS = {
    "features": 1,
    "teacher": 1,
    "reading": 0,
    "pool": 1,
    "epoch": 1,
    "optimizer": 0,
    "student": 4,
    "recogniser": 0,
    "memory": 4,
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "memory")) for n in run.BENCHES]
)
def test_bench_measures_every_contender(name):
    result = import_module(f"bench.{name}").measure(rounds=1, **INPUTS[name])
    assert list(result.rows) == CONTENDERS[name]
    assert len(result.targets) == TARGETS[name]
    figures = [figure for row in result.rows.values() for spread in row for figure in spread]
    figures += [target.measured for target in result.targets]
    assert all(math.isfinite(figure) and figure > 0 for figure in figures)
    first = next(iter(result.rows.values()))
    assert first.ratio == Spread(1, 1, 1)  # the base comes first
    assert all(contender in run.render(result) for contender in CONTENDERS[name])


def test_contenders_take_turns_and_the_first_round_is_not_counted():
    calls = []
    contenders = {name: partial(calls.append, name) for name in "ab"}
    spent = interleave(contenders, 2, "turns")
    assert "".join(calls) == "ababab"
    assert {name: len(each) for name, each in spent.items()} == {"a": 2, "b": 2}
    calls.clear()
    interleave(contenders, 1, "turns", warm=True)
    assert "".join(calls) == "aabbaabb"


def test_ratios_are_taken_round_by_round():
    values = {"a": [1.0, 2.0, 4.0], "b": [2.0, 2.0, 16.0]}
    assert rows(values, base="a")["b"] == Row(Spread(2.0, 2.0, 16.0), Spread(2.0, 1.0, 4.0))
    assert rows(values, base="a", inverse=True)["b"].ratio == Spread(0.5, 0.25, 1.0)


def test_targets_are_judged_unrounded_and_said_plainly():
    assert str(Target("cache", 0.9, 0.9)) == "cache: 0.900, target ≥ 0.9: met"
    assert str(Target("cache", 0.8996, 0.9)) == "cache: 0.900, target ≥ 0.9: not met"
    assert str(Target("epoch", 1.2, 1.1, at_least=False)) == "epoch: 1.20, target ≤ 1.1: not met"
    assert str(Target("memory", 1234.5, 2000, at_least=False)) == "memory: 1234, target ≤ 2000: met"


def test_document_names_command_and_versions_and_no_path():
    table = {"fast": Row(Spread(1.0, 0.5, 2.0), Spread(1.0, 1.0, 1.0))}
    result = Result("Speed", "Nothing much.", "seconds", "÷ fast", table, [Target("fast", 3, 2)])
    text = run.document([result], "python bench/run.py")
    assert "`python bench/run.py`" in text and "torch 2." in text
    assert "| fast | 1.00 (0.500–2.00)" in text and "- fast: 3.00, target ≥ 2: met" in text
    assert str(run.Path.cwd()) not in text
