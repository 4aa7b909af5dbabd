"""What a model costs: weights, multiply-accumulates, bytes, latency, memory."""

import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch.utils.flop_counter import FlopCounterMode


def parameters(module: "torch.nn.Module") -> int:
    """Return the number of weights, trained and frozen, shared ones once; buffers do not count."""
    return sum(weight.numel() for weight in module.parameters())


def macs(module: Callable, *inputs: Any) -> int:
    """Return the multiply-accumulates of `module(*inputs)` on the CPU, by running it once without
    gradients.

    Matrix products, convolutions, recurrent layers and attention count; additions, activations,
    norms, look-ups and the Fourier transform do not. PyTorch's counter halves to MACs, and is given
    the CPU kernels that it takes for free.
    """
    return _count(module, *inputs).get_total_flops() // 2


class Layer(NamedTuple):
    """One part of a model: its path and class, the shape of its output, its own weights and
    multiply-accumulates.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    macs: int


def layers(module: "torch.nn.Module", *inputs: Any, call: Callable | None = None) -> list[Layer]:
    """Return a row for each part of `module` that ran, in the order they finished, each without the
    parts within it.

    `call(*inputs)`, by default `module(*inputs)`, runs once; the rows' MACs add up to `macs(call,
    *inputs)`. A part that only holds others has no row.
    """
    import torch

    # the counter names parts by their path within the outermost module that runs
    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = module

        def forward(self, *inputs: Any) -> None:
            (call or module)(*inputs)

    whole = Whole()
    shapes, flops = _traced(whole, *inputs)
    macs = _without_parts(
        {name: sum(flops.get(f"Whole.{name}".rstrip("."), {}).values()) // 2 for name in shapes}
    )
    rows = []
    for name, shape in shapes.items():
        part = whole.get_submodule(name)
        kind = type(module if part is whole else part).__name__
        parameters = sum(weight.numel() for weight in part.parameters(recurse=False))
        if parameters or macs[name] or _is_leaf(name, shapes):
            path = name.removeprefix("part").removeprefix(".")
            rows.append(Layer(path, kind, shape, parameters, macs[name]))
    return rows


def _traced(
    whole: "torch.nn.Module", *inputs: Any
) -> tuple[dict[str, tuple[int, ...]], dict[str, dict[Any, int]]]:
    """Run a module; return the output shape of each part that ran, and its operations by path."""
    shapes: dict[str, tuple[int, ...]] = {}

    def hook(name: str) -> Callable:
        return lambda _, __, output: shapes.update({name: _shape(output)})

    hooks = [part.register_forward_hook(hook(name)) for name, part in whole.named_modules()]
    try:
        return shapes, _count(whole, *inputs).get_flop_counts()
    finally:
        for one in hooks:
            one.remove()


def _without_parts(totals: dict[str, int]) -> dict[str, int]:
    """Return of parts, by their dotted path, what is not of the parts within them."""
    left = dict(totals)
    for name, total in totals.items():
        above = name
        while above:
            above = above.rpartition(".")[0]
            if above in left:
                left[above] -= total
                break
    return left


def _is_leaf(name: str, ran: Iterable[str]) -> bool:
    return bool(name) and not any(other.startswith(f"{name}.") for other in ran)


def _shape(output: Any) -> tuple[int, ...]:
    """Return the shape of a tensor, or of the first of several."""
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    return tuple(getattr(output, "shape", ()))


def _count(call: Callable, *inputs: Any) -> "FlopCounterMode":
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
            call(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter


def _lstm_flops(frames: tuple, w_input: tuple, w_hidden: tuple, *_: Any, **__: Any) -> int:
    """One direction of one layer: frames `(T, B, I)`, weights `(4H, I)` and `(4H, H)`, all used
    once per frame.
    """
    return 2 * frames[0] * frames[1] * (prod(w_input) + prod(w_hidden))


def _attention_flops(query: tuple, key: tuple, value: tuple, *_: Any, **__: Any) -> int:
    """Query `(B, H, T, D)`, key `(B, H, U, D)`, value `(B, H, U, V)`: every query meets every key,
    masked or not.
    """
    return 2 * prod(query[:3]) * key[2] * (query[3] + value[3])


def latency(
    calls: Sequence[Callable[[], Any]], rounds: int, warmup: int = 3
) -> list[dict[str, float]]:
    """Return median, 10th and 90th percentile of the wall-clock milliseconds of each call on the
    calling thread.

    Calls take turns, so that a slow moment hits all alike. The thread count of torch or ONNX
    Runtime is the caller's to set.
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds} must be at least 1")
    spent = np.zeros((warmup + rounds, len(calls)))
    for turn in range(warmup + rounds):
        for place, call in enumerate(calls):
            begin = time.perf_counter_ns()
            call()
            spent[turn, place] = (time.perf_counter_ns() - begin) / 1e6
    names = ("low_ms", "median_ms", "high_ms")
    return [
        dict(zip(names, np.percentile(of_call, [10, 50, 90]).tolist(), strict=True))
        for of_call in spent[warmup:].T
    ]


def peak_memory_mb(children: int = 1) -> float:
    """Return an upper bound in MB (1e6 bytes) on the resident memory this process and its children
    held at once.

    It is the peak of this process plus `children` times that of its largest *finished* child. A new
    process inherits the peak of the one that starts it, so measure a command from a small process.
    """
    unit = 1 if sys.platform == "darwin" else 1024  # macOS reports bytes
    parent, child = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return (parent + children * child) * unit / 1e6
