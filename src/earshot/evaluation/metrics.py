"""Scores of a classifier, with intervals one can believe: over test items and over training seeds.

Predictions of one model are probabilities `(S, N, C)`: S training seeds, N test items, C options;
where items differ in their number, options that an item does not have are given zero.
Answers are `(N,)` positions in 0..C-1. Items of one passage share an encoding, so they are right or
wrong together: `clusters (N,)` names the passage of each item, and whole passages are resampled,
never items.

**Intervals** are 95% percentile intervals of a two-way bootstrap: passages and seeds are drawn with
replacement, independently of each other. Percentiles, because they stay inside 0..1, need no
formula for a skewed or non-linear score such as macro F1, and carry over to paired gains unchanged.
Of S seeds, S-1 are drawn: S draws would understate the variance between seeds by 1/S, much for
three to five (Rao & Wu 1988). With one seed only passages are drawn, and the interval says
nothing about another training run. Few seeds cannot carry a 95% interval: where nothing else
differs, that of three covers 74% in simulation, of four 80%.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from earshot.tables.answers import Answers

BINS = 15
# confusion tables (…, C, C) → one number per table (…)
Statistic = Callable[[np.ndarray], np.ndarray]


def stack(answers: Sequence[Answers], ids: Sequence[str]) -> np.ndarray:
    """Return probabilities `(S, N, C)` of S seeds' answers to the N items of these ids.

    C is the largest number of options; those that an item does not have get zero.
    """
    options = max(len(one[id]) for one in answers for id in ids)
    stacked = np.zeros((len(answers), len(ids), options))
    for seed, one in enumerate(answers):
        for place, id in enumerate(ids):
            stacked[seed, place, : len(one[id])] = one[id]
    return stacked


def pairs(gains: Iterable[str], models: Iterable[str]) -> list[str]:
    """Return the gains `a_vs_b` asked for, and those of every int8 file over its float and its
    calibrated-only student.
    """
    known = set(models)
    students = sorted(model.removesuffix("_int8") for model in known if model.endswith("_int8"))
    int8 = [
        f"{one}_int8_vs_{other}"
        for one in students
        for other in (one, f"{one}_ptq")
        if other in known
    ]
    return list(dict.fromkeys([*gains, *int8]))


def accuracy(probabilities: np.ndarray, answers: np.ndarray) -> float:
    """Return the share of items answered right over seeds and items; of equal probabilities the
    first is the choice.
    """
    check(probabilities, answers)
    return float((probabilities.argmax(-1) == answers).mean())


def macro_f1(probabilities: np.ndarray, answers: np.ndarray) -> float:
    """Return F1 = 2 TP / (2 TP + FP + FN) averaged over answer positions, then over seeds.

    Positions that occur neither as answer nor as prediction are left out, as in scikit-learn's
    `f1_score`.
    """
    return float(f1(confusions(probabilities, answers, np.zeros(len(answers))).sum(0)).mean())


def negative_log_likelihood(probabilities: np.ndarray, answers: np.ndarray) -> float:
    """Return -mean ln p(answer) in nats over seeds and items; p is held above 1e-12 to stay
    finite.
    """
    check(probabilities, answers)
    right = probabilities[:, np.arange(len(answers)), answers]
    return float(-np.log(np.maximum(right, 1e-12)).mean())


def calibration(
    probabilities: np.ndarray, answers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean confidence, accuracy and number of predictions of each bin `(15,)`, all seeds
    pooled.

    Confidence is the largest probability; bin b of 15 holds confidences in (b/15, (b+1)/15]. Empty
    bins are zero.
    """
    check(probabilities, answers)
    confidence = probabilities.max(-1).ravel()
    right = (probabilities.argmax(-1) == answers).ravel()
    bins = np.clip(
        np.digitize(confidence, np.linspace(0, 1, BINS + 1), right=True) - 1, 0, BINS - 1
    )
    count = np.bincount(bins, minlength=BINS)
    share = 1 / np.maximum(count, 1)
    return (
        np.bincount(bins, confidence, BINS) * share,
        np.bincount(bins, right, BINS) * share,
        count,
    )


