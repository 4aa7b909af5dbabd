"""A student's ONNX files, float and int8, against PyTorch."""

import json
import logging

import numpy as np
import onnx
import onnxruntime
import pytest
import soxr
import torch
from onnx import helper
from students import bilstm, recurrent

from earshot.export.agreement import Clip, agreement
from earshot.export.front_end import FRONT_END
from earshot.export.int8 import QuantizationError, check, quantize
from earshot.export.onnx_file import export, save
from earshot.features.log_mel import log_mel
from earshot.models.bilstm import BiLSTMStudent
from earshot.models.heads import ABSENT, Encoded, encode
from earshot.params import BiLSTM, Features, Text
from earshot.predict import Student
from earshot.text import encode_item, pad

TEXT = Text(buckets=64, dim=6)
FEATURES = Features()
TELEPHONE = {"sample_rate": 8000, "fmin": 50.0, "fmax": 3800.0}


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def items() -> tuple[np.ndarray, np.ndarray]:
    """Two questions of unlike length; the second has two options only."""
    first, first_options = encode_item(
        "what did Mary buy", ["a bike", "a very long coat", "lamps"], TEXT.buckets
    )
    second, second_options = encode_item("where", ["here", "there"], TEXT.buckets)
    options = np.zeros((2, 3, first_options.shape[1]), np.int64)
    options[0] = first_options
    options[1, :2, : second_options.shape[1]] = second_options
    return pad([first.tolist(), second.tolist()]), options


def heard(model: BiLSTMStudent, frames: np.ndarray) -> Encoded:
    """What a student makes of log-mel frames `(T, F)` that two questions are about."""
    passage = torch.zeros(2, dtype=torch.long)
    return encode(model, torch.from_numpy(frames)[None], torch.tensor([len(frames)]), passage)


@torch.inference_mode()
def by_torch(model: BiLSTMStudent, frames: np.ndarray, questions, options) -> np.ndarray:
    inputs = torch.from_numpy(questions), torch.from_numpy(options)
    return model.head(heard(model, frames), *inputs).numpy()


def exported(
    folder, features: Features = FEATURES, name: str = "float.onnx", pool: str = "mean", **shape
):
    text = TEXT.model_copy(update={"pool": pool, "sharpness": 2.0})
    params = recurrent(dropout=0.5, text=text, **shape)
    model = bilstm(params, features.n_mels)
    if pool == "match":
        model.head.tokens.weight.data *= 50  # as if it had learned
    export(model, features, params, folder / name, {"recipe": "kd"})
    return model, folder / name


# 1 and 159 samples are a single frame; 160·k and its neighbours are on either side of a hop; frames
# are not all multiples of the stack
@pytest.mark.parametrize("stack", [1, 3, 4])
@pytest.mark.parametrize("samples", [1, 159, 160, 161, 3_199, 16_000, 40_123])
@pytest.mark.parametrize("pool", ["mean", "attend", "match"])
def test_float_file_computes_what_pytorch_does(tmp_path, pool, stack, samples):
    model, path = exported(tmp_path, stack=stack, pool=pool)
    clip, (questions, options) = noise(samples), items()
    expected = by_torch(model, log_mel(clip, FEATURES), questions, options)
    logits = Student(path).logits(clip, questions, options)
    assert logits.dtype == np.float32
    assert logits.shape == (2, 3)
    assert logits[1, 2] == ABSENT
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert np.ptp(expected[0]) > 1e-3  # a constant would agree too


@pytest.mark.parametrize(
    "features",
    [
        Features(norm="none"),
        Features(norm="mean"),
        Features(norm="mean", silence_db=40),
        Features(silence_db=40),
        Features(silence_db=40, silence="quietest"),
        Features(n_fft=512, win_length=300, hop_length=128, window="hamming"),
        Features(**TELEPHONE, n_fft=201, win_length=200, hop_length=80, n_mels=23),
        Features(n_fft=400, hop_length=500),  # a hop beyond the window
    ],
)
def test_every_feature_setting_is_in_the_file(tmp_path, features):
    model, path = exported(tmp_path, features)
    clip, (questions, options) = np.pad(noise(7_001), 1_500), items()
    expected = by_torch(model, log_mel(clip, features), questions, options)
    np.testing.assert_allclose(Student(path).logits(clip, questions, options), expected, atol=1e-5)


