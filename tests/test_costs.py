"""Costs against counts done by hand."""

import time
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from students import bilstm, cp_mobile, mobilenet, numbered, recurrent
from torch import nn
from transcribed import SYMBOLS, spoken

from earshot.evaluation import costs, counters
from earshot.export import size
from earshot.tasks.transcript import Transcript


def test_parameters_count_frozen_and_shared_weights_once_and_no_buffers():
    first = nn.Linear(4, 3)  # 15
    first.requires_grad_(False)
    norm = nn.BatchNorm1d(3)  # 6, and three buffers
    assert counters.parameters(nn.Sequential(first, norm, first)) == 21


def test_macs_of_linear_and_convolution():
    assert counters.macs(nn.Linear(4, 3), torch.zeros(2, 5, 4)) == 2 * 5 * 4 * 3
    # 8 = 10 - 3 + 1 positions, 6 outputs, 4/2 inputs of each group, 3 taps
    assert counters.macs(nn.Conv1d(4, 6, 3, groups=2), torch.zeros(1, 4, 10)) == 8 * 6 * 2 * 3


@pytest.mark.filterwarnings("ignore:TF32")  # setting the flags talks of Intel GPUs
@pytest.mark.parametrize("kernel", [True, False], ids=["one kernel", "step by step"])
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_macs_of_lstm(kernel, mode):
    lstm = nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True)
    # batch 2, 5 frames, two directions, four gates; the second layer reads both directions
    expected = 2 * 5 * 2 * (4 * 3 * (4 + 3) + 4 * 3 * (6 + 3))
    with mode(), torch.backends.mkldnn.flags(enabled=kernel):
        assert counters.macs(lstm, torch.zeros(2, 5, 4)) == expected


def test_macs_of_gru():
    assert counters.macs(nn.GRU(4, 3, batch_first=True), torch.zeros(2, 5, 4)) == 2 * 5 * 3 * 3 * (
        4 + 3
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.1], ids=["flash", "composed"])
def test_macs_of_attention(masked, dropout):
    query, key = torch.zeros(2, 3, 5, 4), torch.zeros(2, 3, 7, 4)
    mask = torch.ones(5, 7, dtype=torch.bool) if masked else None

    def attend(q, k):
        return nn.functional.scaled_dot_product_attention(
            q, k, k, attn_mask=mask, dropout_p=dropout
        )

    assert counters.macs(attend, query, key) == 2 * 3 * 5 * 7 * (4 + 4)


@pytest.mark.parametrize("training", [True, False])
def test_macs_of_an_encoder_layer(training):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).train(training)
    frames = 2 * 5
    expected = frames * 8 * 24 + frames * 8 * 8 + 2 * frames * 8 * 16 + 2 * 2 * 5 * 5 * (4 + 4)
    fused = torch.backends.mha.get_fastpath_enabled()
    assert counters.macs(layer, torch.zeros(2, 5, 8)) == expected
    assert torch.backends.mha.get_fastpath_enabled() == fused


def test_macs_of_products_with_a_vector():
    assert counters.macs(lambda a, b: a @ b, torch.zeros(5, 4), torch.zeros(4)) == 20
    assert counters.macs(lambda a, b: a @ b, torch.zeros(4), torch.zeros(4)) == 4


def test_a_layer_table_by_hand():
    inner = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.ReLU())
    model = nn.Sequential(inner, nn.Flatten(), nn.Linear(3 * 4 * 5, 7))
    maps = torch.zeros(1, 2, 4, 5)
    assert counters.layers(model, maps) == [
        ("0.0", "Conv2d", (1, 3, 4, 5), 2 * 3 * 9, 2 * 3 * 9 * 4 * 5),
        ("0.1", "ReLU", (1, 3, 4, 5), 0, 0),
        ("1", "Flatten", (1, 60), 0, 0),
        ("2", "Linear", (1, 7), 60 * 7 + 7, 60 * 7),
    ]
    assert sum(row.macs for row in counters.layers(model, maps)) == counters.macs(model, maps)
    assert [row.name for row in counters.layers(model, maps, call=inner)] == ["0.0", "0.1"]


def test_what_a_part_does_itself_is_not_what_its_parts_do():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.weight = nn.Linear(4, 4, bias=False), nn.Parameter(torch.zeros(4, 3))

        def forward(self, rows):
            return self.linear(self.linear(rows)) @ self.weight

    rows = counters.layers(Twice(), torch.zeros(2, 4))
    assert rows == [("linear", "Linear", (2, 4), 16, 2 * 2 * 16), ("", "Twice", (2, 3), 12, 2 * 12)]


