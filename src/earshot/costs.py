"""What a model costs: weights, multiply-accumulates, bytes, latency, memory."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    import torch


def parameters(module: "torch.nn.Module") -> int:
    """Return the number of weights, trained and frozen, shared ones once; buffers do not count."""
    return sum(weight.numel() for weight in module.parameters())


def macs(module: Callable, *inputs: Any) -> int:
    """Return the multiply-accumulates of `module(*inputs)` on the CPU, by running it once without gradients.

    Matrix products, convolutions, recurrent layers and attention count; additions, activations, norms, look-ups and the
    Fourier transform do not. PyTorch's counter halves to MACs, and is given the CPU kernels that it takes for free.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    aten = torch.ops.aten
    kernels = {
        aten.mkldnn_rnn_layer: _lstm_flops,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten.mv: lambda matrix, vector, **_: 2 * prod(matrix),
        aten.dot: lambda a, b, **_: 2 * prod(a),
    }
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one opaque kernel for a whole encoder layer
    try:
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=kernels) as counter:
            module(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops() // 2


def _lstm_flops(frames: tuple, w_input: tuple, w_hidden: tuple, *_: Any, **__: Any) -> int:
    """One direction of one layer: frames `(T, B, I)`, weights `(4H, I)` and `(4H, H)`, all used once per frame."""
    return 2 * frames[0] * frames[1] * (prod(w_input) + prod(w_hidden))


def _attention_flops(query: tuple, key: tuple, value: tuple, *_: Any, **__: Any) -> int:
    """Query `(B, H, T, D)`, key `(B, H, U, D)`, value `(B, H, U, V)`: every query meets every key, masked or not."""
    return 2 * prod(query[:3]) * key[2] * (query[3] + value[3])


def file_bytes(path: str | Path) -> int:
    """Return the bytes of a file, or of all files in a folder; FileNotFoundError names a missing one."""
    path = Path(path)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def onnx_parameters(path: str | Path) -> tuple[int, int]:
    """Return how many constant values an ONNX file holds, and their packed bytes.

    Everything stored counts: weights, scales, zero points, and the constants of a front end inside the file.
    """
    import onnx

    tensors = list(_tensors(onnx.load(path).graph))
    return sum(prod(tensor.dims) for tensor in tensors), sum(map(_packed_bytes, tensors))


def _tensors(graph: "onnx.GraphProto") -> "Iterator[onnx.TensorProto]":
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):  # the branches of If, the body of Loop
                yield from _tensors(attribute.g)


def _packed_bytes(tensor: "onnx.TensorProto") -> int:
    import onnx

    return len(tensor.raw_data) if tensor.HasField("raw_data") else onnx.numpy_helper.to_array(tensor).nbytes


def latency(call: Callable[[], Any], rounds: int, warmup: int = 3) -> dict[str, float]:
    """Return median, 10th and 90th percentile of the wall-clock milliseconds of `call()` on the calling thread.

    The thread count of torch or ONNX Runtime is the caller's to set.
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds} must be at least 1")
    for _ in range(warmup):
        call()
    spent = []
    for _ in range(rounds):
        begin = time.perf_counter_ns()
        call()
        spent.append((time.perf_counter_ns() - begin) / 1e6)
    low, median, high = np.percentile(spent, [10, 50, 90])
    return {"median_ms": float(median), "low_ms": float(low), "high_ms": float(high)}


def peak_memory_mb(children: int = 1) -> float:
    """Return an upper bound in MB (1e6 bytes) on the resident memory this process and its children held at once.

    It is the peak of this process plus `children` times that of its largest *finished* child. A new process inherits
    the peak of the one that starts it, so measure a command from a small process.
    """
    unit = 1 if sys.platform == "darwin" else 1024  # macOS reports bytes
    own, child = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (own + children * child) * unit / 1e6
