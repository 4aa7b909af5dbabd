"""What it takes to make one text of another: substitutions, deletions, insertions, as jiwer counts
them for word and character error rates.
"""

from itertools import zip_longest
from typing import NamedTuple

import jiwer

Pair = tuple[str | None, str | None]  # of the reference, of the hypothesis; None: nothing


class Edits(NamedTuple):
    """How many of a reference's words were replaced, left out, and how many added."""

    substitutions: int
    deletions: int
    insertions: int


def of_words(reference: str, hypothesis: str) -> Edits:
    """Return the edits that make the words `hypothesis` of those of `reference`."""
    found = jiwer.process_words(reference, hypothesis)
    return Edits(found.substitutions, found.deletions, found.insertions)


def of_characters(reference: str, hypothesis: str) -> Edits:
    """Return the edits that make the characters `hypothesis` of those of `reference`."""
    found = jiwer.process_characters(reference, hypothesis)
    return Edits(found.substitutions, found.deletions, found.insertions)


def align(reference: str, hypothesis: str) -> list[Pair]:
    """Return the pairs of words of an alignment with the fewest edits.

    >>> align("the old boat", "the boat")
    [('the', 'the'), ('old', None), ('boat', 'boat')]
    """
    expected, found = reference.split(), hypothesis.split()
    pairs: list[Pair] = []
    for chunk in jiwer.process_words(reference, hypothesis).alignments[0]:
        left = expected[chunk.ref_start_idx : chunk.ref_end_idx]
        right = found[chunk.hyp_start_idx : chunk.hyp_end_idx]
        pairs += zip_longest(left, right)
    return pairs