@pytest.mark.parametrize("pool", ["mean", "attend", "match"])
@pytest.mark.parametrize("sounds", [1, 2_500, 0])  # samples of a word in two seconds of silence
def test_silence_counts_for_nothing_in_either_form(tmp_path, pool, sounds):
    features = Features(silence_db=40)
    model, path = exported(tmp_path, features, pool=pool)
    clip = np.zeros(32_000, np.float32)
    clip[9_000 : 9_000 + sounds] = noise(sounds)
    questions, options = items()
    expected = by_torch(model, log_mel(clip, features), questions, options)
    student = Student(path)
    np.testing.assert_allclose(student.logits(clip, questions, options), expected, atol=1e-4)
    quantize(path, tmp_path / "int8.onnx")
    assert np.isfinite(Student(tmp_path / "int8.onnx").logits(clip, questions, options)).all()
    if pool != "mean" and sounds == 2_500:
        attention = student.attention(clip, questions, options)[0, 0]  # of stacks of 640 samples
        assert attention[13:19].sum() == pytest.approx(1, abs=1e-5)
        assert not attention[:13].any()


@pytest.mark.parametrize("layers", [1, 3])
def test_any_number_of_layers(tmp_path, layers):
    model, path = exported(tmp_path, layers=layers)
    clip, (questions, options) = noise(5_000), items()
    expected = by_torch(model, log_mel(clip, FEATURES), questions, options)
    np.testing.assert_allclose(Student(path).logits(clip, questions, options), expected, atol=1e-5)
    assert quantize(path, tmp_path / "int8.onnx")["DynamicQuantizeLSTM"] == layers


def test_bands_that_stay_at_the_floor_count_as_nothing(tmp_path):
    """Telephone recordings have nothing above 4 kHz: those bands are constant, and zero once
    centred.
    """
    model, path = exported(tmp_path)
    clip = soxr.resample(noise(12_000) * np.hanning(12_000).astype(np.float32) * 0.1, 8_000, 16_000)
    constant = np.ptp(log_mel(clip, Features(norm="none")), axis=0) == 0
    assert constant.sum() > 3
    questions, options = items()
    expected = by_torch(model, log_mel(clip, FEATURES) * ~constant, questions, options)
    np.testing.assert_allclose(Student(path).logits(clip, questions, options), expected, atol=1e-3)


def test_signature_and_metadata(tmp_path):
    _, path = exported(tmp_path)
    session = onnxruntime.InferenceSession(path)
    assert {entry.name: (entry.type, len(entry.shape)) for entry in session.get_inputs()} == {
        "waveform": ("tensor(float)", 1),
        "question": ("tensor(int64)", 2),
        "options": ("tensor(int64)", 3),
    }
    assert all(isinstance(size, str) for entry in session.get_inputs() for size in entry.shape)
    metadata = Student(path).metadata
    assert metadata["task"] == "choice"
    assert metadata["recipe"] == "kd"
    assert metadata["sample_rate"] == "16000"
    assert metadata["buckets"] == "64"
    assert Features.model_validate(json.loads(metadata["features"])) == Features()
    assert BiLSTM.model_validate(json.loads(metadata["student"])).hidden == 8
    quantize(path, tmp_path / "int8.onnx")
    assert Student(tmp_path / "int8.onnx").metadata == metadata


def test_same_weights_same_bytes_and_no_more_files(tmp_path):
    for name in ("a", "b"):  # two exports in one process
        exported(tmp_path, name=f"{name}.onnx")
        quantize(tmp_path / f"{name}.onnx", tmp_path / f"{name}.int8.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert (tmp_path / "a.int8.onnx").read_bytes() == (tmp_path / "b.int8.onnx").read_bytes()
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("pool", "weights", "products"),
    [
        ("mean", 3, 3),  # question, options, rows; the front end
        ("attend", 4, 5),  # keys too; and with frames, which are nobody's weights, keys and rows
        ("match", 1, 4),  # the question; and the options with frames
    ],
)
def test_int8_file_is_int8_but_for_the_front_end(tmp_path, caplog, capfd, pool, weights, products):
    _, path = exported(tmp_path, pool=pool)
    with caplog.at_level(logging.DEBUG):
        counts = quantize(path, tmp_path / "int8.onnx")
    assert not caplog.records and capfd.readouterr() == ("", "")
    assert counts["DynamicQuantizeLSTM"] == 2
    assert (counts["MatMulInteger"], counts["MatMul"]) == (weights, products)
    assert counts["Conv"] == 1  # Fourier transform
    assert "LSTM" not in counts
    assert counts == check(tmp_path / "int8.onnx")
    model = onnx.load(tmp_path / "int8.onnx")
    tables = [tensor for tensor in model.graph.initializer if len(tensor.dims) > 1]
    in_float = {table.name for table in tables if table.data_type == onnx.TensorProto.FLOAT}
    levels = [table for table in tables if table.data_type == onnx.TensorProto.INT8]
    arrays = [onnx.numpy_helper.to_array(table).astype(int) for table in levels]
    assert len(arrays) >= 8 and max(np.abs(array).max() for array in arrays) == 64  # seven bits
    scales = {f"{weights}_{layer}_scale" for weights in "wr" for layer in (1, 2)}
    assert in_float == {"circle", "window", "b_1", "b_2"} | scales
    assert (tmp_path / "int8.onnx").stat().st_size < path.stat().st_size


