"""Eight-bit files: recurrent students quantized, any student checked by its operators and compared
with PyTorch.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnxruntime.quantization import quantize_dynamic

from earshot.export.cnn import INPUT
from earshot.export.front_end import FRONT_END
from earshot.export.onnx_file import save

_DYNAMIC = ["LSTM", "MatMul", "Gather"]
# All that a convolutional student may be made of behind its front end, once the runtime has fused
# the file.
_STATIC = {"QLinearConv", "QLinearAdd", "QLinearAveragePool", "QLinearGlobalAveragePool", "QGemm"}
_SHAPES = {"Flatten", "Squeeze", "Reshape"}
_ERRORS_ONLY = 3


class QuantizationError(ValueError):
    """A file that cannot be quantized, or is not int8 throughout; the message names it."""


def quantize(float_path: str | Path, int8_path: str | Path) -> dict[str, int]:
    """Write the int8 form of a recurrent or attentive float student, atomically; return how many
    operators of each type it has.

    Weights become int8, one scale per output channel; activations become uint8 as they come. The
    front end stays in float, metadata are kept. Weights use 7 of their 8 bits: x86 processors
    without VNNI saturate otherwise, and answers would depend on the machine. Raises
    QuantizationError when the file is no student or operators are left in float.
    """
    model = _load(float_path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    front_end = [node.name for node in _split(model, float_path)[0]]
    with TemporaryDirectory() as folder, _quiet():
        raw = Path(folder, "int8.onnx")
        quantize_dynamic(
            model,
            raw,
            op_types_to_quantize=_DYNAMIC,
            nodes_to_exclude=front_end,
            per_channel=True,
            reduce_range=True,
        )
        model = onnx.load(raw)
    _share(model.graph)
    onnx.helper.set_model_props(model, metadata)
    counts = _count_dynamic(model, float_path)
    save(model, int8_path)
    return counts


def _share(graph: onnx.GraphProto) -> None:
    """Let recurrent layers that run again with weights of others have these in int8 too: the
    quantizer turns each weight once, and leaves the second layer in float.
    """
    turned = {node.input[3]: node for node in graph.node if node.op_type == "DynamicQuantizeLSTM"}
    again = [node for node in graph.node if node.op_type == "LSTM" and node.input[3] in turned]
    for node in again:  # by its bias
        source, made, name = node.input[0], list(node.output), node.name
        node.CopyFrom(turned[node.input[3]])
        node.input[0], node.name = source, name
        del node.output[:]
        node.output.extend(made)
    if not again:
        return
    used = {name for node in graph.node for name in node.input}
    weights = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    for unread in [node for node in weights if node.output[0] not in used]:
        graph.node.remove(unread)
    used = {name for node in graph.node for name in node.input}
    for unused in [one for one in graph.initializer if one.name not in used]:
        graph.initializer.remove(unused)


def check(path: str | Path) -> dict[str, int]:
    """Return how many operators of each type an int8 student has; QuantizationError names those
    left in float.

    Recurrent and attentive students are counted as stored; their convolutions stay in float.
    Convolutional ones are stored in QDQ form, where every operator looks like float: they are
    counted as the runtime has fused them, and their weights must be stored as int8.
    """
    model = _load(path)
    if INPUT in {node.name for node in _split(model, path)[1]}:
        return _count_static(model, path)
    return _count_dynamic(model, path)


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
        raise QuantizationError(
            f"{path}: not a readable ONNX file ({type(error).__name__})"
        ) from None


def _split(
    model: onnx.ModelProto, path: str | Path, end: str = FRONT_END
) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    nodes = list(model.graph.node)
    names = [node.name for node in nodes]
    if end not in names:
        raise QuantizationError(f"{path}: not an Earshot student, no node is called {end!r}")
    place = names.index(end) + 1
    return nodes[:place], nodes[place:]


def _count_dynamic(model: onnx.ModelProto, path: str | Path) -> dict[str, int]:
    tables = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    _, nodes = _split(model, path)
    left = [
        f"{node.name} ({node.op_type})"
        for node in nodes
        if node.op_type == "LSTM"
        or (node.op_type == "MatMul" and tables.intersection(node.input))
        or (node.op_type == "Gather" and node.input[0] in tables)
    ]
    counts = Counter(node.op_type for node in model.graph.node)
    if left or not (counts["DynamicQuantizeLSTM"] or counts["MatMulInteger"]):
        raise QuantizationError(
            f"{path}: not int8, left in float: {', '.join(left) or 'no product of weights at all'}"
        )
    return dict(sorted(counts.items()))


def _count_static(model: onnx.ModelProto, path: str | Path) -> dict[str, int]:
    before, network = _split(model, path, INPUT)
    in_float = {node.name for node in before}
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    stored = {
        node.output[0]: kinds.get(node.input[0])
        for node in network
        if node.op_type == "DequantizeLinear"
    }
    weights = [node.input[1] for node in network if node.op_type in ("Conv", "Gemm")]
    if loose := [name for name in weights if stored.get(name) != onnx.TensorProto.INT8]:
        raise QuantizationError(f"{path}: not int8, stored in float: {', '.join(loose)}")
    fused = [node for node in _fused(path).graph.node if node.name not in in_float]
    counts = Counter(node.op_type for node in fused)
    left = [
        f"{node.name} ({node.op_type})"
        for node in fused
        if node.op_type not in _STATIC | _SHAPES | {"QuantizeLinear"}
    ]
    if left or counts["QuantizeLinear"] != 1:  # the input's
        raise QuantizationError(
            f"{path}: not int8, left in float: {', '.join(left) or 'values between operators'}"
        )
    return dict(sorted(counts.items()))


def _fused(path: str | Path) -> onnx.ModelProto:
    """Return a file as ONNX Runtime runs it on any processor, before it rearranges it for this
    one.
    """
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = _ERRORS_ONLY
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    with TemporaryDirectory() as folder:
        settings.optimized_model_filepath = str(Path(folder, "fused.onnx"))
        try:
            onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no other class
            raise QuantizationError(f"{path}: cannot be run ({type(error).__name__})") from None
        return onnx.load(settings.optimized_model_filepath)
