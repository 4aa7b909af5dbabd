"""Convolutional students as ONNX nodes: frames `mel` (T, n_mels) to `logits` (C,), in float or in
QDQ form.

In QDQ form every rounded value goes through QuantizeLinear and DequantizeLinear, and weights are
stored as integers before a DequantizeLinear. Runtimes fuse these with the operator between into one
that computes in integers. Activations need no node there: their QuantizeLinear clips to 0 …
ceiling.
"""

from math import isinf

import numpy as np
from torch import nn

from earshot.export.front_end import FRONT_END
from earshot.export.parts import Part, array, ints
from earshot.models.blocks import EPSILON, Block, ConvStudent
from earshot.models.fake_quant import (
    WEIGHT_LIMIT,
    FoldedConv,
    FoldedHead,
    FoldedInputNorm,
    RangeError,
    Rounded,
    Then,
    require_ranges,
    weight_scale,
)

# the map that convolutions begin with; the nodes between mel and it compute in float
INPUT = "network_input"

_NORM = """
    input_scaled = Mul(mel, input_scale)
    input_bands = Add(input_scaled, input_shift)
    input_means = ReduceMean(input_bands, zero)
    input_centred = Sub(input_bands, input_means)
    input_squares = Mul(input_centred, input_centred)
    input_variances = ReduceMean(input_squares, zero)
    input_raised = Add(input_variances, input_epsilon)
    input_deviations = Sqrt(input_raised)
    input_instance = Div(input_centred, input_deviations)
    input_kept = Mul(input_bands, input_share)
    input_normed = Add(input_kept, input_instance)
"""


class _Nodes:
    """Nodes and constants as they are added. A value is known by its name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, name: str, operation: str) -> str:
        self.lines.append(f"    {name} = {operation}\n")
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value
        return name

    def rounded(
        self, name: str, value: str, rounded: Rounded | None, between: str = "{levels}"
    ) -> str:
        """Round a value, unless the student stays in float; `between` changes the shape of the
        integers.
        """
        if rounded is None:
            return (
                value
                if between == "{levels}"
                else self.add(f"{name}_shaped", between.format(levels=value))
            )
        scale, zero = rounded.grid()
        self.constant(f"{name}_scale", np.float32(scale))
        self.constant(f"{name}_zero", np.uint8(zero))
        levels = self.add(f"{name}_levels", f"QuantizeLinear({value}, {name}_scale, {name}_zero)")
        if between != "{levels}":
            levels = self.add(f"{name}_shaped", between.format(levels=levels))
        return self.add(f"{name}_rounded", f"DequantizeLinear({levels}, {name}_scale, {name}_zero)")

    def weights(self, name: str, layer: FoldedConv | FoldedHead) -> str:
        """Add a layer's weight `(C, …)` and bias `(C,)`; return their names as arguments."""
        if not layer.input_range:
            self.constant(f"{name}_weight", array(layer.weight))
            self.constant(f"{name}_bias", array(layer.bias))
            return f"{name}_weight, {name}_bias"
        scale, bias_scale = weight_scale(layer.weight), array(layer.bias_scale())
        per_channel = (1 / scale).reshape(-1, *[1] * (layer.weight.dim() - 1))
        levels = (layer.weight * per_channel).round().clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
        offsets = np.rint(array(layer.bias) / bias_scale)
        if np.abs(offsets).max() >= 2**31:
            raise RangeError(
                f"{name}: its bias does not fit 32 bits at scale {bias_scale.min():.3g}"
            )
        for part, integers, step in (
            ("weight", array(levels).astype(np.int8), array(scale)),
            ("bias", offsets.astype(np.int32), bias_scale),
        ):
            self.constant(f"{name}_{part}_levels", integers)
            self.constant(f"{name}_{part}_scale", step)
            self.constant(f"{name}_{part}_zero", np.zeros(len(step), integers.dtype))
            self.add(
                f"{name}_{part}",
                f"DequantizeLinear<axis=0>({name}_{part}_levels, {name}_{part}_scale, "
                f"{name}_{part}_zero)",
            )
        return f"{name}_weight, {name}_bias"

    def activated(self, name: str, value: str, ceiling: float | None) -> str:
        if ceiling is None:
            return value
        if isinf(ceiling):
            return self.add(f"{name}_active", f"Relu({value})")
        self.constant("nothing", np.float32(0))
        self.constant(f"{name}_ceiling", np.float32(ceiling))
        return self.add(f"{name}_active", f"Clip({value}, nothing, {name}_ceiling)")

    def conv(self, name: str, unit: FoldedConv, value: str) -> str:
        strides, pads = list(unit.stride), [*unit.padding, *unit.padding]
        settings = f"strides={strides}, pads={pads}, group={unit.groups}"
        result = self.add(name, f"Conv<{settings}>({value}, {self.weights(name, unit)})")
        if unit.rounded is None:
            return self.activated(name, result, unit.ceiling)
        return self.rounded(name, result, unit.rounded)

    def block(self, name: str, block: Block, value: str) -> str:
        wide = value if block.expand is None else self.conv(f"{name}_expand", block.expand, value)
        narrow = self.conv(
            f"{name}_project", block.project, self.conv(f"{name}_depth", block.depth, wide)
        )
        if block.sum is None:
            return narrow
        if block.shortcut is not None:
            part, rounded = _opened(block.shortcut)
            strides = f"strides={list(part.stride)}"
            value = self.add(
                f"{name}_mean",
                f"AveragePool<kernel_shape=[3, 3], {strides}, pads=[1, 1, 1, 1], "
                f"count_include_pad=1>({value})",
            )
            value = self.rounded(f"{name}_mean", value, rounded)
        part, rounded = _opened(block.sum)
        result = self.add(f"{name}_sum", f"Add({narrow}, {value})")
        if rounded is None:
            return self.activated(f"{name}_sum", result, part.ceiling)
        return self.rounded(f"{name}_sum", result, rounded)


def _opened(part: nn.Module) -> tuple[nn.Module, Rounded | None]:
    return (part.part, part.rounded) if isinstance(part, Then) else (part, None)


def network(student: ConvStudent) -> Part:
    """Return the nodes of a folded student: in QDQ form for one with ranges, else in float.

    Raises RangeError when the ranges were never set, or a bias does not fit.
    """
    nodes = _Nodes()
    front, rounded = _opened(student.front)
    if rounded is not None:
        require_ranges(student)
    value = FRONT_END
    if isinstance(front, FoldedInputNorm):
        nodes.lines.append(_NORM)
        value = "input_normed"
        nodes.constant("input_scale", array(front.scale))
        nodes.constant("input_shift", array(front.shift))
        nodes.constant("input_share", np.float32(front.residual))
        nodes.constant("input_epsilon", np.float32(EPSILON))
    nodes.constant("outer", ints(0, 1))
    value = nodes.rounded(INPUT, nodes.add(INPUT, f"Unsqueeze({value}, outer)"), rounded)
    for number, unit in enumerate(student.stem):
        value = nodes.conv(f"stem_{number}", unit, value)
    for number, stage in enumerate(student.stages):
        for place, block in enumerate(stage):
            value = nodes.block(f"stage_{number}_{place}", block, value)
    pooled = nodes.add("pooled", f"GlobalAveragePool({value})")
    pooled = nodes.rounded("pooled", pooled, _opened(student.mean)[1], "Flatten({levels})")
    nodes.add("scores", f"Gemm<transB=1>({pooled}, {nodes.weights('classes', student.head)})")
    nodes.add("logits", "Squeeze(scores, zero)")
    return "".join(nodes.lines), nodes.constants
