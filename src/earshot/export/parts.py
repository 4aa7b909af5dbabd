"""What a student's ONNX file is put together from."""

import numpy as np
import torch

Part = tuple[str, dict[str, np.ndarray]]  # nodes in ONNX's text syntax, constants


def ints(*values: int) -> np.ndarray:
    """Return a constant of whole numbers, int64."""
    return np.array(values, np.int64)


def array(tensor: torch.Tensor) -> np.ndarray:
    """Return a constant of a tensor's numbers, float32."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)
