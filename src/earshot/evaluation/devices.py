"""Scores of a classifier whose clips come from several devices, some of them unknown to training.

**Accuracy** is macro-averaged everywhere: the mean of the classes' recalls, so that a frequent
class counts no more than a rare one; of a device it is that of its clips. The **device drop** is
the mean accuracy of the devices seen in training less the mean of those that were not: what a new
device costs. Intervals are those of `earshot.evaluation.metrics`, all from the same draws of
clusters and seeds. A draw may lack a device or a class: means are over those it has. Where a
location is of one class alone, as in TAU, a class needs four of them: intervals then cover 94% in
simulation, with two 87%.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from earshot.evaluation.metrics import (
    calibration_error,
    check,
    negative_log_likelihood,
    p_value,
    resample,
)

SIMULATED = re.compile(r"s\d+")  # TAU's names: a, b, c are real devices, s1 … s6 simulated
Name = tuple[str, ...]  # ("device", "s4", "accuracy") is device.s4.accuracy


def group(device: str, seen: Collection[str]) -> str:
    """Return 'real' or 'seen' (simulated) for a device seen in training, 'unseen' for
    another.
    """
    if device not in seen:
        return "unseen"
    return "seen" if SIMULATED.fullmatch(device) else "real"


class TestItems(NamedTuple):
    """The N items that models are scored on, of C classes, and the group of each device."""

    answers: np.ndarray  # (N,) the right classes, 0..C-1
    clusters: np.ndarray  # (N,) where each was recorded
    devices: np.ndarray  # (N,) with which device
    labels: Sequence[str]  # of the classes
    groups: Mapping[str, str]  # by device


class Drawn(NamedTuple):
    """One model's scores by name: the estimate `(S,)`, and under draws of clusters `(R, S)`."""

    whole: dict[Name, np.ndarray]
    draws: dict[Name, np.ndarray]
    times: np.ndarray  # (R, S) how often a draw holds each seed


def statistics(
    counts: np.ndarray, labels: Sequence[str], groups: Mapping[str, str]
) -> dict[Name, np.ndarray]:
    """Return every score `(…)` of counts `(…, V, C, 3)` of V devices, of these groups, by name.

    Of a device's clips and a class the counts are those rightly taken for it, those of it, and
    those taken for it.
    """
    whole = counts.sum(-3)  # (…, C, 3)
    recalls, of_device = _recalls(whole), _mean(_recalls(counts))
    scores: dict[Name, np.ndarray] = {("accuracy",): _mean(recalls), ("macro_f1",): _f1(whole)}
    for row, label in enumerate(labels):
        scores["class", label, "accuracy"] = recalls[..., row]
    for row, device in enumerate(groups):
        scores["device", device, "accuracy"] = of_device[..., row]
    kinds = np.array(list(groups.values()))
    for kind in np.unique(kinds):
        scores["device_group", str(kind), "accuracy"] = _mean(of_device[..., kinds == kind])
    unseen = kinds == "unseen"
    if unseen.any() and not unseen.all():
        scores[("device_drop",)] = _mean(of_device[..., ~unseen]) - _mean(of_device[..., unseen])
    return scores


def draw(probabilities: np.ndarray, test: TestItems, resamples: int = 2000, seed: int = 0) -> Drawn:
    """Return one model's scores, its probabilities `(S, N, C)`, and their draws.

    Models of the same items and seed meet the same draws of clusters.
    """
    counts = _counts(probabilities, test)
    drawn, times = resample(counts, resamples, seed)
    whole = statistics(counts.sum(0), test.labels, test.groups)
    return Drawn(whole, statistics(drawn, test.labels, test.groups), times)


def score(drawn: Drawn, probabilities: np.ndarray, test: TestItems) -> dict[str, Any]:
    """Return every score of one model with its interval, as nested finite numbers.

    Classes, devices and groups of devices come with their number of items, classes only where there
    are any; without an unseen device there is no `device_drop`.
    """
    scores: dict[str, Any] = {}
    for name, estimate in drawn.whole.items():
        if np.isfinite(estimate).all():
            draws = _over_seeds(drawn.draws[name], drawn.times)
            _put(scores, name, _interval(float(estimate.mean()), draws))
    scores["nll"] = negative_log_likelihood(probabilities, test.answers)
    scores["ece"] = calibration_error(probabilities, test.answers)
    scores |= {"seeds": len(probabilities), "items": len(test.answers)}
    for row, label in enumerate(test.labels):
        if label in scores["class"]:
            scores["class"][label]["items"] = int((test.answers == row).sum())
    for device, kind in test.groups.items():
        number = int((test.devices == device).sum())
        scores["device"][device]["items"] = number
        together = scores["device_group"][kind]
        together["items"] = together.get("items", 0) + number
    return scores


