"""Scores of a classifier whose clips come from several devices, some of them unknown to training.

**Accuracy** is macro-averaged everywhere: the mean of the classes' recalls, so that a frequent
class counts no more than a rare one; of a device it is that of its clips. The **device drop** is
the mean accuracy of the devices heard in training less the mean of those that were not: what a new
device costs. Intervals are those of `earshot.evaluation.metrics`, all from the same draws of
clusters and seeds. A draw may lack a device or a class: means are over those it has. Where a
location is of one class alone, as in TAU, a class needs four of them: intervals then cover 94% in
simulation, with two 87%.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from earshot.evaluation.metrics import (
    calibration_error,
    check,
    f1,
    negative_log_likelihood,
    p_value,
    resample,
)

SIMULATED = re.compile(r"s\d+")  # TAU's names: a, b, c are real devices, s1 … s6 simulated
Name = tuple[str, ...]  # ("device", "s4", "accuracy") is device.s4.accuracy


def macro_accuracy(tables: np.ndarray) -> np.ndarray:
    """Return the mean recall `(…)` over the classes that occur in confusion tables `(…, C, C)`; NaN
    where none does.
    """
    return _mean(_recalls(tables))


def group(device: str, seen: Collection[str]) -> str:
    """Return 'real' or 'seen' (simulated) for a device that training heard, 'unseen' for another."""
    if device not in seen:
        return "unseen"
    return "seen" if SIMULATED.fullmatch(device) else "real"


def statistics(
    tables: np.ndarray, labels: Sequence[str], groups: Mapping[str, str]
) -> dict[Name, np.ndarray]:
    """Return every score `(…)` of confusion tables `(…, V, C, C)` of V devices, of these groups, by
    name.
    """
    whole = tables.sum(-3)
    recalls, of_device = _recalls(whole), macro_accuracy(tables)
    scores: dict[Name, np.ndarray] = {("accuracy",): _mean(recalls), ("macro_f1",): f1(whole)}
    scores |= {("class", label, "accuracy"): recalls[..., row] for row, label in enumerate(labels)}
    scores |= {
        ("device", device, "accuracy"): of_device[..., row] for row, device in enumerate(groups)
    }
    kinds = np.array(list(groups.values()))
    for kind in np.unique(kinds):
        scores["device_group", str(kind), "accuracy"] = _mean(of_device[..., kinds == kind])
    unseen = kinds == "unseen"
    if unseen.any() and not unseen.all():
        scores[("device_drop",)] = _mean(of_device[..., ~unseen]) - _mean(of_device[..., unseen])
    return scores


def score(
    probabilities: np.ndarray,
    answers: np.ndarray,
    clusters: np.ndarray,
    devices: np.ndarray,
    labels: Sequence[str],
    groups: Mapping[str, str],
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return every score of one model `(S, N, C)` with its interval, as nested finite numbers.

    `clusters` and `devices` `(N,)` name each item's location and device, `groups` each device's
    group. Classes, devices and groups of devices come with their number of items, classes only
    where there are any; without an unseen device there is no `device_drop`.
    """
    tables = _counts(probabilities, answers, clusters, devices, list(groups))
    drawn, times = resample(tables, resamples, seed)
    whole, draws = (statistics(counts, labels, groups) for counts in (tables.sum(0), drawn))
    scores: dict[str, Any] = {}
    for name, estimate in whole.items():
        if np.isfinite(estimate).all():
            _put(scores, name, _interval(float(estimate.mean()), _over_seeds(draws[name], times)))
    scores["nll"] = negative_log_likelihood(probabilities, answers)
    scores["ece"] = calibration_error(probabilities, answers)
    scores |= {"seeds": len(probabilities), "items": len(answers)}
    for row, label in enumerate(labels):
        if label in scores["class"]:
            scores["class"][label]["items"] = int((answers == row).sum())
    for device, kind in groups.items():
        number = int((devices == device).sum())
        scores["device"][device]["items"] = number
        together = scores["device_group"][kind]
        together["items"] = together.get("items", 0) + number
    return scores


def paired_gain(
    a: np.ndarray,
    b: np.ndarray,
    answers: np.ndarray,
    clusters: np.ndarray,
    devices: np.ndarray,
    groups: Mapping[str, str],
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Return accuracy(a) − accuracy(b), and the same of `device_drop` (below zero: a loses less),
    each with interval and p.

    Seeds are paired as in `metrics.paired_gain`; all figures are from the same draws.
    """
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise ValueError(
            f"cannot pair {len(a)} seeds with {len(b)}: the numbers must agree, or one be 1"
        )
    labels = [str(row) for row in range(a.shape[2])]
    both = np.broadcast_arrays(
        *(_counts(one, answers, clusters, devices, list(groups)) for one in (a, b))
    )
    whole = [statistics(tables.sum(0), labels, groups) for tables in both]
    draws = []
    for tables in both:
        drawn, times = resample(tables, resamples, seed)
        draws.append(statistics(drawn, labels, groups))
    gain: dict[str, float] = {}
    for name, p_name in ((("accuracy",), "p_value"), (("device_drop",), "device_drop_p_value")):
        if name in whole[0]:
            differences = _over_seeds(draws[0][name] - draws[1][name], times)
            _put(
                gain, name, _interval(float((whole[0][name] - whole[1][name]).mean()), differences)
            )
            gain[p_name] = p_value(differences[np.isfinite(differences)])
    return gain


def _counts(
    probabilities: np.ndarray,
    answers: np.ndarray,
    clusters: np.ndarray,
    devices: np.ndarray,
    names: Sequence[str],
) -> np.ndarray:
    """Count answers by predictions, `(K, S, V, C, C)` for cluster, seed and device of `names`."""
    check(probabilities, answers)
    for name, values in (("clusters", clusters), ("devices", devices)):
        if len(values) != len(answers):
            raise ValueError(f"{len(values)} {name} for {len(answers)} items")
    if unknown := sorted(set(devices) - set(names)):
        raise ValueError(f"device '{unknown[0]}' is in none of the groups")
    seeds, _, classes = probabilities.shape
    places, place = np.unique(clusters, return_inverse=True)
    order = {name: row for row, name in enumerate(names)}
    device = np.array([order[name] for name in devices])
    tables = np.zeros((len(places), seeds, len(names), classes, classes))
    np.add.at(
        tables, (place, np.arange(seeds)[:, None], device, answers, probabilities.argmax(-1)), 1
    )
    return tables


def _recalls(tables: np.ndarray) -> np.ndarray:
    """Return the recall of each class `(…, C)` of tables `(…, C, C)`; NaN for one that does not
    occur.
    """
    total = tables.sum(-1)
    return np.divide(
        np.diagonal(tables, axis1=-2, axis2=-1),
        total,
        out=np.full(total.shape, np.nan),
        where=total > 0,
    )


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
