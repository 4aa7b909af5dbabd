"""Convolutional students as ONNX files: float against PyTorch, int8 against its simulation, and
what int8 must mean.
"""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from students import bilstm, cp_mobile, mobilenet, numbered, recurrent
from torch import nn

from earshot import predict
from earshot.export import size
from earshot.export.agreement import Clip, agreement
from earshot.export.cnn import INPUT
from earshot.export.front_end import FRONT_END
from earshot.export.int8 import QuantizationError, check, quantize
from earshot.export.onnx_file import ExportError, export, save
from earshot.features.log_mel import log_mel
from earshot.models import fake_quant
from earshot.models.fake_quant import RangeError
from earshot.params import CPMobile, Features, MobileNet

FEATURES = Features(n_fft=1024, win_length=1024, hop_length=320, norm="none")
LABELS = [f"scene {number}" for number in range(10)]
MAKERS = {"mobilenet": mobilenet, "cp_mobile": cp_mobile}
PARAMS = {"mobilenet": MobileNet(name="mobilenet"), "cp_mobile": CPMobile(name="cp_mobile")}
BOTH = pytest.mark.parametrize("kind", list(MAKERS))


def noise(seed: int = 0, samples: int = 16_000) -> np.ndarray:
    """Return noise whose spectrum differs from seed to seed."""
    rng = np.random.default_rng(seed)
    return np.convolve(rng.normal(0, 0.1, samples), rng.normal(0, 1, 9), "same").astype(np.float32)


def frames(clip: np.ndarray, features: Features = FEATURES) -> tuple[torch.Tensor, torch.Tensor]:
    mel = torch.from_numpy(log_mel(clip, features))[None]
    return mel, torch.tensor([mel.shape[1]])