def calibration_error(probabilities: np.ndarray, answers: np.ndarray) -> float:
    """Return Σ_b n_b/N · |accuracy_b - confidence_b| over 15 bins (expected calibration error),
    averaged over seeds.
    """

    def of_seed(one: np.ndarray) -> float:
        confidence, right, count = calibration(one[None], answers)
        return float(count @ np.abs(right - confidence) / count.sum())

    return float(np.mean([of_seed(one) for one in probabilities]))


def score(
    probabilities: np.ndarray,
    answers: np.ndarray,
    clusters: np.ndarray,
    groups: dict[str, np.ndarray],
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return every score of one model as nested finite numbers.

    `groups` maps a name to a value per item `(N,)`: `{"skill": ["detail", …]}` adds
    `skill.detail.accuracy`, with its interval and its number of items. Shares are 0..1, `nll` is in
    nats. ValueError says why data cannot be scored.
    """
    answers, clusters = np.asarray(answers), np.asarray(clusters)
    tables = confusions(probabilities, answers, clusters)
    scores: dict[str, Any] = {
        **with_interval("accuracy", tables, _accuracy, resamples, seed),
        **with_interval("macro_f1", tables, f1, resamples, seed),
        "nll": negative_log_likelihood(probabilities, answers),
        "ece": calibration_error(probabilities, answers),
        "seeds": len(probabilities),
        "items": len(answers),
    }
    for name, values in groups.items():
        if len(values := np.asarray(values)) != len(answers):
            raise ValueError(f"group {name} has {len(values)} values for {len(answers)} items")
        scores[name] = {}
        for value in np.unique(values):
            inside = values == value
            part = confusions(probabilities[:, inside], answers[inside], clusters[inside])
            interval = with_interval("accuracy", part, _accuracy, resamples, seed)
            scores[name][str(value)] = {**interval, "items": int(inside.sum())}
    return scores


def accuracy_interval(
    probabilities: np.ndarray,
    answers: np.ndarray,
    clusters: np.ndarray,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Return the accuracy of one model alone, with its interval."""
    tables = confusions(probabilities, answers, clusters)
    return with_interval("accuracy", tables, _accuracy, resamples, seed)


def paired_gain(
    a: np.ndarray,
    b: np.ndarray,
    answers: np.ndarray,
    clusters: np.ndarray,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Return accuracy(a) - accuracy(b) with its interval, both on the same items and the same draws
    of passages.

    Equal numbers of seeds are paired by index (same initial weights). A model of one seed meets
    every seed of the other and adds no variance of its own. `p_value` is two-sided, from the same
    draws: 2 · min(share ≤ 0, share ≥ 0).
    """
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise ValueError(
            f"cannot pair {len(a)} seeds with {len(b)}: the numbers must agree, or one be 1"
        )
    both = np.broadcast_arrays(confusions(a, answers, clusters), confusions(b, answers, clusters))
    tables = np.stack(both, 2)  # (K, S, 2, C, C)

    def gain(counts: np.ndarray) -> np.ndarray:
        shares = _accuracy(counts)
        return shares[..., 0] - shares[..., 1]

    draws = draw(tables, gain, resamples, seed)
    return {**with_interval("accuracy", tables, gain, resamples, seed), "p_value": p_value(draws)}


def p_value(draws: np.ndarray) -> float:
    """Return the two-sided p-value of draws `(R,)` of a gain: 2 · min(share ≤ 0, share ≥ 0)."""
    draws = draws.round(12)  # a rounding error has no sign
    # one added: no finite number of draws shows p = 0
    tail = 1 + min((draws <= 0).sum(), (draws >= 0).sum())
    return min(1.0, float(2 * tail / (len(draws) + 1)))


def check(probabilities: np.ndarray, answers: np.ndarray) -> None:
    shape = np.shape(probabilities)
    if len(shape) != 3 or 0 in shape or np.shape(answers) != shape[1:2]:
        raise ValueError(
            f"probabilities {shape} and answers {np.shape(answers)} must be (S, N, C) and "
            "(N,), not empty"
        )
    if not np.all(probabilities >= 0) or not np.allclose(probabilities.sum(-1), 1, atol=1e-4):
        raise ValueError("probabilities must be finite, at least 0, and sum to 1 over the options")
    if np.min(answers) < 0 or np.max(answers) >= shape[2]:
        raise ValueError(
            f"answers must be 0..{shape[2] - 1}, found {np.min(answers)}..{np.max(answers)}"
        )


def confusions(probabilities: np.ndarray, answers: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Count answers by predictions, `(K, S, C, C)` for cluster and seed: sums of these hold all a
    score needs.
    """
    check(probabilities, answers)
    if len(clusters) != len(answers):
        raise ValueError(f"{len(clusters)} clusters for {len(answers)} items")
    seeds, _, options = probabilities.shape
    names, cluster = np.unique(clusters, return_inverse=True)
    tables = np.zeros((len(names), seeds, options, options))
    np.add.at(tables, (cluster, np.arange(seeds)[:, None], answers, probabilities.argmax(-1)), 1)
    return tables


def _accuracy(tables: np.ndarray) -> np.ndarray:
    return np.trace(tables, axis1=-2, axis2=-1) / tables.sum((-2, -1))


def f1(tables: np.ndarray) -> np.ndarray:
    """Return the macro F1 `(…)` of confusion tables `(…, C, C)`."""
    hits, seen = np.diagonal(tables, axis1=-2, axis2=-1), tables.sum(-1) + tables.sum(-2)
    return (2 * hits / np.maximum(seen, 1)).sum(-1) / (seen > 0).sum(-1)


def draw(tables: np.ndarray, statistic: Statistic, resamples: int, seed: int) -> np.ndarray:
    """Return the statistic `(resamples,)` of tables `(K, S, …)` under draws of clusters and
    seeds.
    """
    drawn, times = resample(tables, resamples, seed)
    return np.average(statistic(drawn), 1, times)


def resample(
    tables: np.ndarray, resamples: int, seed: int | Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return sums `(R, S, …)` of tables `(K, S, …)` over R draws of clusters, and how often each
    seed is drawn `(R, S)`.

    All counts are whole numbers, so the sums are exact and do not depend on threads.
    """
    rng = np.random.default_rng(seed)
    clusters, seeds = tables.shape[:2]
    times = _times(rng, resamples, clusters, clusters)
    sums = (times @ tables.reshape(clusters, -1)).reshape(resamples, *tables.shape[1:])
    return sums, _times(rng, resamples, seeds, max(seeds - 1, 1))


def _times(rng: np.random.Generator, rows: int, things: int, draws: int) -> np.ndarray:
    """Return how often each thing `(rows, things)` comes up in so many draws with replacement."""
    picks = rng.integers(things, size=(rows, draws)) + things * np.arange(rows)[:, None]
    return np.bincount(picks.ravel(), minlength=rows * things).reshape(rows, things).astype(float)


def with_interval(
    name: str, tables: np.ndarray, statistic: Statistic, resamples: int, seed: int
) -> dict[str, float]:
    """Return the estimate and the ends of its interval, which always holds the estimate."""
    return interval(name, statistic(tables.sum(0)), draw(tables, statistic, resamples, seed))


def interval(name: str, of_seeds: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
    """Return the mean of a score over seeds `(S,)`, and the ends of its interval by draws `(R,)`,
    which always holds it.
    """
    estimate = float(of_seeds.mean())
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        name: estimate,
        f"{name}_low": min(float(low), estimate),
        f"{name}_high": max(float(high), estimate),
    }
