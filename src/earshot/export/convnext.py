"""The ConvNeXt as ONNX nodes: frames `mel` (T, n_mels) to `encoded` (T′, 1, D), T′ = ⌈T/stack⌉.

One clip at a time, so nothing is padded. Products with weights are MatMul, which int8 files
compute in integers; convolutions stay in float, as those in integers are slower.
"""

from earshot.export.nodes import Nodes
from earshot.export.parts import Part, stacked
from earshot.models.convnext import Block, ConvNeXtStudent
from earshot.params import Features

_CONDITION = """
    layer_0_conditioned = Add(layer_0, language_vector)
"""
_END = "    encoded = Unsqueeze(output_norm, one)\n"


def _add(nodes: Nodes, name: str, block: Block, value: str) -> str:
    """Add a block on the frames `value`; return the name of what it makes."""
    near = nodes.depthwise(name, block.depth, value)
    normed = nodes.norm(f"{name}_norm", block.norm, near)
    active = nodes.silu(f"{name}_active", nodes.dense(f"{name}_wider", block.wider, normed))
    return nodes.sum(name, value, nodes.dense(f"{name}_narrower", block.narrower, active))


def encoder(student: ConvNeXtStudent, features: Features, conditioned: bool = False) -> Part:
    """Return stacks, the first layer and the blocks; silence counts like any frame. Where
    `conditioned`, `language_vector` is added to the stacks.
    """
    nodes = Nodes()
    stacking, constants = stacked(student.stack, -1, student.stack * features.n_mels)
    nodes.add(stacking)
    nodes.constants |= constants
    value = "layer_0"
    if conditioned:
        nodes.add(_CONDITION)
        value = "layer_0_conditioned"
    entered = nodes.dense("enter", student.enter, value)
    value = nodes.norm("input_norm", student.input_norm, entered)
    for number, block in enumerate(student.blocks):
        value = _add(nodes, f"block_{number}", block, value)
    nodes.norm("output_norm", student.output_norm, value)
    nodes.add(_END)
    return nodes.part()
