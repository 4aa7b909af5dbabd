"""What a student's ONNX file is put together from."""

import numpy as np
import torch

Part = tuple[str, dict[str, np.ndarray]]  # nodes in ONNX's text syntax, constants

_STACK = """
    frames = Shape<end=1>(mel)
    less = Neg(frames)
    lack = Mod(less, stack)
    filling = Concat<axis=0>(no_frame, lack, zero)
    filled = Pad(mel, filling)
    layer_0 = Reshape(filled, stack_shape)
"""


def ints(*values: int) -> np.ndarray:
    """Return a constant of whole numbers, int64."""
    return np.array(values, np.int64)


def array(tensor: torch.Tensor) -> np.ndarray:
    """Return a constant of a tensor's numbers, float32."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)


def stacked(stack: int, *shape: int) -> Part:
    """Return nodes that join `stack` frames of `mel` each, the last filled up with zeros, to
    `layer_0` of a shape.
    """
    constants = {"stack": ints(stack), "no_frame": ints(0, 0), "stack_shape": ints(*shape)}
    return _STACK, constants
