"""A student's languages as ONNX nodes: frames `pooled` (1, D) to `language_log_probabilities` (K,),
to the `log_prior` (V,) of symbols, and to the `language_vector` (1, width) that is added to the
input frames of a second pass.
"""

import re

import numpy as np
from torch import nn

from earshot.export.parts import Part, array
from earshot.models.ctc import LEAST_SHARE, MultilingualHead

FIRST_PASS = "first_"  # before the names of values of the first pass
_OUTPUTS = re.compile(r"^\s+(\w+(?:, \w+)*) = ", re.MULTILINE)
_LOG_PROBABILITIES = """
    language_products = MatMul({pooled}, language_weights)
    language_scores = Add(language_products, language_bias)
    language_row = LogSoftmax<axis=-1>(language_scores)
    language_log_probabilities = Squeeze(language_row, zero)
"""
_SHARES = """
    predicted = Exp(language_row)
    given = Unsqueeze(language, zero)
    sum_of_given = ReduceSum(given, last)
    is_given = Cast<to=9>(sum_of_given)
    language_shares = Where(is_given, given, predicted)
    share_of_each = Transpose(language_shares)
    shares_of_letters = Mul(share_of_each, letters)
    symbol_shares = ReduceSum<keepdims=0>(shares_of_letters, zero)
    floored_shares = Max(symbol_shares, least_share)
    log_prior = Log(floored_shares)
"""
_VECTOR = """
    language_vector = MatMul(language_shares, language_vectors)
"""


def language_head(head: MultilingualHead, pooled: str) -> Part:
    """Return the language head on the value `pooled`; where the input `language` (K,) is not all
    zeros the prior of symbols is of this language.
    """
    constants = {
        "language_weights": np.ascontiguousarray(array(head.language.weight).T),
        "language_bias": array(head.language.bias),
        "letters": array(head.letters),
        "least_share": np.float32([LEAST_SHARE]),
    }
    return _LOG_PROBABILITIES.format(pooled=pooled) + _SHARES, constants


def embedding(layer: nn.Linear) -> Part:
    """Return what is added to the input frames: the embedding of the given language, or of the
    predicted probabilities.
    """
    return _VECTOR, {"language_vectors": np.ascontiguousarray(array(layer.weight).T)}


def first_pass(nodes: str) -> str:
    """Return the same nodes with other names for the values that they make."""
    names = [name for names in _OUTPUTS.findall(nodes) for name in names.split(", ")]
    return re.sub(rf"\b({'|'.join(names)})\b", rf"{FIRST_PASS}\1", nodes)
