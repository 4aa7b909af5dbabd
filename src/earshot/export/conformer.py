"""The Conformer as ONNX nodes: frames `mel` (T, n_mels) to `encoded` (T′, 1, D), T′ = ⌈T/stride⌉.

One clip at a time, so nothing is padded. Products with weights are MatMul, which int8 files
compute in integers; convolutions stay in float, as those in integers are slower.
"""

import numpy as np
from torch import nn

from earshot.export.nodes import Nodes
from earshot.export.parts import Part, array, ints
from earshot.models.conformer import Block, ConformerStudent, rates
from earshot.params import Features

_BEGIN = """
    mel_by_band = Transpose(mel)
    halved_0 = Unsqueeze(mel_by_band, zero)
"""
_HALVE = """
    halve_{number} = Conv<strides=[2], pads=[1, 1]>(
        halved_{number}, halve_{number}_weight, halve_{number}_bias
    )
    halve_{number}_share = Sigmoid(halve_{number})
    halved_{after} = Mul(halve_{number}, halve_{number}_share)
"""
_PLACES = """
    by_band = Squeeze(halved_{last}, zero)
    frames = Transpose(by_band)
    count_of_frames = Shape<start=0, end=1>(frames)
    count = Squeeze(count_of_frames, zero)
    numbers = Range(first_frame, count, one_frame)
    every_frame = Cast<to=1>(numbers)
    column = Unsqueeze(every_frame, one)
    angles = Mul(column, rates)
    sines = Sin(angles)
    cosines = Cos(angles)
    frame_places = Concat<axis=1>(sines, cosines)
    {placed} = Add(frames, frame_places)
"""
_CONDITION = """
    block_0 = Add(placed, language_vector)
"""
_HALF = "    {out} = Mul({value}, half)\n"
_ATTEND = """
    {name}_parts = Reshape({name}_qkv, parts_shape)
    {name}_heads = Transpose<perm=[1, 2, 0, 3]>({name}_parts)
    {name}_query, {name}_key, {name}_value = Split<axis=0, num_outputs=3>({name}_heads)
    {name}_turned = Transpose<perm=[0, 1, 3, 2]>({name}_key)
    {name}_scores = MatMul({name}_query, {name}_turned)
    {name}_scaled = Mul({name}_scores, attention_scale)
    {name}_weights = Softmax<axis=-1>({name}_scaled)
    {name}_context = MatMul({name}_weights, {name}_value)
    {name}_by_frame = Transpose<perm=[0, 2, 1, 3]>({name}_context)
    {name}_joined = Reshape({name}_by_frame, frames_shape)
"""
_GATE = """
    {name}_open, {name}_gate = Split<axis=1, num_outputs=2>({name}_both)
    {name}_share = Sigmoid({name}_gate)
    {name}_gated = Mul({name}_open, {name}_share)
"""
_END = "    encoded = Unsqueeze(block_{last}, one)\n"


class _Blocks(Nodes):
    """Nodes of a Conformer's blocks."""

    def feed(self, name: str, layer: nn.Sequential, value: str) -> str:
        """Add half a feed-forward layer to a value."""
        norm, wider, _, _, narrower = layer
        normed = self.norm(f"{name}_norm", norm, value)
        active = self.silu(f"{name}_active", self.dense(f"{name}_wider", wider, normed))
        self.add(_HALF, out=f"{name}_half", value=self.dense(f"{name}_narrower", narrower, active))
        return self.sum(f"{name}_sum", value, f"{name}_half")

    def attend(self, name: str, layer: nn.Module, value: str) -> str:
        self.dense(f"{name}_qkv", layer.qkv, self.norm(f"{name}_norm", layer.norm, value))
        self.add(_ATTEND, name=name)
        return self.sum(
            f"{name}_sum", value, self.dense(f"{name}_out", layer.out, f"{name}_joined")
        )

    def convolve(self, name: str, layer: nn.Module, value: str) -> str:
        self.dense(f"{name}_both", layer.gate, self.norm(f"{name}_norm", layer.norm, value))
        self.add(_GATE, name=name)
        near = self.depthwise(name, layer.depth, f"{name}_gated")
        between = self.norm(f"{name}_between", layer.between, near)
        mixed = self.dense(f"{name}_mix", layer.mix, self.silu(f"{name}_active", between))
        return self.sum(f"{name}_sum", value, mixed)

    def block(self, number: int, block: Block) -> None:
        name = f"block_{number}"
        value = self.feed(f"{name}_before", block.before, name)
        value = self.attend(f"{name}_attention", block.attention, value)
        value = self.convolve(f"{name}_convolution", block.convolution, value)
        value = self.feed(f"{name}_behind", block.behind, value)
        self.norm(f"block_{number + 1}", block.norm, value)


def encoder(student: ConformerStudent, features: Features, conditioned: bool = False) -> Part:
    """Return halving convolutions, places and blocks; silence counts like any frame. Where
    `conditioned`, `language_vector` is added to the frames before the blocks.
    """
    nodes = _Blocks()
    nodes.add(_BEGIN)
    for number, halve in enumerate(student.halve):
        weight, bias = f"halve_{number}_weight", f"halve_{number}_bias"
        nodes.constants |= {weight: array(halve.weight), bias: array(halve.bias)}
        nodes.add(_HALVE, number=number, after=number + 1)
    nodes.add(_PLACES, last=len(student.halve), placed="placed" if conditioned else "block_0")
    if conditioned:
        nodes.add(_CONDITION)
    for number, block in enumerate(student.blocks):
        nodes.block(number, block)
    nodes.add(_END, last=len(student.blocks))
    attention, width = student.blocks[0].attention, student.width
    heads, units = attention.heads, attention.units
    nodes.constants |= {
        "first_frame": np.int64(0),
        "one_frame": np.int64(1),
        "rates": array(rates(width))[None],
        "parts_shape": ints(-1, 3, heads, units),
        "frames_shape": ints(-1, heads * units),
        "attention_scale": np.float32([units**-0.5]),
        "half": np.float32([0.5]),
    }
    return nodes.part()
