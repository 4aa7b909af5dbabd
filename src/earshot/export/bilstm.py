"""The recurrent student as ONNX nodes: frames `mel` (T, n_mels) to `encoded` (T, 1, D).

Where silence does not count, `real` (T, 1, 1) is 1 for the frames that do.
"""

import numpy as np
from torch import nn

from earshot.export.parts import Part, array, ints, stacked
from earshot.models.bilstm import BiLSTMStudent
from earshot.params import Features

# A stack of zeros is silence; where nothing else is left, silence counts.
_REAL = """
    sizes = Abs(layer_0)
    largest = ReduceMax(sizes, last)
    is_audible = Sign(largest)
    any_audible = ReduceMax(is_audible, zero)
    all_silent = Sub(unity, any_audible)
    real = Max(is_audible, all_silent)
"""
_CONDITION = """
    layer_0_conditioned = Add(layer_0, language_vector)
"""
_LAYER = """
    both_{layer} = LSTM<direction="bidirectional", hidden_size={hidden}>(
        {below}, w_{layer}, r_{layer}, b_{layer}
    )
    {outputs} = Reshape(both_{layer}, layer_shape)
"""


def encoder(student: BiLSTMStudent, features: Features, conditioned: bool = False) -> Part:
    """Frame stacking and the bidirectional layers `(T, 1, ·)`, eq. (1); where `conditioned`,
    `language_vector` is added to the stacks.
    """
    stacking, constants = stacked(student.stack, -1, 1, student.stack * features.n_mels)
    nodes = [stacking, _REAL] if features.skips_silence else [stacking]
    nodes += [_CONDITION] if conditioned else []
    constants |= {"layer_shape": ints(-1, 1, student.width)}
    names = [f"layer_{layer}" for layer in range(len(student.ahead))] + ["encoded"]
    names[0] = "layer_0_conditioned" if conditioned else names[0]
    for layer, directions in enumerate(zip(student.ahead, student.behind, strict=True), start=1):
        below, outputs = names[layer - 1 : layer + 1]
        hidden = student.width // 2
        nodes.append(_LAYER.format(below=below, outputs=outputs, layer=layer, hidden=hidden))
        weights = [_lstm_weights(lstm) for lstm in directions]
        constants |= {
            f"{name}_{layer}": np.stack(pair) for name, *pair in zip("wrb", *weights, strict=True)
        }
    return "".join(nodes), constants


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
