"""Eight-bit weights for a student's ONNX file, and how far its answers move."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnxruntime.quantization import quantize_dynamic

from earshot.export import FRONT_END, save
from earshot.features import log_mel
from earshot.models.bilstm import BiLSTMStudent
from earshot.params import Features
from earshot.predict import Student

Clip = tuple[np.ndarray, np.ndarray, np.ndarray]  # samples (N,), question ids (Lq,), option ids (C, Lo)
_QUANTIZED = ["LSTM", "MatMul", "Gather"]


class QuantizationError(ValueError):
    """A file that cannot be quantized, or is not int8 throughout; the message names it."""


def quantize(float_path: str | Path, int8_path: str | Path) -> dict[str, int]:
    """Write the int8 form of a float student, atomically, and return how many operators of each type it has.

    Weights become int8, one scale per output channel; activations become uint8 as they come. The front end stays in
    float, metadata are kept. Weights use 7 of their 8 bits: x86 processors without VNNI saturate otherwise, and answers
    would depend on the machine. Raises QuantizationError when the file is no student or operators are left in float.
    """
    model = _load(float_path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    front_end = [node.name for node in _split(model, float_path)[0]]
    with TemporaryDirectory() as folder, _quiet():
        raw = Path(folder, "int8.onnx")
        quantize_dynamic(
            model, raw, op_types_to_quantize=_QUANTIZED, nodes_to_exclude=front_end, per_channel=True, reduce_range=True
        )
        model = onnx.load(raw)
    onnx.helper.set_model_props(model, metadata)
    counts = _count(model, float_path)
    save(model, int8_path)
    return counts


def check(path: str | Path) -> dict[str, int]:
    """Return how many operators of each type an int8 student has; QuantizationError names those left in float."""
    return _count(_load(path), path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's advice, which goes to the root logger, from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _load(path: str | Path) -> onnx.ModelProto:
    try:
        return onnx.load(path)
    except (OSError, DecodeError) as error:
        raise QuantizationError(f"{path}: not a readable ONNX file ({type(error).__name__})") from None


def _split(model: onnx.ModelProto, path: str | Path) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    nodes = list(model.graph.node)
    names = [node.name for node in nodes]
    if FRONT_END not in names:
        raise QuantizationError(f"{path}: not an Earshot student, no node is called {FRONT_END!r}")
    end = names.index(FRONT_END) + 1
    return nodes[:end], nodes[end:]


def _count(model: onnx.ModelProto, path: str | Path) -> dict[str, int]:
    tables = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    _, nodes = _split(model, path)
    left = [
        f"{node.name} ({node.op_type})"
        for node in nodes
        if node.op_type in ("LSTM", "MatMul") or (node.op_type == "Gather" and node.input[0] in tables)
    ]
    counts = Counter(node.op_type for node in model.graph.node)
    if left or not counts["DynamicQuantizeLSTM"]:
        raise QuantizationError(f"{path}: not int8, left in float: {', '.join(left) or 'no LSTM at all'}")
    return dict(sorted(counts.items()))


@torch.inference_mode()
def agreement(
    student: BiLSTMStudent, features: Features, float_path: str | Path, int8_path: str | Path, clips: Sequence[Clip]
) -> dict[str, float]:
    """Compare PyTorch, float ONNX and int8 ONNX, one item per clip, in logits and in the share of same answers.

    `float_…` is float ONNX against PyTorch, `int8_…` is int8 against float ONNX; differences are absolute.
    """
    if not clips:
        raise QuantizationError("no clips to compare")
    student.eval()
    in_float, in_int8 = Student(float_path), Student(int8_path)
    float_differences, int8_differences, float_same, int8_same = [], [], [], []
    for samples, question, options in clips:
        mel = torch.from_numpy(log_mel(samples, features))[None]
        pooled = student.pool(mel, torch.tensor([mel.shape[1]]))
        expected = student.head(pooled, torch.from_numpy(question)[None], torch.from_numpy(options)[None]).numpy()
        exact, rounded = (model.logits(samples, question[None], options[None]) for model in (in_float, in_int8))
        float_differences.append(np.abs(exact - expected).max())
        int8_differences.append(np.abs(rounded - exact))
        float_same.append(exact.argmax() == expected.argmax())
        int8_same.append(rounded.argmax() == exact.argmax())
    int8 = np.concatenate(int8_differences, axis=None)
    return {
        "float_max_difference": float(np.max(float_differences)),
        "float_same_answers": float(np.mean(float_same)),
        "int8_max_difference": float(int8.max()),
        "int8_mean_difference": float(int8.mean()),
        "int8_same_answers": float(np.mean(int8_same)),
    }
