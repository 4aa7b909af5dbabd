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
    training: Sequence[Item], asked: Sequence[Item], manifest: pd.DataFrame
) -> dict[str, str]:
    """Return the group of each device that recorded the clips of `asked`: 'real', 'seen'
    (simulated) or 'unseen'.

    A device is unseen when no clip of `training` was recorded by it; their views as other devices
    do not count.
    """
    seen = set(items.devices(training, manifest).values())
    return {
        device: across.group(device, seen)
        for device in sorted(set(items.devices(asked, manifest).values()))
    }


def quality(
    models: dict[str, list[Answers]],
    training: Sequence[Item],
    asked: Sequence[Item],
    manifest: pd.DataFrame,
    params: Evaluate,
    seed: int,
) -> dict[str, Any]:
    """Return scores of each model on the test items, by class, device and group of devices, and its
    gains over others.
    """
    test = [item for item in asked if item.role == "test"]
    groups, devices = device_groups(training, test, manifest), items.devices(test, manifest)
    answers = np.array([item.answer for item in test])
    clusters = np.array([item.passage for item in test])
    device = np.array([devices[item.id] for item in test])
    stacked = {
        name: metrics.stack(each, [item.id for item in test]) for name, each in models.items()
    }
    labels = test[0].options
    settings = {"resamples": params.resamples, "seed": seed}
    drawn = {
        name: across.draw(each, answers, clusters, device, labels, groups, **settings)
        for name, each in stacked.items()
    }
    scores: dict[str, Any] = {
        name: across.score(drawn[name], each, answers, device, labels, groups)
        for name, each in stacked.items()
    }
    scores["gain"] = {}
    for pair in metrics.pairs(params.gains, stacked):
        one, other = pair.split("_vs_")
        scores["gain"][pair] = across.paired_gain(drawn[one], drawn[other])
    return scores
