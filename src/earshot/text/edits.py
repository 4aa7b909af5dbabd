"""What it takes to make one sequence of another: substitutions, deletions, insertions.

The counts of words are those of word error rate, of characters those of character error rate.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_EDIT = 1 << 20  # more than there are words: the fewest edits come first, then the most equal words
Pair = tuple[str | None, str | None]  # of the reference, of what was written; None: nothing


class Edits(NamedTuple):
    """How many of a reference's words were replaced, left out, and how many added."""

    substitutions: int
    deletions: int
    insertions: int


def distance(reference: Sequence, written: Sequence) -> int:
    """Return the smallest number of edits that make `reference` of `written`: Levenshtein's."""
    places: dict[object, int] = {}
    ids = np.array([places.setdefault(one, len(places)) for one in written], np.int64)
    order = np.arange(len(written) + 1)
    row = order.copy()
    for number, one in enumerate(reference, 1):
        through = row[:-1] + (ids != places.get(one, -1))
        best = np.minimum(through, row[1:] + 1)
        best = np.concatenate([[number], best])
        row = np.minimum.accumulate(best - order) + order  # what insertions reach more cheaply
    return int(row[-1])


def align(reference: Sequence[str], written: Sequence[str]) -> list[Pair]:
    """Return pairs of an alignment with the fewest edits; of several, one with the most equal.

    >>> align("the old boat".split(), "the boat is".split())
    [('the', 'the'), ('old', None), ('boat', 'boat'), (None, 'is')]
    """
    rows, columns = len(reference) + 1, len(written) + 1
    costs = np.add.outer(np.arange(rows), np.arange(columns)) * _EDIT
    for i in range(1, rows):
        for j in range(1, columns):
            through = costs[i - 1, j - 1] + _replacing(reference[i - 1], written[j - 1])
            costs[i, j] = min(through, costs[i - 1, j] + _EDIT, costs[i, j - 1] + _EDIT)
    pairs: list[Pair] = []
    i, j = rows - 1, columns - 1
    while i or j:
        one, other = reference[i - 1] if i else None, written[j - 1] if j else None
        if i and j and costs[i, j] == costs[i - 1, j - 1] + _replacing(one, other):
            pairs.append((one, other))
            i, j = i - 1, j - 1
        elif i and costs[i, j] == costs[i - 1, j] + _EDIT:
            pairs.append((one, None))
            i -= 1
        else:
            pairs.append((None, other))
            j -= 1
    return pairs[::-1]


def _replacing(one: str, other: str) -> int:
    return -1 if one == other else _EDIT


def count(reference: Sequence[str], written: Sequence[str]) -> Edits:
    """Return the edits of `align`."""
    pairs = align(reference, written)
    return Edits(
        sum(None not in pair and pair[0] != pair[1] for pair in pairs),
        sum(written is None for _, written in pairs),
        sum(said is None for said, _ in pairs),
    )
