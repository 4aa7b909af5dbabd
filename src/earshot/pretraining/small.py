"""The size that small encoders share: narrow early convolutions, their strides those of the large
ones.
"""

from typing import Any


def size(hidden: int, layers: int, heads: int) -> dict[str, Any]:
    """Return the settings of a wav2vec 2.0 or HuBERT of `hidden` units: 50 frames a second, nothing
    dropped.
    """
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "conv_dim": (
            hidden // 12,
            hidden // 6,
            hidden // 3,
            hidden // 2,
            2 * hidden // 3,
            2 * hidden // 3,
            hidden,
        ),
        "conv_bias": True,
        "do_stable_layer_norm": True,
        "num_conv_pos_embeddings": 64,
        "num_conv_pos_embedding_groups": 8,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "feat_proj_dropout": 0.0,
        "layerdrop": 0.0,
    }
