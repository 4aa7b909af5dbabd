"""Classification: every clip is of one of the same few classes, and was recorded by some device."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from earshot.evaluation import devices as across
from earshot.evaluation import metrics
from earshot.evaluation.metrics import Answers
from earshot.items import labels, leaks
from earshot.params import Evaluate, Labels
from earshot.tables import items
from earshot.tables.items import Item

ROLES = ("fewshot", "pool", "validation", "test")
UNKNOWN_DEVICE = "unknown"


def build(manifest: pd.DataFrame, accepted: Iterable[str], params: Labels, seed: int) -> list[Item]:
    """Return the labelled subset, the unlabelled pool, validation and test, an item per clip."""
    return labels.build(manifest, accepted, params, seed)


def check(asked: Sequence[Item], manifest: pd.DataFrame) -> dict[str, Any]:
    """Raise ItemError where something leaks into the test; return each role's items by class and device, and minutes."""
    leaks.check_splits(asked, manifest)
    heard = devices(asked, manifest)
    report: dict[str, Any] = {"items": {}, "devices": {}}
    for role in ROLES:
        mine = [item for item in asked if item.role == role]
        known = [item.options[item.answer] for item in mine if item.answer != items.UNKNOWN]
        report["items"][role] = {"all": len(mine), **Counter(known)}
        report["devices"][role] = dict(Counter(heard[item.id] for item in mine))
    return report | {"minutes": items.minutes(asked, manifest, ROLES)}


def devices(asked: Sequence[Item], manifest: pd.DataFrame) -> dict[str, str]:
    """Return the device that recorded each item's clip, by item id; 'unknown' where the corpus does not say."""
    named = dict(zip(manifest["id"], manifest["device"], strict=True))
    return {item.id: named[item.utterances[0]] or UNKNOWN_DEVICE for item in asked}


def device_groups(training: Sequence[Item], asked: Sequence[Item], manifest: pd.DataFrame) -> dict[str, str]:
    """Return the group of each device that recorded the clips of `asked`: 'real', 'seen' (simulated) or 'unseen'.

    A device is unseen when no clip of `training` was recorded by it; their views as other devices do not count.
    """
    seen = set(devices(training, manifest).values())
    return {device: across.group(device, seen) for device in sorted(set(devices(asked, manifest).values()))}


def quality(
    models: dict[str, list[Answers]],
    training: Sequence[Item],
    asked: Sequence[Item],
    manifest: pd.DataFrame,
    params: Evaluate,
    seed: int,
) -> dict[str, Any]:
    """Return scores of each model on the test items, by class, device and group of devices, and its gains over others."""
    test = [item for item in asked if item.role == "test"]
    groups, heard = device_groups(training, test, manifest), devices(test, manifest)
    answers = np.array([item.answer for item in test])
    clusters = np.array([item.passage for item in test])
    device = np.array([heard[item.id] for item in test])
    stacked = {name: metrics.stack(each, [item.id for item in test]) for name, each in models.items()}
    settings = {"groups": groups, "resamples": params.resamples, "seed": seed}
    scores: dict[str, Any] = {
        name: across.score(probabilities, answers, clusters, device, test[0].options, **settings)
        for name, probabilities in stacked.items()
    }
    scores["gain"] = {
        pair: across.paired_gain(*(stacked[m] for m in pair.split("_vs_")), answers, clusters, device, **settings)
        for pair in metrics.pairs(params.gains, stacked)
    }
    return scores