@pytest.mark.parametrize("pool", ["attend", "match"])
def test_a_file_that_attends_says_where(tmp_path, pool):
    model, path = exported(tmp_path, pool=pool)
    clip, (questions, options) = noise(9_000), items()
    attention = Student(path).attention(clip, questions, options)
    encoded = heard(model, log_mel(clip, FEATURES))
    expected = model.head.attend(encoded, *map(torch.from_numpy, (questions, options)))[1]
    np.testing.assert_allclose(attention, expected.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-5)
    _, plain = exported(tmp_path, name="plain.onnx")
    assert Student(plain).attention(clip, questions, options) is None


def test_agreement(tmp_path):
    model, path = exported(tmp_path, hidden=16)
    quantize(path, tmp_path / "int8.onnx")
    options = ["a bike", "a lamp", "the long coat", "nothing at all"]
    clips = []
    for n in range(20):
        inputs = encode_item(f"question {n}", options, 64)
        clips.append(Clip(noise(8_000 + 77 * n, n), tuple(ids[None] for ids in inputs)))
    found = agreement(model, FEATURES, path, tmp_path / "int8.onnx", clips)
    assert 0 < found["float_max_difference"] < 1e-5
    assert found["float_same_answers"] == 1
    assert 1e-6 < found["int8_mean_difference"] < found["int8_max_difference"] < 0.05
    assert found["int8_same_answers"] >= 0.85
    same = agreement(model, FEATURES, path, path, clips)
    assert same["int8_max_difference"] == 0
    assert same["int8_same_answers"] == 1
    other = exported(tmp_path, name="other.onnx", hidden=12)[0]  # not the student in the file
    assert agreement(other, FEATURES, path, path, clips)["float_max_difference"] > 1e-2
    with pytest.raises(ValueError, match="no clips"):
        agreement(model, FEATURES, path, path, [])


def test_a_float_file_is_refused(tmp_path):
    _, path = exported(tmp_path)
    with pytest.raises(
        QuantizationError, match=r"float\.onnx: not int8.*: both_1 \(LSTM\), both_2 \(LSTM\), "
    ):
        check(path)


def rewritten(path, change):
    model = onnx.load(path)
    change(model.graph)
    save(model, path)


def test_an_lstm_that_cannot_be_quantized_is_refused_and_nothing_written(tmp_path):
    _, path = exported(tmp_path)

    # its weights are no longer constants, and the quantizer passes it by in silence
    def through_identity(graph):
        node = next(node for node in graph.node if node.name == "both_2")
        node.input[1] = "computed"
        graph.node.insert(0, helper.make_node("Identity", ["w_2"], ["computed"], "computed"))

    rewritten(path, through_identity)
    with pytest.raises(
        QuantizationError, match=r"float\.onnx: not int8, left in float: both_2 \(LSTM\)"
    ):
        quantize(path, tmp_path / "int8.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["float.onnx"]


def test_other_files_are_refused(tmp_path):
    _, path = exported(tmp_path)
    (tmp_path / "text.onnx").write_text("hello")

    def rename(graph):
        next(node for node in graph.node if node.name == FRONT_END).name = "x"

    rewritten(path, rename)
    faults = {"none": "a readable", "text": "a readable", "float": "an Earshot"}
    for name, message in faults.items():
        with pytest.raises(QuantizationError, match=rf"{name}\.onnx: not {message}"):
            quantize(tmp_path / f"{name}.onnx", tmp_path / "int8.onnx")
