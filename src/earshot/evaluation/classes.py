"""Classification: the scores of models by class, device and group of devices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from earshot.evaluation import devices as across
from earshot.evaluation import metrics
from earshot.evaluation.metrics import Answers
from earshot.params import Evaluate
from earshot.tables import items
from earshot.tables.items import Item


def device_groups(
    training: Sequence[Item], evaluated: Sequence[Item], manifest: pd.DataFrame
) -> dict[str, str]:
    """Return the group of each device that recorded the clips of `evaluated`: 'real', 'seen'
    (simulated) or 'unseen'.

    A device is unseen when no clip of `training` was recorded by it; their views as other devices
    do not count.
    """
    seen = set(items.devices(training, manifest).values())
    return {
        device: across.group(device, seen)
        for device in sorted(set(items.devices(evaluated, manifest).values()))
    }


def quality(
    models: dict[str, list[Answers]],
    training: Sequence[Item],
    evaluated: Sequence[Item],
    manifest: pd.DataFrame,
    params: Evaluate,
    seed: int,
) -> dict[str, Any]:
    """Return scores of each model on the test items, by class, device and group of devices, and its
    gains over others.
    """
    of_test = [item for item in evaluated if item.role == "test"]
    device = items.devices(of_test, manifest)
    test = across.TestItems(
        answers=np.array([item.answer for item in of_test]),
        clusters=np.array([item.passage for item in of_test]),
        devices=np.array([device[item.id] for item in of_test]),
        labels=of_test[0].options,
        groups=device_groups(training, of_test, manifest),
    )
    ids = [item.id for item in of_test]
    stacked = {name: metrics.stack(each, ids) for name, each in models.items()}
    drawn = {
        name: across.draw(each, test, params.resamples, seed) for name, each in stacked.items()
    }
    scores: dict[str, Any] = {
        name: across.score(drawn[name], each, test) for name, each in stacked.items()
    }
    scores["gain"] = {}
    for pair in metrics.pairs(params.gains, stacked):
        one, other = pair.split("_vs_")
        scores["gain"][pair] = across.paired_gain(drawn[one], drawn[other])
    return scores
