"""Warnings about answers that no average should hide: one answer to everything, a class
never answered, fewer right than the commonest class would give.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from earshot.evaluation.metrics import Answers, stack
from earshot.tables.items import Item


def doubts(models: Mapping[str, Sequence[Answers]], items: Sequence[Item]) -> list[str]:
    """Return a line for each fault of each model's answers, seed by seed, to these N items.

    Classes are the items' options where all have the same, or else their places.
    """
    right = np.array([item.answer for item in items])
    same = len({item.options for item in items}) == 1
    most = max(len(item.options) for item in items)
    labels = items[0].options if same else [f"option {place + 1}" for place in range(most)]
    lines = []
    ids = [item.id for item in items]
    for name, answers in models.items():
        for seed, chosen in enumerate(stack(answers, ids).argmax(-1)):  # (N,)
            found = faults(chosen, right, labels)
            lines += [f"{name}, seed {seed}: {fault}" for fault in found]
    return lines


def faults(chosen: np.ndarray, right: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Return what is wrong with answers `(N,)`, positions in `labels`, where `right` `(N,)` is."""
    found = []
    counts = np.bincount(right, minlength=len(labels))
    never = sorted(set(np.flatnonzero(counts)) - set(chosen))
    if len(set(chosen)) == 1 and never:
        found.append(f"answers {labels[chosen[0]]!r} to everything")
    elif never:
        found.append(f"never answers {', '.join(repr(labels[place]) for place in never)}")
    share, prior = (chosen == right).mean(), counts.max() / len(right)
    if share < prior:
        found.append(
            f"{share:.3f} right, fewer than the {prior:.3f} of always answering "
            f"{labels[counts.argmax()]!r}"
        )
    return found
