"""Heads as ONNX nodes: `pooled` (1, D) to `logits`."""

import numpy as np

from earshot.export.parts import Part, array, ints
from earshot.models.heads import ABSENT, ClassHead, OptionHead
from earshot.text import PADDING

_MEAN = """
    {name}_there = Sign({name})
    {name}_there_float = Cast<to=1>({name}_there)
    {name}_mask = Unsqueeze({name}_there_float, last)
    {name}_tokens = Gather(tokens, {name})
    {name}_present = Mul({name}_tokens, {name}_mask)
    {name}_sum = ReduceSum<keepdims=0>({name}_present, before_last)
    {name}_length = ReduceSum<keepdims=0>({name}_mask, before_last)
    {name}_divisor = Max({name}_length, unity)
    {name}_mean = Div({name}_sum, {name}_divisor)
    {name}_share = MatMul({name}_mean, {name}_weights)
"""
_ANSWER = """
    asked = Unsqueeze(question_share, one)
    joined = Add(asked, options_share)
    biased = Add(joined, embed_bias)
    active = Relu(biased)
    rows_unbiased = MatMul(active, row_weights)
    rows = Add(rows_unbiased, row_bias)
    matched = Mul(rows, pooled)
    scores = ReduceSum<keepdims=0>(matched, last)
    first = Gather<axis=2>(options, first_place)
    missing = Equal(first, padding)
    logits = Where(missing, absent, scores)
"""
_CLASSES = """
    weighted = MatMul(pooled, class_weights)
    scores = Add(weighted, class_bias)
    logits = Squeeze(scores, zero)
"""


def option_head(head: OptionHead) -> Part:
    """Eq. (3). The first layer's weights are split: a question's share is computed once, not once
    an option.
    """
    hidden, _, rows = head.embed
    question_weights, option_weights = np.split(array(hidden.weight).T, 2)
    constants = {
        "tokens": array(head.tokens.weight),
        "question_weights": np.ascontiguousarray(question_weights),
        "options_weights": np.ascontiguousarray(option_weights),
        "embed_bias": array(hidden.bias),
        "row_weights": np.ascontiguousarray(array(rows.weight).T),
        "row_bias": array(rows.bias),
        "unity": np.float32([1]),
        "first_place": np.array(0, np.int64),
        "padding": ints(PADDING),
        "absent": np.float32([ABSENT]),
    }
    return _MEAN.format(name="question") + _MEAN.format(name="options") + _ANSWER, constants


def class_head(head: ClassHead) -> Part:
    """One output per class, `(C,)`."""
    weights = np.ascontiguousarray(array(head.weight).T)
    return _CLASSES, {"class_weights": weights, "class_bias": array(head.bias)}
