"""A student's languages as ONNX nodes: frames `pooled` (1, D) to `language_log_probabilities` (K,),
and to the `language_vector` (1, width) that is added to the input frames of a second pass.
"""

import re

import numpy as np
from torch import nn

from earshot.export.parts import Part, array
from earshot.models.ctc import MultilingualHead

FIRST_PASS = "first_"  # before the names of values of the first pass
_OUTPUTS = re.compile(r"^\s+(\w+(?:, \w+)*) = ", re.MULTILINE)
_LOG_PROBABILITIES = """
    language_products = MatMul({pooled}, language_weights)
    language_scores = Add(language_products, language_bias)
    language_row = LogSoftmax<axis=-1>(language_scores)
    language_log_probabilities = Squeeze(language_row, zero)
"""
_VECTOR = """
    predicted = Exp(language_row)
    given = Unsqueeze(language, zero)
    sum_of_given = ReduceSum(given, last)
    is_given = Cast<to=9>(sum_of_given)
    language_shares = Where(is_given, given, predicted)
    language_vector = MatMul(language_shares, language_vectors)
"""


def log_probabilities(head: MultilingualHead, pooled: str) -> Part:
    """Return the language head on the value `pooled`."""
    weights = np.ascontiguousarray(array(head.language.weight).T)
    constants = {"language_weights": weights, "language_bias": array(head.language.bias)}
    return _LOG_PROBABILITIES.format(pooled=pooled), constants


def embedding(layer: nn.Linear) -> Part:
    """Return what is added to the input frames: the embedding of the input `language` (K,), or of
    the predicted probabilities where that is all zeros.
    """
    return _VECTOR, {"language_vectors": np.ascontiguousarray(array(layer.weight).T)}


def first_pass(nodes: str) -> str:
    """Return the same nodes with other names for the values that they make."""
    names = [name for names in _OUTPUTS.findall(nodes) for name in names.split(", ")]
    return re.sub(rf"\b({'|'.join(names)})\b", rf"{FIRST_PASS}\1", nodes)
