"""Heads as ONNX nodes: an encoder's frames `encoded` (T, 1, D) to `logits`."""

import numpy as np

from earshot.export.parts import Part, array, ints
from earshot.models.ctc import CTCHead, MultilingualHead
from earshot.models.heads import ABSENT, AttentiveHead, ClassHead, MatchingHead, OptionHead
from earshot.text import PADDING

_MEAN = """
    {name}_there = Sign({name})
    {name}_there_float = Cast<to=1>({name}_there)
    {name}_mask = Unsqueeze({name}_there_float, last)
    {name}_tokens = Gather({table}, {name})
    {name}_present = Mul({name}_tokens, {name}_mask)
    {name}_sum = ReduceSum<keepdims=0>({name}_present, before_last)
    {name}_length = ReduceSum<keepdims=0>({name}_mask, before_last)
    {name}_divisor = Max({name}_length, unity)
    {name}_mean = Div({name}_sum, {name}_divisor)
"""
_SHARE = """
    {name}_share = MatMul({name}_mean, {name}_weights)
"""
_READ = _MEAN.replace("{table}", "tokens") + _SHARE
_GATED = """
    turned = Add(question_share, gate_bias)
    gate = Unsqueeze(turned, one)
    rows = Mul(gate, options_mean)
    frames_of_one = Squeeze(encoded, one)
    by_place = Transpose(frames_of_one)
    values = MatMul(rows, by_place)
    alike = Mul(values, sharpness)
"""
_ROWS = """
    question_row = Unsqueeze(question_share, one)
    joined = Add(question_row, options_share)
    biased = Add(joined, embed_bias)
    active = Relu(biased)
    rows_unbiased = MatMul(active, row_weights)
    rows = Add(rows_unbiased, row_bias)
"""
_POOL = """
    pooled = ReduceMean<keepdims=0>(encoded, zero)
"""
_POOL_REAL = """
    kept = Mul(encoded, real)
    sum_of_kept = ReduceSum<keepdims=0>(kept, zero)
    count_of_kept = ReduceSum<keepdims=0>(real, zero)
    pooled = Div(sum_of_kept, count_of_kept)
"""
_MATCH = """
    matched = Mul(rows, pooled)
    scores = ReduceSum<keepdims=0>(matched, last)
"""
_ALIKE = """
    by_frame = Squeeze(encoded, one)
    by_place = Transpose(by_frame)
    keys_unbiased = MatMul(active, key_weights)
    keys = Add(keys_unbiased, key_bias)
    alike = MatMul(keys, by_place)
"""
_ALIKE_REAL = """
    is_real = Cast<to=9>(real)
    every_frame = Shape<start=0, end=1>(real)
    real_frames = Reshape(is_real, every_frame)
    alike_audible = Where(real_frames, alike, never)
"""
_VALUES = """
    values = MatMul(rows, by_place)
"""
_ATTEND = """
    attention = Softmax({alike})
    weighted = Mul(attention, values)
    scores = ReduceSum<keepdims=0>(weighted, last)
"""
_ANSWER = """
    first = Gather<axis=2>(options, first_place)
    missing = Equal(first, padding)
    logits = Where(missing, absent, scores)
"""
_SYMBOLS = """
    frames_of_one = Squeeze(encoded, one)
    products_of_symbols = MatMul(frames_of_one, symbol_weights)
    scores = Add(products_of_symbols, symbol_bias)
    log_posteriors = LogSoftmax<axis=-1>(scores)
"""
_SYMBOLS_OF_LANGUAGES = _SYMBOLS.replace("scores =", "unweighted =").replace(
    "    log_posteriors", "    scores = Add(unweighted, log_prior)\n    log_posteriors"
)
_OF_OPTIONS = {
    "first_place": np.array(0, np.int64),
    "padding": ints(PADDING),
    "absent": np.float32([ABSENT]),
}
_CLASSES = """
    weighted = MatMul(pooled, class_weights)
    scores = Add(weighted, class_bias)
    logits = Squeeze(scores, zero)
"""


def option_head(head: OptionHead, silence: bool) -> Part:
    """Eq. (3): the mean over time is matched with a row an option."""
    nodes, constants = _rows(head)
    return nodes + pool(silence) + _MATCH + _ANSWER, constants


def attentive_head(head: AttentiveHead, silence: bool) -> Part:
    """Each option weighs the frames, `attention` (Q, C, T); keys are stored divided already."""
    nodes, constants = _rows(head)
    constants["key_weights"] = np.ascontiguousarray(array(head.key.weight / head.divisor).T)
    constants["key_bias"] = array(head.key.bias / head.divisor)
    constants["never"] = np.float32([-np.inf])
    return nodes + _ALIKE + _VALUES + _weighted(silence) + _ANSWER, constants


def matching_head(head: MatchingHead, silence: bool) -> Part:
    """Each option counts where it fits best, `attention` (Q, C, T)."""
    weights = np.ascontiguousarray(array(head.gate.weight).T)
    constants = _OF_OPTIONS | {
        "tokens": array(head.tokens.weight),
        "question_table": array(head.questions.weight),
        "question_weights": weights,
        "gate_bias": array(1 + head.gate.bias),
        "sharpness": np.float32([head.sharpness]),
        "never": np.float32([-np.inf]),
    }
    question = _MEAN.format(name="question", table="question_table")
    options = _MEAN.format(name="options", table="tokens")
    nodes = question + _SHARE.format(name="question") + options + _GATED
    return nodes + _weighted(silence) + _ANSWER, constants


def _weighted(silence: bool) -> str:
    """Return what sums frames' `values` by how `alike` they are, over all or the audible ones."""
    if silence:
        return _ALIKE_REAL + _ATTEND.format(alike="alike_audible")
    return _ATTEND.format(alike="alike")


def pool(silence: bool) -> str:
    """Return the mean over time `pooled` (1, D) of `encoded`."""
    return _POOL_REAL if silence else _POOL


def _rows(head: OptionHead) -> Part:
    """Return what reads options. The first layer's weights are split: a question's share is
    computed once, not once an option.
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
    }
    nodes = _READ.format(name="question") + _READ.format(name="options") + _ROWS
    return nodes, _OF_OPTIONS | constants


def ctc_head(head: CTCHead, silence: bool) -> Part:
    """The log-posteriors of the symbols, frame by frame `(T, V)`; of several languages with the
    value `log_prior` (V,) of symbols.
    """
    weights = np.ascontiguousarray(array(head.weight).T)
    nodes = _SYMBOLS_OF_LANGUAGES if isinstance(head, MultilingualHead) else _SYMBOLS
    return nodes, {"symbol_weights": weights, "symbol_bias": array(head.bias)}


def class_head(head: ClassHead, silence: bool) -> Part:
    """One output per class, `(C,)`."""
    weights = np.ascontiguousarray(array(head.weight).T)
    constants = {"class_weights": weights, "class_bias": array(head.bias)}
    return pool(silence) + _CLASSES, constants
