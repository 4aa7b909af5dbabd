"""Transcription: errors of words and characters, with intervals over speakers and seeds.

Whole speakers are resampled (`metrics.resample`), as a voice that is hard is hard throughout.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from earshot.evaluation import metrics
from earshot.params import Evaluate
from earshot.tables.answers import Answers
from earshot.tables.items import Item
from earshot.text import alphabet, edits

WORDS, SUBSTITUTIONS, DELETIONS, INSERTIONS, CHARACTERS, WRONG = range(6)
EDITS = slice(SUBSTITUTIONS, INSERTIONS + 1)
LENGTHS = {5: "to_5_words", 10: "to_10_words", 20: "to_20_words"}
LONGER = "from_21_words"
MOST_SPEAKERS = 50  # that are told one by one
LEAST_EXCHANGED = 0.5  # word error rate of the control that must fail


class ControlError(ValueError):
    """A control that does not fail: what is measured is not what the recogniser hears."""


def device_groups(
    training: Sequence[Item], asked: Sequence[Item], manifest: pd.DataFrame
) -> dict[str, str]:
    """Return nothing: who recorded a clip is not looked at."""
    return {}


def rate(tables: np.ndarray, kinds: int | slice, of: int) -> np.ndarray:
    """Return a rate `(…)` of tables `(…, 6)`: the sum of these counts over the count `of`."""
    errors = tables[..., kinds]
    errors = errors.sum(-1) if isinstance(kinds, slice) else errors
    return errors / tables[..., of]


STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "wer": partial(rate, kinds=EDITS, of=WORDS),
    "cer": partial(rate, kinds=WRONG, of=CHARACTERS),
}
SHARES = {"substitutions": SUBSTITUTIONS, "deletions": DELETIONS, "insertions": INSERTIONS}


@cache
def _count(said: str, written: str) -> tuple[int, ...]:
    """Return words, their substitutions, deletions and insertions, characters and their errors."""
    of_words, of_characters = edits.of_words(said, written), edits.of_characters(said, written)
    return len(said.split()), *of_words, len(said), sum(of_characters)


def text(answer: np.ndarray, item: Item) -> str:
    """Return what a path `(T,)` writes in the item's alphabet."""
    return alphabet.decode(answer.tolist(), item.options)


def written(answers: Sequence[Answers], items: Sequence[Item]) -> list[list[str]]:
    """Return the transcripts of S seeds of N items."""
    return [[text(one[item.id], item) for item in items] for one in answers]


def count(texts: Sequence[Sequence[str]], items: Sequence[Item]) -> np.ndarray:
    """Return the counts `(S, N, 6)` of S seeds' transcripts of N items."""
    return np.array(
        [
            [_count(item.transcript, one) for one, item in zip(of_seed, items, strict=True)]
            for of_seed in texts
        ],
        float,
    )


def by_cluster(counts: np.ndarray, items: Sequence[Item]) -> np.ndarray:
    """Return the sums `(K, S, 6)` of counts `(S, N, 6)` over the K speakers; of one speaker alone,
    who tells nothing of others, over the clips.
    """
    names = [item.passage for item in items]
    if len(set(names)) == 1:
        names = [item.id for item in items]
    _, cluster = np.unique(names, return_inverse=True)
    tables = np.zeros((cluster.max() + 1, len(counts), counts.shape[2]))
    np.add.at(tables, cluster, counts.transpose(1, 0, 2))
    return tables


def score(tables: np.ndarray, resamples: int, seed: int) -> dict[str, float]:
    """Return word and character error rates of tables `(K, S, 6)`, each with its interval."""
    found: dict[str, float] = {}
    for name, statistic in STATISTICS.items():
        found |= metrics.with_interval(name, tables, statistic, resamples, seed)
    return found


def groups(items: Sequence[Item]) -> dict[str, list[str]]:
    """Return what scores are broken down by, with its value for each item."""
    found = {
        "wording": [item.wording for item in items],
        "length": [_length(len(item.transcript.split())) for item in items],
        "speaker": [item.passage for item in items],
    }
    few = len(set(found["speaker"])) <= MOST_SPEAKERS
    return found if few else {name: found[name] for name in ("wording", "length")}


def _length(words: int) -> str:
    return next((name for most, name in LENGTHS.items() if words <= most), LONGER)


def model_score(
    counts: np.ndarray, items: Sequence[Item], resamples: int, seed: int
) -> dict[str, Any]:
    """Return every score of one model, counts `(S, N, 6)`, as nested finite numbers."""
    tables = by_cluster(counts, items)
    sums = tables.sum(0).mean(0)  # (6,)
    scores: dict[str, Any] = score(tables, resamples, seed)
    scores |= {name: float(sums[kind] / sums[WORDS]) for name, kind in SHARES.items()}
    scores |= {"seeds": len(counts), "items": len(items), "words": int(sums[WORDS])}
    for name, values in groups(items).items():
        scores[name] = {}
        for value in sorted(set(values)):
            inside = [place for place, one in enumerate(values) if one == value]
            some = [items[place] for place in inside]
            part = by_cluster(counts[:, inside], some)
            scores[name][value] = score(part, resamples, seed) | {"items": len(inside)}
    return scores


