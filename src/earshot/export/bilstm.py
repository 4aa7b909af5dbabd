"""The recurrent student as ONNX nodes: frames `mel` (T, n_mels) to `pooled` (1, D)."""

import numpy as np
from torch import nn

from earshot.export.parts import Part, array, ints
from earshot.models.bilstm import BiLSTMStudent

_STACK = """
    frames = Shape<end=1>(mel)
    less = Neg(frames)
    lack = Mod(less, stack)
    filling = Concat<axis=0>(no_frame, lack, zero)
    filled = Pad(mel, filling)
    layer_0 = Reshape(filled, stack_shape)
"""
_LAYER = """
    both_{layer} = LSTM<direction="bidirectional", hidden_size={hidden}>(
        layer_{below}, w_{layer}, r_{layer}, b_{layer}
    )
    layer_{layer} = Reshape(both_{layer}, layer_shape)
"""
_POOL = """
    pooled = ReduceMean<keepdims=0>(layer_{last}, zero)
"""


def encoder(student: BiLSTMStudent, n_mels: int) -> Part:
    """Frame stacking, the bidirectional layers `(T, 1, ·)` and the mean over time, eqs. (1)–(2)."""
    nodes = [_STACK]
    constants = {
        "stack": ints(student.stack),
        "no_frame": ints(0, 0),
        "stack_shape": ints(-1, 1, student.stack * n_mels),
        "layer_shape": ints(-1, 1, student.width),
    }
    for layer, directions in enumerate(zip(student.ahead, student.behind, strict=True), start=1):
        nodes.append(_LAYER.format(below=layer - 1, layer=layer, hidden=student.width // 2))
        weights = [_lstm_weights(lstm) for lstm in directions]
        constants |= {
            f"{name}_{layer}": np.stack(pair) for name, *pair in zip("wrb", *weights, strict=True)
        }
    return "".join([*nodes, _POOL.format(last=len(student.ahead))]), constants


def _lstm_weights(lstm: nn.LSTM) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return W `(4H, I)`, R `(4H, H)` and B `(8H,)` of one direction: PyTorch's gates i f g o
    become ONNX's i o f c.
    """

    def gates(name: str) -> np.ndarray:
        i, f, g, o = array(getattr(lstm, f"{name}_l0")).reshape(4, lstm.hidden_size, -1)
        return np.concatenate([i, o, f, g])

    return (
        gates("weight_ih"),
        gates("weight_hh"),
        np.concatenate([gates("bias_ih"), gates("bias_hh")]).ravel(),
    )
