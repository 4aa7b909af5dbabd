"""A student's languages as ONNX nodes: frames `pooled` (1, D) to `language_log_probabilities` (K,),
and to the `language_vector` (1, width) that is added to the input frames of a second hearing.
"""

import re

import numpy as np
from torch import nn

from earshot.export.parts import Part, array
from earshot.models.ctc import SpokenHead

FIRST = "untold_"  # what values of the first hearing are called before their names
_OUTPUTS = re.compile(r"^\s+(\w+(?:, \w+)*) = ", re.MULTILINE)
_TOLD_APART = """
    language_products = MatMul({pooled}, language_weights)
    language_scores = Add(language_products, language_bias)
    language_row = LogSoftmax<axis=-1>(language_scores)
    language_log_probabilities = Squeeze(language_row, zero)
"""
_VECTOR = """
    own_shares = Exp(language_row)
    told_shares = Unsqueeze(language, zero)
    told_at_all = ReduceSum(told_shares, last)
    is_told = Cast<to=9>(told_at_all)
    language_shares = Where(is_told, told_shares, own_shares)
    language_vector = MatMul(language_shares, language_vectors)
"""


def told_apart(head: SpokenHead, pooled: str) -> Part:
    """Return the language head on the value `pooled`."""
    weights = np.ascontiguousarray(array(head.language.weight).T)
    constants = {"language_weights": weights, "language_bias": array(head.language.bias)}
    return _TOLD_APART.format(pooled=pooled), constants


def vector(vectors: nn.Linear) -> Part:
    """Return what is added to the input frames: of the input `language` (K,), or of the student's
    own probabilities where that is all zeros.
    """
    return _VECTOR, {"language_vectors": np.ascontiguousarray(array(vectors.weight).T)}


def first(nodes: str) -> str:
    """Return the same nodes with other names for the values that they make."""
    names = [name for names in _OUTPUTS.findall(nodes) for name in names.split(", ")]
    return re.sub(rf"\b({'|'.join(names)})\b", rf"{FIRST}\1", nodes)
