"""How much a file holds: its bytes, its constants, and those of the network alone."""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import onnx
import onnx.numpy_helper

from earshot.export.front_end import FRONT_END


def file_bytes(path: str | Path) -> int:
    """Return the bytes of a file, or of all files in a folder; FileNotFoundError names a missing
    one.
    """
    path = Path(path)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def onnx_parameters(path: str | Path) -> tuple[int, int]:
    """Return how many constant values an ONNX file holds, and their packed bytes.

    Everything stored counts: weights, scales, zero points, and the constants of a front end inside
    the file.
    """
    tensors = list(_tensors(onnx.load(path).graph))
    return sum(prod(tensor.dims) for tensor in tensors), sum(map(_packed_bytes, tensors))


def network_parameters(path: str | Path) -> tuple[int, int]:
    """Return the same of what comes behind the front end in a student's file: what DCASE's limit of
    128 kB is about.

    Weights, biases, scales and zero points count. ValueError names a file without a front end.
    """
    graph = onnx.load(path).graph
    names = [node.name for node in graph.node]
    if FRONT_END not in names:
        raise ValueError(f"{path}: not an Earshot student, no node is called {FRONT_END!r}")
    network = graph.node[names.index(FRONT_END) + 1 :]
    used = {name for node in network for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    tensors += _tensors(onnx.GraphProto(node=network))
    return sum(prod(tensor.dims) for tensor in tensors), sum(map(_packed_bytes, tensors))


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):  # the branches of If, the body of Loop
                yield from _tensors(attribute.g)


def _packed_bytes(tensor: onnx.TensorProto) -> int:
    return (
        len(tensor.raw_data)
        if tensor.HasField("raw_data")
        else onnx.numpy_helper.to_array(tensor).nbytes
    )