def paired_gain(a: np.ndarray, b: np.ndarray, resamples: int, seed: int) -> dict[str, float]:
    """Return WER(a) − WER(b) of tables `(K, S, 6)`, below zero where a makes fewer errors, and the
    relative reduction 1 − WER(a) / WER(b), each with its interval; paired as
    `metrics.paired_gain`.
    """
    if len(a[0]) != len(b[0]) and 1 not in (len(a[0]), len(b[0])):
        seeds = len(a[0]), len(b[0])
        raise ValueError(f"cannot pair {seeds[0]} seeds with {seeds[1]}")
    tables = np.stack(np.broadcast_arrays(a, b), 2)  # (K, S, 2, 6)
    wer = STATISTICS["wer"]

    def difference(sums: np.ndarray) -> np.ndarray:
        rates = wer(sums)
        return rates[..., 0] - rates[..., 1]

    def reduction(sums: np.ndarray) -> np.ndarray:
        rates = wer(sums)
        return 1 - rates[..., 0] / np.maximum(rates[..., 1], 1 / sums[..., 1, WORDS])

    drawn = metrics.draw(tables, difference, resamples, seed)
    return {
        **metrics.with_interval("wer", tables, difference, resamples, seed),
        **metrics.with_interval("relative_reduction", tables, reduction, resamples, seed),
        "p_value": metrics.p_value(drawn),
    }


def quality(
    models: dict[str, list[Answers]],
    training: Sequence[Item],
    asked: Sequence[Item],
    manifest: pd.DataFrame,
    params: Evaluate,
    seed: int,
) -> dict[str, Any]:
    """Return scores of each model on the test items, its gains over others, and a control,
    `audio_exchanged`: the best model's answers to other clips than those they are scored on.

    ControlError where the control gets half of the words right: they could be guessed.
    """
    test = [item for item in asked if item.role == "test"]
    texts = {name: written(each, test) for name, each in models.items()}
    counts = {name: count(each, test) for name, each in texts.items()}
    scores: dict[str, Any] = {
        name: model_score(each, test, params.resamples, seed) for name, each in counts.items()
    }
    best = min(models, key=lambda name: scores[name]["wer"])
    half = len(test) // 2
    exchanged = count([[*one[half:], *one[:half]] for one in texts[best]], test)
    control = model_score(exchanged, test, params.resamples, seed)
    if control["wer"] < LEAST_EXCHANGED:
        raise ControlError(
            f"leak: what {best} writes of other clips has a word error rate of "
            f"{control['wer']:.2f}; the texts are too much alike to test a recogniser on"
        )
    tables = {name: by_cluster(each, test) for name, each in counts.items()}
    scores["audio_exchanged"] = control
    scores["gain"] = {
        pair: paired_gain(*(tables[one] for one in pair.split("_vs_")), params.resamples, seed)
        for pair in metrics.pairs(params.gains, tables)
    }
    return scores


def standing(
    clean: dict[str, Answers],
    changed: dict[str, dict[str, Answers]],
    items: Sequence[Item],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return each model's error rates, clean and under each condition, with intervals, and what it
    gains by the condition, paired with clean on the same items.
    """

    def tables(answers: Answers) -> np.ndarray:
        return by_cluster(count(written([answers], items), items), items)

    scores: dict[str, Any] = {"items": len(items)}
    for model, answers in clean.items():
        before = tables(answers)
        scores[model] = {"clean": score(before, resamples, seed)}
        for name, of_models in changed.items():
            after = tables(of_models[model])
            gain = paired_gain(after, before, resamples, seed)
            scores[model][name] = score(after, resamples, seed) | {"gain": gain}
    return scores


def validation(answers: Sequence[Answers], items: Sequence[Item], seed: int) -> dict[str, Any]:
    """Return the error rates of several seeds, and `accuracy`, 1 − WER, by which experiments are
    compared; over speakers and seeds.
    """
    tables = by_cluster(count(written(answers, items), items), items)
    found: dict[str, Any] = score(tables, 2000, seed)
    ends = {"accuracy": "wer", "accuracy_low": "wer_high", "accuracy_high": "wer_low"}
    found |= {name: 1 - found[end] for name, end in ends.items()}
    return found | {"seeds": len(answers), "items": len(items)}


def doubts(models: dict[str, list[Answers]], test: Sequence[Item]) -> list[str]:
    """Return a line for each model and seed that writes nothing, or the same of every clip."""
    lines = []
    for name, answers in models.items():
        for seed, texts in enumerate(written(answers, test)):
            if not any(texts):
                lines.append(f"{name}, seed {seed}: writes nothing but blanks; train it for longer")
            elif len(set(texts)) == 1 and len({item.transcript for item in test}) > 1:
                lines.append(f"{name}, seed {seed}: writes {texts[0]!r} of every clip")
    return lines
