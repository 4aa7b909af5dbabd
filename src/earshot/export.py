"""A student as one ONNX file: raw waveform and the ids of question and options in, logits out, front end inside."""

import json
from pathlib import Path

import librosa
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from earshot.files import atomic
from earshot.models.bilstm import BiLSTMStudent
from earshot.models.heads import ABSENT, OptionHead
from earshot.params import BiLSTM, Features
from earshot.text import PADDING

FRONT_END = "mel"  # the node that ends the front end: it and all before it compute in float
_IR, _OPSET = 10, 20
Part = tuple[str, dict[str, np.ndarray]]  # nodes in ONNX's text syntax, constants

# The kernels, cosines then sines, are picked from one turn of a circle when the file is loaded, which keeps them out of
# it. Their convolution takes a twentieth of the time of the operator STFT; the filters twice over add re² and im².
_LOG_MEL = """
    products = Mul(bins, taps)
    places = Mod(products, turn)
    waves = Gather<axis=1>(circle, places)
    windowed = Mul(waves, window)
    kernels = Reshape(windowed, kernel_shape)
    clip = Reshape(waveform, clip_shape)
    spectrum = Conv<strides=[{hop}], pads=[{half}, {half}]>(clip, kernels)
    squares = Mul(spectrum, spectrum)
    twice = Concat<axis=1>(filters, filters)
    batch = MatMul(twice, squares)
    bands = Squeeze(batch, zero)
    audible = Max(bands, floor)
    loudness = Log(audible)
"""
# Less its minimum first: a band that stays at the floor, as in telephone recordings, is then exactly zero. Otherwise
# nothing but rounding would be left of it, and dividing by its deviation would blow that up.
_CENTRE = """
    quietest = ReduceMin(loudness, one)
    raised = Sub(loudness, quietest)
    means = ReduceMean(raised, one)
    centred = Sub(raised, means)
"""
_SCALE = """
    distances = Mul(centred, centred)
    variances = ReduceMean(distances, one)
    deviations = Sqrt(variances)
    divisors = Add(deviations, little)
    scaled = Div(centred, divisors)
"""
_NORM = {
    "none": "mel = Transpose(loudness)",
    "mean": _CENTRE + "mel = Transpose(centred)",
    "meanvar": _CENTRE + _SCALE + "mel = Transpose(scaled)",
}

_STACK = """
    frames = Shape<end=1>(mel)
    less = Neg(frames)
    lack = Mod(less, stack)
    filling = Concat<axis=0>(no_frame, lack, zero)
    filled = Pad(mel, filling)
    layer_0 = Reshape(filled, stack_shape)
"""
_LAYER = """
    both_{layer} = LSTM<direction="bidirectional", hidden_size={hidden}>(layer_{below}, w_{layer}, r_{layer}, b_{layer})
    layer_{layer} = Reshape(both_{layer}, layer_shape)
"""
_POOL = """
    pooled = ReduceMean<keepdims=0>(layer_{last}, zero)
"""

_MEAN = """
    {name}_there = Sign({name})
    {name}_there_float = Cast<to=1>({name}_there)
    {name}_mask = Unsqueeze({name}_there_float, last)
    {name}_tokens = Gather(tokens, {name})
    {name}_present = Mul({name}_tokens, {name}_mask)
    {name}_sum = ReduceSum<keepdims=0>({name}_present, before_last)
    {name}_length = ReduceSum<keepdims=0>({name}_mask, before_last)
    {name}_divisor = Max({name}_length, unity)
    {name}_mean = Div({name}_sum, {name}_divisor)
    {name}_share = MatMul({name}_mean, {name}_weights)
"""
_ANSWER = """
    asked = Unsqueeze(question_share, one)
    joined = Add(asked, options_share)
    biased = Add(joined, embed_bias)
    active = Relu(biased)
    rows_unbiased = MatMul(active, row_weights)
    rows = Add(rows_unbiased, row_bias)
    matched = Mul(rows, pooled)
    scores = ReduceSum<keepdims=0>(matched, last)
    first = Gather<axis=2>(options, first_place)
    missing = Equal(first, padding)
    logits = Where(missing, absent, scores)
"""

_SIGNATURE = """student (
    float[samples] waveform, int64[items, question_ids] question, int64[items, choices, option_ids] options
) => (float[items, choices] logits) {{{nodes}}}"""