@pytest.mark.parametrize("kind", ["mobilenet", "cp_mobile", "bilstm"])
def test_a_students_layers_add_up(kind):
    frames = torch.zeros(1, 51, 40), torch.tensor([51])
    if kind == "bilstm":
        model = bilstm(recurrent(), 40, numbered(10))
    else:
        model = {"mobilenet": mobilenet, "cp_mobile": cp_mobile}[kind]()
    rows = counters.layers(model, *frames, call=lambda *inputs: model.head(model.pool(*inputs)))
    assert sum(row.macs for row in rows) == counters.macs(model.pool, *frames) + model.width * 10
    assert sum(row.parameters for row in rows) == counters.parameters(model)
    assert len({row.name for row in rows}) == len(rows)


@pytest.mark.parametrize(("conditioning", "times"), [(None, 1), ("predicted", 2)])
def test_a_student_conditioned_on_the_language_encodes_a_clip_twice(conditioning, times):
    frames = torch.zeros(1, 50, 40), torch.tensor([50])
    task = Transcript(None, SYMBOLS)
    params = recurrent(stack=2, text=None, languages=["de", "en", "el"], language=conditioning)
    model = bilstm(params, 40, task)
    call = costs._once_a_clip(model, task, spoken("test", 0))
    heads = 25 * model.width * len(SYMBOLS) + model.width * 3  # symbols, the language
    added = 3 * 2 * 40 * (times - 1)  # its vector, to the frames of the second time
    expected = times * counters.macs(model.pool, *frames) + heads + added
    assert counters.macs(call, *frames) == expected
    rows = counters.layers(model, *frames, call=call)
    assert sum(row.macs for row in rows) == expected
    assert sum(row.parameters for row in rows) == counters.parameters(model)


def test_file_bytes_of_a_file_and_a_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "sub" / "b").write_bytes(b"123")
    assert size.file_bytes(tmp_path / "a") == 5
    assert size.file_bytes(tmp_path) == 8
    with pytest.raises(FileNotFoundError, match="absent"):
        size.file_bytes(tmp_path / "absent")


def test_onnx_parameters_count_packed_weights_scales_zero_points_and_branches(tmp_path):
    weights = numpy_helper.from_array(np.zeros((3, 4), np.int8), "w")
    scale = helper.make_tensor("s", TensorProto.FLOAT, [2], [0.1, 0.2])  # not raw: a typed field
    zero = numpy_helper.from_array(np.zeros(2, np.uint8), "z")
    constant = helper.make_node(
        "Constant", [], ["c"], value=numpy_helper.from_array(np.zeros(5, np.float32))
    )
    inner = numpy_helper.from_array(np.zeros(6, np.float16), "i")
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT16, [6])
    branch = helper.make_graph(
        [helper.make_node("Identity", ["i"], ["y"])], "branch", [], [output], [inner]
    )
    condition = helper.make_tensor_value_info("x", TensorProto.BOOL, [])
    choice = helper.make_node("If", ["x"], ["out"], then_branch=branch, else_branch=branch)
    result = helper.make_tensor_value_info("out", TensorProto.FLOAT16, [6])
    graph = helper.make_graph(
        [constant, choice], "g", [condition], [result], [weights, scale, zero]
    )
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    count, stored = size.onnx_parameters(tmp_path / "m.onnx")
    assert count == 12 + 2 + 2 + 5 + 2 * 6
    assert stored == 12 * 1 + 2 * 4 + 2 * 1 + 5 * 4 + 2 * 6 * 2


def test_latency_is_of_the_rounds_after_the_warmup(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(time, "perf_counter_ns", lambda: int(clock[0] * 1_000_000))

    def call(name: str, *spent: float):
        turns = iter(spent)  # milliseconds
        return lambda: calls.append(name) or clock.__setitem__(0, clock[0] + next(turns))

    one, other = counters.latency(
        [call("a", 90, 80, 1, 2, 3, 4, 5), call("b", 70, 60, 7, 7, 7, 7, 7)], rounds=5, warmup=2
    )
    assert calls == ["a", "b"] * 7
    assert one == pytest.approx({"median_ms": 3, "low_ms": 1.4, "high_ms": 4.6})
    assert other == pytest.approx({"median_ms": 7, "low_ms": 7, "high_ms": 7})
    with pytest.raises(ValueError, match="rounds=0"):
        counters.latency([lambda: None], rounds=0)


def test_peak_memory_adds_the_children(monkeypatch):
    peaks = {counters.resource.RUSAGE_SELF: 1_000_000, counters.resource.RUSAGE_CHILDREN: 500_000}
    monkeypatch.setattr(
        counters.resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=peaks[who])
    )
    monkeypatch.setattr(counters.sys, "platform", "linux")
    assert counters.peak_memory_mb() == pytest.approx(1_500_000 * 1024 / 1e6)
    assert counters.peak_memory_mb(children=0) == pytest.approx(1024)
    assert counters.peak_memory_mb(children=2) == pytest.approx(2048)
    monkeypatch.setattr(counters.sys, "platform", "darwin")
    assert counters.peak_memory_mb(children=0) == pytest.approx(1)