def simulated(model: nn.Module) -> nn.Module:
    mels = torch.cat([frames(noise(100 + number))[0] for number in range(16)])
    return fake_quant.calibrate(fake_quant.prepare(model), [(mels, torch.tensor([51] * 16))])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return (float student, simulated student, float file, int8 file) of each kind."""
    folder, made = tmp_path_factory.mktemp("onnx"), {}
    for kind, make in MAKERS.items():
        model, paths = make(), [folder / f"{kind}.{form}.onnx" for form in ("float", "int8")]
        rounded = simulated(model)
        for student, path in zip((model, rounded), paths, strict=True):
            export(student, FEATURES, PARAMS[kind], path, {"recipe": "kd"}, LABELS)
        made[kind] = (model, rounded, *paths)
    return made


def logits(path, clip: np.ndarray) -> np.ndarray:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, settings).run(["logits"], {"waveform": clip})[0]


@BOTH
@pytest.mark.parametrize("samples", [321, 3_200, 16_000, 40_123])
def test_float_file_computes_what_pytorch_does(files, kind, samples):
    model, _, path, _ = files[kind]
    clip = noise(1, samples)
    with torch.inference_mode():
        expected = model(*frames(clip)).numpy()[0]
    found = logits(path, clip)
    assert found.dtype == np.float32 and found.shape == (10,)
    assert np.ptp(expected) > 0.1  # a constant would agree too
    np.testing.assert_allclose(found, expected, atol=1e-4)


@BOTH
def test_int8_file_computes_what_was_simulated(files, kind):
    model, rounded, float_path, int8_path = files[kind]
    clips = [Clip(noise(number), ()) for number in range(40)]
    found = agreement(model, FEATURES, float_path, int8_path, clips, rounded)
    assert found["float_max_difference"] < 1e-4 and found["float_same_answers"] == 1
    assert found["simulated_same_answers"] == 1
    assert 0 < found["int8_mean_difference"] < found["int8_max_difference"]
    # a rounding that goes the other way now and then, in under a tenth of the places where rounding
    # itself acts
    assert found["simulated_mean_difference"] < 0.1 * found["int8_mean_difference"]
    without = agreement(model, FEATURES, float_path, int8_path, [Clip(noise(0), ())])
    assert not any(key.startswith("simulated") for key in without)


@BOTH
@pytest.mark.parametrize("samples", [321, 7_000, 48_000])
def test_int8_file_takes_clips_of_any_length(files, kind, samples):
    _, rounded, _, path = files[kind]
    clip = noise(2, samples)
    with torch.inference_mode():
        expected = rounded(*frames(clip)).numpy()[0]
    np.testing.assert_allclose(logits(path, clip), expected, atol=0.05 * np.ptp(expected))


@BOTH
def test_int8_file_is_int8_behind_its_front_end(files, kind):
    model, _, _, path = files[kind]
    counts = check(path)
    convolutions = sum(isinstance(part, nn.Conv2d) for part in model.modules())
    assert counts["QLinearConv"] == convolutions
    assert counts["QLinearAdd"] == {"mobilenet": 3, "cp_mobile": 4}[kind]
    assert counts.get("QLinearAveragePool", 0) == (kind == "cp_mobile")
    assert counts["QLinearGlobalAveragePool"] == counts["QGemm"] == counts["QuantizeLinear"] == 1
    assert set(counts) <= {
        "QLinearConv", "QLinearAdd", "QLinearAveragePool", "QLinearGlobalAveragePool", "QGemm",
        "QuantizeLinear",
        "Flatten", "Squeeze",
    }  # fmt: skip
    graph = onnx.load(path).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = [name for name in kinds if name.endswith("_weight_levels")]
    assert len(weights) == convolutions + 1
    assert {kinds[name] for name in weights} == {TensorProto.INT8}
    assert {kinds[name.replace("weight", "bias")] for name in weights} == {TensorProto.INT32}
    assert all(np.abs(arrays[name]).max() == 64 for name in weights)
    names = [node.name for node in graph.node]
    used = {name for node in graph.node[names.index(INPUT) + 1 :] for name in node.input}
    floats = {name for name in used if kinds.get(name) == TensorProto.FLOAT}
    assert all(name.endswith("_scale") for name in floats)


@BOTH
def test_signature_and_metadata(files, kind):
    for path in files[kind][2:]:
        session = onnxruntime.InferenceSession(path)
        assert [(entry.name, entry.type, entry.shape) for entry in session.get_inputs()] == [
            ("waveform", "tensor(float)", ["samples"])
        ]
        metadata = session.get_modelmeta().custom_metadata_map
        assert metadata["task"] == "classes"
        assert metadata["recipe"] == "kd"
        assert json.loads(metadata["labels"]) == LABELS
        assert Features.model_validate(json.loads(metadata["features"])) == FEATURES
        assert json.loads(metadata["student"])["name"] == kind
        assert "buckets" not in metadata
        np.testing.assert_allclose(
            predict.load(path).logits(noise()), logits(path, noise()), atol=1e-5
        )


def test_same_weights_same_bytes(files, tmp_path):
    model, rounded, *paths = files["mobilenet"]
    for student, path in zip((model, rounded), paths, strict=True):
        again = tmp_path / "again.onnx"
        export(student, FEATURES, PARAMS["mobilenet"], again, {"recipe": "kd"}, LABELS)
        assert again.read_bytes() == path.read_bytes()
    assert list(tmp_path.iterdir()) == [again]


@BOTH
def test_the_network_is_counted_without_its_front_end(files, kind):
    _, rounded, float_path, int8_path = files[kind]
    tables = [part.weight for part in rounded.modules() if hasattr(part, "input_range")]
    outputs = sum(table.shape[0] for table in tables)
    weights = sum(table.numel() for table in tables)
    ranges = sum(isinstance(part, fake_quant.Rounded) for part in rounded.modules())
    count, stored = size.network_parameters(int8_path)
    norm = 82 if kind == "mobilenet" else 0  # a factor and an offset for each of 40 bands, λ and ε
    axes = 2 + 1  # of Unsqueeze and Squeeze
    # weights; per channel a bias, two scales and two zero points; per range a scale and a zero
    # point
    assert count == weights + 5 * outputs + 2 * ranges + norm + axes
    assert (
        stored == weights + (4 + 4 + 4 + 1 + 4) * outputs + (4 + 1) * ranges + 4 * norm + 8 * axes
    )
    assert stored < 128_000
    assert size.network_parameters(float_path)[1] > 3 * stored * weights / (weights + 17 * outputs)
    front_end = 3 * 1024 * 4  # circle and window
    assert size.onnx_parameters(int8_path)[1] > stored + front_end


def rewritten(path, target, change):
    model = onnx.load(path)
    change(model.graph)
    save(model, target)
    return target


def replace(graph, name: str, array: np.ndarray) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def test_a_float_file_is_refused(files):
    line = r"mobilenet\.float\.onnx: not int8, stored in float: stem_0_weight, "
    with pytest.raises(QuantizationError, match=line):
        check(files["mobilenet"][2])


def store_a_weight_in_float(graph) -> None:
    node = next(node for node in graph.node if node.output[0] == "stage_1_0_depth_weight")
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    levels, scale = (arrays[name] for name in node.input[:2])
    graph.node.remove(node)
    weight = numpy_helper.from_array(levels * scale[:, None, None, None], "stage_1_0_depth_weight")
    graph.initializer.append(weight)


def leave_a_value_unrounded(graph) -> None:
    """The weights are int8, but the runtime computes in float all the same."""
    node = next(node for node in graph.node if "stage_1_0_expand_rounded" in node.input)
    node.input[0] = "stage_1_0_expand"


def insert_an_operator(graph) -> None:
    place, node = next((n, node) for n, node in enumerate(graph.node) if node.name == "pooled")
    bent = onnx.helper.make_node("Sigmoid", [node.input[0]], ["bent"], "bent")
    graph.node.insert(place, bent)
    node.input[0] = "bent"


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (store_a_weight_in_float, "stored in float: stage_1_0_depth_weight$"),
        (leave_a_value_unrounded, "left in float: .*stage_1_0_depth"),
        (insert_an_operator, "left in float: .*bent"),
    ],
)
def test_what_is_computed_in_float_is_refused(files, tmp_path, spoil, fault):
    path = rewritten(files["mobilenet"][3], tmp_path / "spoilt.onnx", spoil)
    with pytest.raises(QuantizationError, match=rf"spoilt\.onnx: not int8, {fault}"):
        check(path)


def test_other_files_are_refused(files, tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(QuantizationError, match=r"text\.onnx: not a readable"):
        check(tmp_path / "text.onnx")

    def rename(graph):
        next(node for node in graph.node if node.name == FRONT_END).name = "x"

    path = rewritten(files["mobilenet"][3], tmp_path / "spoilt.onnx", rename)
    with pytest.raises(QuantizationError, match=r"spoilt\.onnx: not an Earshot student"):
        check(path)
    with pytest.raises(ValueError, match=r"spoilt\.onnx: not an Earshot student"):
        size.network_parameters(path)


def test_a_changed_weight_does_not_agree(files, tmp_path):
    model, rounded, float_path, int8_path = files["mobilenet"]

    def forget(graph):
        replace(graph, "classes_bias_levels", np.zeros(10, np.int32))

    path = rewritten(int8_path, tmp_path / "spoilt.onnx", forget)
    check(path)
    found = agreement(model, FEATURES, float_path, path, [Clip(noise(), ())], rounded)
    assert found["simulated_max_difference"] > 0.05


def test_students_that_cannot_be_written_are_refused(tmp_path):
    known = (FEATURES, PARAMS["mobilenet"], tmp_path / "x.onnx", {})
    with pytest.raises(ExportError, match=r"x\.onnx: 2 labels for a student of 10 classes"):
        export(mobilenet(), *known, ["a", "b"])
    with pytest.raises(RangeError, match="never set"):
        export(fake_quant.prepare(mobilenet()), *known, LABELS)
    model = simulated(mobilenet())
    model.stem[0].bias.data[3] = 1e9
    with pytest.raises(RangeError, match="stem_0: its bias does not fit 32 bits"):
        export(model, *known, LABELS)
    assert not list(tmp_path.iterdir())


def test_exporting_trains_nothing(tmp_path):
    model = mobilenet().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export(model, FEATURES, PARAMS["mobilenet"], tmp_path / "x.onnx", {}, LABELS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_recurrent_student_may_have_fixed_classes_too(tmp_path):
    params = recurrent()
    model = bilstm(params, 40, numbered(10))
    export(model, FEATURES, params, tmp_path / "float.onnx", {}, LABELS)
    clip = noise(4, 9_000)
    with torch.inference_mode():
        expected = model.head(model.pool(*frames(clip)))[0].numpy()
    np.testing.assert_allclose(logits(tmp_path / "float.onnx", clip), expected, atol=1e-5)
    counts = quantize(tmp_path / "float.onnx", tmp_path / "int8.onnx")
    assert (counts["DynamicQuantizeLSTM"], counts["MatMulInteger"]) == (2, 1)
    assert check(tmp_path / "int8.onnx") == counts
    found = agreement(
        model, FEATURES, tmp_path / "float.onnx", tmp_path / "int8.onnx", [Clip(clip, ())]
    )
    assert 0 < found["int8_max_difference"] < 0.05