def paired_gain(a: Drawn, b: Drawn) -> dict[str, float]:
    """Return accuracy(a) − accuracy(b), and the same of `device_drop`, each with interval and p.

    Below zero, a loses less on unseen devices. Seeds are paired as in `metrics.paired_gain`.
    ValueError when the numbers of seeds cannot be paired.
    """
    seeds = a.times.shape[1], b.times.shape[1]
    if seeds[0] != seeds[1] and 1 not in seeds:
        raise ValueError(
            f"cannot pair {seeds[0]} seeds with {seeds[1]}: the numbers must agree, or one be 1"
        )
    times = max(a.times, b.times, key=lambda one: one.shape[1])
    gain: dict[str, float] = {}
    for name, p_name in ((("accuracy",), "p_value"), (("device_drop",), "device_drop_p_value")):
        if name in a.whole:
            differences = _over_seeds(a.draws[name] - b.draws[name], times)
            estimate = float((a.whole[name] - b.whole[name]).mean())
            _put(gain, name, _interval(estimate, differences))
            gain[p_name] = p_value(differences[np.isfinite(differences)])
    return gain


def _counts(probabilities: np.ndarray, test: TestItems) -> np.ndarray:
    """Count right, of a class and taken for it, `(K, S, V, C, 3)` for cluster, seed and device."""
    check(probabilities, test.answers)
    for name in ("clusters", "devices"):
        number = len(getattr(test, name))
        if number != len(test.answers):
            raise ValueError(f"{number} {name} for {len(test.answers)} items")
    rows = {name: row for row, name in enumerate(test.groups)}
    if unknown := sorted(set(test.devices) - rows.keys()):
        raise ValueError(f"device '{unknown[0]}' is in none of the groups")
    seeds, _, classes = probabilities.shape
    clusters, cluster = np.unique(test.clusters, return_inverse=True)
    device = np.array([rows[name] for name in test.devices])
    counts = np.zeros((len(clusters), seeds, len(rows), classes, 3))
    seed = np.arange(seeds)[:, None]
    chosen = probabilities.argmax(-1)  # (S, N)
    np.add.at(counts, (cluster, seed, device, test.answers, 0), chosen == test.answers)
    np.add.at(counts, (cluster, seed, device, test.answers, 1), 1)
    np.add.at(counts, (cluster, seed, device, chosen, 2), 1)
    return counts


def _recalls(counts: np.ndarray) -> np.ndarray:
    """Return the recall of each class `(…, C)` of counts `(…, C, 3)`; NaN where it does not
    occur.
    """
    right, total = counts[..., 0], counts[..., 1]
    return np.divide(right, total, out=np.full(total.shape, np.nan), where=total > 0)


def _f1(counts: np.ndarray) -> np.ndarray:
    """Return the macro F1 `(…)` of counts `(…, C, 3)`, as `metrics.f1` does of confusions."""
    right, seen = counts[..., 0], counts[..., 1] + counts[..., 2]
    return (2 * right / np.maximum(seen, 1)).sum(-1) / (seen > 0).sum(-1)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis of what is not NaN; NaN where nothing is left."""
    there = ~np.isnan(values)
    number = there.sum(-1)
    return np.divide(
        np.where(there, values, 0).sum(-1),
        number,
        out=np.full(number.shape, np.nan),
        where=number > 0,
    )


def _over_seeds(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the means `(R,)` of values `(R, S)` over seeds drawn so many times `(R, S)`."""
    return np.average(values, 1, times)


def _interval(estimate: float, draws: np.ndarray) -> tuple[float, float, float]:
    """Return the estimate and the ends of its 95% interval, which always holds it."""
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return estimate, min(float(low), estimate), max(float(high), estimate)


def _put(scores: dict[str, Any], name: Name, values: tuple[float, float, float]) -> None:
    for part in name[:-1]:
        scores = scores.setdefault(part, {})
    scores |= {
        f"{name[-1]}{end}": value for end, value in zip(("", "_low", "_high"), values, strict=True)
    }
