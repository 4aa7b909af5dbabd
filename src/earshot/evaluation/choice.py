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
    training: Sequence[Item], asked: Sequence[Item], manifest: pd.DataFrame
) -> dict[str, str]:
    """Return nothing: who recorded a passage is not looked at."""
    return {}


def quality(
    models: dict[str, list[Answers]],
    training: Sequence[Item],
    asked: Sequence[Item],
    manifest: pd.DataFrame,
    params: Evaluate,
    seed: int,
) -> dict[str, Any]:
    """Return scores of each model on the test items, its gains over others, and the paper's
    protocol beside them.

    The audio-blind control is trained here on `training` items; for the paper's protocol on the ten
    questions.
    """
    scores: dict[str, Any] = {}
    settings = {"resamples": params.resamples, "seed": seed}
    for role, trained_on in {"test": "teacher", "paper": "fewshot"}.items():
        mine = [item for item in asked if item.role == role]
        if not mine:
            continue
        blind = AudioBlind([item for item in training if item.role == trained_on]).predict(mine)
        answers = np.array([item.answer for item in mine])
        clusters = np.array([item.passage for item in mine])
        groups = {
            name: np.array([getattr(item, name) for item in mine]) for name in ("skill", "wording")
        }
        ids = [item.id for item in mine]
        stacked = {
            name: metrics.stack(each, ids)
            for name, each in ({"audio_blind": [blind]} | models).items()
        }
        for name, probabilities in stacked.items():
            if role == "test":
                scores[name] = metrics.score(probabilities, answers, clusters, groups, **settings)
            else:
                scores[name]["paper_protocol"] = metrics.score(
                    probabilities, answers, clusters, {}, **settings
                )
        if role == "test":
            scores["gain"] = {
                pair: metrics.paired_gain(
                    *(stacked[m] for m in pair.split("_vs_")), answers, clusters, **settings
                )
                for pair in metrics.pairs(params.gains, stacked)
            }
    return scores
