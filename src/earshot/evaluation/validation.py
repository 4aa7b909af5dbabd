"""The table of tasks: scores on validation items, with intervals, for comparing experiments."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from earshot.evaluation import metrics, transcripts
from earshot.tables.answers import Answers
from earshot.tables.items import Item


def one_of_several(answers: Sequence[Answers], items: Sequence[Item], seed: int) -> dict[str, Any]:
    """Return `metrics.score` of several seeds' probabilities, over passages and seeds."""
    probabilities = metrics.stack(answers, [item.id for item in items])  # (S, N, C)
    right = np.array([item.answer for item in items])
    passages = np.array([item.passage for item in items])
    return metrics.score(probabilities, right, passages, {}, seed=seed)


VALIDATION: dict[str, Callable[[Sequence[Answers], Sequence[Item], int], dict[str, Any]]] = {
    "choice": one_of_several,
    "classes": one_of_several,
    "transcript": transcripts.validation,
}
