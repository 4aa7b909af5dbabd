"""Nodes of an ONNX file that several students are made of, and the constants that they read."""

import numpy as np
from torch import nn

from earshot.export.parts import Part, array
from earshot.models.depthwise import Depthwise

# The quantizer calls the scale of a value X by X_scale: no constant of ours may be called so.
_NORM = "    {out} = LayerNormalization<epsilon=1e-5>({value}, {name}_gain, {name}_shift)\n"
_DENSE = """
    {out}_product = MatMul({value}, {name}_weight)
    {out} = Add({out}_product, {name}_bias)
"""
_SILU = """
    {out}_share = Sigmoid({value})
    {out} = Mul({value}, {out}_share)
"""
_DEPTHWISE = """
    {name}_by_unit = Transpose({value})
    {name}_clip = Unsqueeze({name}_by_unit, zero)
    {name}_conv = Conv<group={width}, pads=[{around}, {around}]>(
        {name}_clip, {name}_depth_weight, {name}_depth_bias
    )
    {name}_units = Squeeze({name}_conv, zero)
    {name}_near = Transpose({name}_units)
"""
_ADD = "    {out} = Add({one}, {other})\n"


class Nodes:
    """Nodes and constants as they are added; a value is known by its name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, form: str, **names: object) -> None:
        self.lines.append(form.format(**names))

    def norm(self, name: str, layer: nn.LayerNorm, value: str) -> str:
        self.constants |= {f"{name}_gain": array(layer.weight), f"{name}_shift": array(layer.bias)}
        self.add(_NORM, out=name, value=value, name=name)
        return name

    def dense(self, name: str, layer: nn.Linear, value: str) -> str:
        weight = np.ascontiguousarray(array(layer.weight).T)
        self.constants |= {f"{name}_weight": weight, f"{name}_bias": array(layer.bias)}
        self.add(_DENSE, out=name, value=value, name=name)
        return name

    def depthwise(self, name: str, layer: Depthwise, value: str) -> str:
        weight, bias = array(layer.weight.squeeze(3)), array(layer.bias)  # (D, 1, kernel), (D,)
        self.constants |= {f"{name}_depth_weight": weight, f"{name}_depth_bias": bias}
        sizes = {"width": layer.groups, "around": layer.padding[0]}
        self.add(_DEPTHWISE, name=name, value=value, **sizes)
        return f"{name}_near"

    def silu(self, name: str, value: str) -> str:
        self.add(_SILU, out=name, value=value)
        return name

    def sum(self, name: str, one: str, other: str) -> str:
        self.add(_ADD, out=name, one=one, other=other)
        return name

    def part(self) -> Part:
        """Return all of them."""
        return "".join(self.lines), self.constants
