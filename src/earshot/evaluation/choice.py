"""Multiple choice: the scores of models that read options."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from earshot.evaluation import metrics
from earshot.evaluation.metrics import Answers
from earshot.items.audio_blind import AudioBlind
from earshot.params import Evaluate
from earshot.tables.items import Item


def device_groups(
    training: Sequence[Item], evaluated: Sequence[Item], manifest: pd.DataFrame
) -> dict[str, str]:
    """Return nothing: who recorded a passage is not looked at."""
    return {}


def quality(
    models: dict[str, list[Answers]],
    training: Sequence[Item],
    evaluated: Sequence[Item],
    manifest: pd.DataFrame,
    params: Evaluate,
    seed: int,
) -> dict[str, Any]:
    """Return scores of each model on the test items, its gains over others, and the paper's
    protocol beside them.

    The audio-blind control is trained here on `training` items; for the paper's protocol on the ten
    questions.
    """
    settings = {"resamples": params.resamples, "seed": seed}
    test, answers, clusters = _stacked(models, training, evaluated, "teacher", "test")
    about = [item for item in evaluated if item.role == "test"]
    groups = {
        name: np.array([getattr(item, name) for item in about]) for name in ("skill", "wording")
    }
    scores: dict[str, Any] = {
        name: metrics.score(probabilities, answers, clusters, groups, **settings)
        for name, probabilities in test.items()
    }
    scores["gain"] = {
        pair: metrics.paired_gain(
            *(test[m] for m in pair.split("_vs_")), answers, clusters, **settings
        )
        for pair in metrics.pairs(params.gains, test)
    }
    if any(item.role == "paper" for item in evaluated):
        paper, answers, clusters = _stacked(models, training, evaluated, "fewshot", "paper")
        for name, probabilities in paper.items():
            scores[name]["paper_protocol"] = metrics.score(
                probabilities, answers, clusters, {}, **settings
            )
    return scores


def _stacked(
    models: dict[str, list[Answers]],
    training: Sequence[Item],
    evaluated: Sequence[Item],
    trained_on: str,
    role: str,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return the probabilities `(S, N, C)` that models, and the control trained on `trained_on`
    items, give to the items of a role; the right answers `(N,)`; and the passages `(N,)`.
    """
    items = [item for item in evaluated if item.role == role]
    blind = AudioBlind([item for item in training if item.role == trained_on]).predict(items)
    ids = [item.id for item in items]
    every = {"audio_blind": [blind]} | models
    stacked = {name: metrics.stack(each, ids) for name, each in every.items()}
    answers = np.array([item.answer for item in items])
    return stacked, answers, np.array([item.passage for item in items])