def export(
    student: BiLSTMStudent, features: Features, student_params: BiLSTM, path: str | Path, metadata: dict[str, str]
) -> None:
    """Write a student with its front end as one float ONNX file, atomically, the same bytes for the same weights.

    Inputs: `waveform` float32 (samples,) in [−1, 1] at the features' sample rate; `question` int64 (Q, Lq) and
    `options` int64 (Q, C, Lo), ids of `text.encode_item` padded with 0. Output: `logits` float32 (Q, C). Sizes vary.
    The file's metadata hold task, sample_rate, buckets, the parameters of features and student as JSON, and `metadata`.
    """
    described = metadata | {
        "task": "choice",
        "sample_rate": str(features.sample_rate),
        "buckets": str(student_params.text.buckets),
        "features": json.dumps(features.model_dump(), sort_keys=True),
        "student": json.dumps(student_params.model_dump(), sort_keys=True),
    }
    parts = [_shared(), _front_end(features), _encoder(student, features.n_mels), _head(student.head)]
    graph = onnx.parser.parse_graph(_SIGNATURE.format(nodes="".join(nodes for nodes, _ in parts)))
    for node in graph.node:
        node.name = node.output[0]
    for _, constants in parts:
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    opset = onnx.helper.make_opsetid("", _OPSET)
    model = onnx.helper.make_model(graph, ir_version=_IR, opset_imports=[opset], producer_name="earshot")
    onnx.helper.set_model_props(model, dict(sorted(described.items())))
    save(model, path)


def save(model: onnx.ModelProto, path: str | Path) -> None:
    """Check a model and write it atomically, the same bytes for the same content."""
    onnx.checker.check_model(model, full_check=True)
    with atomic(path) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))


def _ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)


def _shared() -> Part:
    return "", {"zero": _ints(0), "one": _ints(1), "last": _ints(-1), "before_last": _ints(-2)}


def _front_end(features: Features) -> Part:
    """The same numbers as `features.log_mel`: DFT by convolution, librosa's window and filters."""
    size, bins = features.n_fft, features.n_fft // 2 + 1
    window = librosa.filters.get_window(features.window, features.win_length, fftbins=True)
    angles = 2 * np.pi * np.arange(size) / size
    filters = librosa.filters.mel(
        sr=features.sample_rate, n_fft=size, n_mels=features.n_mels, fmin=features.fmin, fmax=features.fmax
    )
    constants = {
        "bins": np.arange(bins, dtype=np.int64)[:, None],
        "taps": np.arange(size, dtype=np.int64),
        "turn": _ints(size),
        "circle": np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32),
        "window": librosa.util.pad_center(window, size=size).astype(np.float32),
        "kernel_shape": _ints(2 * bins, 1, size),
        "clip_shape": _ints(1, 1, -1),
        "filters": filters,
        "floor": np.float32([1e-10]),
    }
    if features.norm == "meanvar":
        constants["little"] = np.float32([1e-5])
    return _LOG_MEL.format(hop=features.hop_length, half=size // 2) + _NORM[features.norm], constants


def _encoder(student: BiLSTMStudent, n_mels: int) -> Part:
    """Frame stacking, the bidirectional layers `(T, 1, ·)` and the mean over time, eqs. (1)–(2)."""
    nodes = [_STACK]
    constants = {
        "stack": _ints(student.stack),
        "no_frame": _ints(0, 0),
        "stack_shape": _ints(-1, 1, student.stack * n_mels),
        "layer_shape": _ints(-1, 1, student.width),
    }
    for layer, directions in enumerate(zip(student.ahead, student.behind, strict=True), start=1):
        nodes.append(_LAYER.format(below=layer - 1, layer=layer, hidden=student.width // 2))
        weights = [_lstm_weights(lstm) for lstm in directions]
        constants |= {f"{name}_{layer}": np.stack(pair) for name, *pair in zip("wrb", *weights, strict=True)}
    return "".join([*nodes, _POOL.format(last=len(student.ahead))]), constants


def _lstm_weights(lstm: nn.LSTM) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return W `(4H, I)`, R `(4H, H)` and B `(8H,)` of one direction: PyTorch's gates i f g o become ONNX's i o f c."""

    def gates(name: str) -> np.ndarray:
        i, f, g, o = _array(getattr(lstm, f"{name}_l0")).reshape(4, lstm.hidden_size, -1)
        return np.concatenate([i, o, f, g])

    return gates("weight_ih"), gates("weight_hh"), np.concatenate([gates("bias_ih"), gates("bias_hh")]).ravel()


def _head(head: OptionHead) -> Part:
    """Eq. (3). The first layer's weights are split: a question's share is computed once, not once an option."""
    hidden, _, rows = head.embed
    question_weights, option_weights = np.split(_array(hidden.weight).T, 2)
    constants = {
        "tokens": _array(head.tokens.weight),
        "question_weights": np.ascontiguousarray(question_weights),
        "options_weights": np.ascontiguousarray(option_weights),
        "embed_bias": _array(hidden.bias),
        "row_weights": np.ascontiguousarray(_array(rows.weight).T),
        "row_bias": _array(rows.bias),
        "unity": np.float32([1]),
        "first_place": np.array(0, np.int64),
        "padding": _ints(PADDING),
        "absent": np.float32([ABSENT]),
    }
    return _MEAN.format(name="question") + _MEAN.format(name="options") + _ANSWER, constants
