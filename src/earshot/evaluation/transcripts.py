"""Transcription: errors of words and characters, with intervals over speakers and seeds.

Whole speakers are resampled (`metrics.resample`), as a voice that is hard is hard throughout. Of
several languages, rates are the means of theirs.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from earshot.evaluation import languages, metrics
from earshot.params import Evaluate
from earshot.tables.answers import Answers, answered
from earshot.tables.items import Item
from earshot.text import alphabet, edits

WORDS, SUBSTITUTIONS, DELETIONS, INSERTIONS, CHARACTERS, WRONG = range(6)
EDITS = slice(SUBSTITUTIONS, INSERTIONS + 1)
LENGTHS = {5: "to_5_words", 10: "to_10_words", 20: "to_20_words"}
LONGER = "from_21_words"
MOST_SPEAKERS = 50  # that are shown one by one
LEAST_EXCHANGED = 0.5  # word error rate of the control that must fail


class ControlError(ValueError):
    """A control that does not fail: the scores do not come from the audio."""


def device_groups(
    training: Sequence[Item], evaluated: Sequence[Item], manifest: pd.DataFrame
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
def _count(reference: str, hypothesis: str) -> tuple[int, ...]:
    """Return words, their substitutions, deletions and insertions, characters and their errors."""
    of_words = edits.of_words(reference, hypothesis)
    of_characters = edits.of_characters(reference, hypothesis)
    return len(reference.split()), *of_words, len(reference), sum(of_characters)


def text(answer: np.ndarray, item: Item) -> str:
    """Return what a path `(T,)` writes in the item's alphabet."""
    return alphabet.decode(answer.tolist(), item.options)


def hypotheses(answers: Sequence[Answers], items: Sequence[Item]) -> list[list[str]]:
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


def by_cluster(counts: np.ndarray, items: Sequence[Item]) -> list[np.ndarray]:
    """Return of each language the sums `(K, S, 6)` of counts `(S, N, 6)` over its K speakers; of
    one speaker alone, who tells nothing of others, over the clips. Items of no known language are
    one.
    """
    found = []
    for places in by_language(items).values():
        names = [items[place].passage for place in places]
        if len(set(names)) == 1:
            names = [items[place].id for place in places]
        _, cluster = np.unique(names, return_inverse=True)
        tables = np.zeros((cluster.max() + 1, len(counts), counts.shape[2]))
        np.add.at(tables, cluster, counts[:, places].transpose(1, 0, 2))
        found.append(tables)
    return found


def by_language(items: Sequence[Item]) -> dict[str, list[int]]:
    """Return the places of the items of each language, in the order of their tags."""
    found: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        found.setdefault(item.language or "", []).append(place)
    return dict(sorted(found.items()))


class Drawn(NamedTuple):
    """Sums over speakers of L languages: all `(S, L, …)`, drawn R times `(R, S, L, …)`, and how
    often each seed is drawn `(R, S)`.

    Speakers are drawn language by language, so that none is without.
    """

    every: np.ndarray
    sums: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, tables: Sequence[np.ndarray], resamples: int, seed: int) -> "Drawn":
        """Return draws of each language's tables `(K, S, …)`."""
        seeds = [[seed, place] if place else seed for place in range(len(tables))]
        pairs = zip(tables, seeds, strict=True)
        drawn = [metrics.resample(table, resamples, one) for table, one in pairs]
        every = np.stack([table.sum(0) for table in tables], 1)
        return cls(every, np.stack([sums for sums, _ in drawn], 2), drawn[0][1])

    def draws(self, statistic: metrics.Statistic) -> np.ndarray:
        """Return a statistic of the sums `(R,)`, mean over seeds."""
        return np.average(statistic(self.sums), 1, self.times)

    def interval(self, name: str, statistic: metrics.Statistic) -> dict[str, float]:
        """Return a statistic with its interval."""
        return metrics.interval(name, statistic(self.every), self.draws(statistic))


def score(tables: Sequence[np.ndarray], resamples: int, seed: int) -> dict[str, float]:
    """Return word and character error rates of the tables `(K, S, 6)` of languages, each with its
    interval: of several the mean of theirs, however many clips each has.
    """
    drawn, found = Drawn.of(tables, resamples, seed), dict[str, float]()
    for name, statistic in STATISTICS.items():
        found |= drawn.interval(name, lambda sums, of=statistic: of(sums).mean(-1))
    return found


def groups(items: Sequence[Item], languages: bool = False) -> dict[str, list[str]]:
    """Return what scores are broken down by, with its value for each item."""
    found = {"languages": [item.language or "" for item in items]} if languages else {}
    found |= {
        "wording": [item.wording for item in items],
        "length": [_length(len(item.transcript.split())) for item in items],
        "speaker": [item.passage for item in items],
    }
    few = len(set(found["speaker"])) <= MOST_SPEAKERS
    return {name: values for name, values in found.items() if few or name != "speaker"}


def _length(words: int) -> str:
    return next((name for most, name in LENGTHS.items() if words <= most), LONGER)


def model_score(
    counts: np.ndarray, items: Sequence[Item], resamples: int, seed: int, several: bool = False
) -> dict[str, Any]:
    """Return every score of one model, counts `(S, N, 6)`, as nested finite numbers; of
    `several` languages those of each too.
    """
    tables = by_cluster(counts, items)
    sums = np.stack([table.sum(0).mean(0) for table in tables])  # (L, 6)
    shares = sums / sums[:, WORDS, None]
    scores: dict[str, Any] = score(tables, resamples, seed)
    scores |= {name: float(shares[:, kind].mean()) for name, kind in SHARES.items()}
    scores |= {"seeds": len(counts), "items": len(items), "words": int(sums[:, WORDS].sum())}
    for name, values in groups(items, several).items():
        scores[name] = {}
        for value in sorted(set(values)):
            inside = [place for place, one in enumerate(values) if one == value]
            some = [items[place] for place in inside]
            part = by_cluster(counts[:, inside], some)
            scores[name][value] = score(part, resamples, seed) | {"items": len(inside)}
    return scores


def paired_gain(
    a: Sequence[np.ndarray], b: Sequence[np.ndarray], resamples: int, seed: int
) -> dict[str, float]:
    """Return WER(a) − WER(b) of the tables `(K, S, 6)` of languages, below zero where a makes fewer
    errors, and the relative reduction 1 − WER(a) / WER(b), each with its interval; paired as
    `metrics.paired_gain`. Of several languages WER is the mean of theirs.
    """
    seeds = a[0].shape[1], b[0].shape[1]
    if seeds[0] != seeds[1] and 1 not in seeds:
        raise ValueError(f"cannot pair {seeds[0]} seeds with {seeds[1]}")
    pairs = zip(a, b, strict=True)
    tables = [np.stack(np.broadcast_arrays(*pair), 2) for pair in pairs]  # (K, S, 2, 6) each
    wer = STATISTICS["wer"]

    def difference(sums: np.ndarray) -> np.ndarray:
        rates = wer(sums).mean(-2)  # (…, L, 2) → (…, 2)
        return rates[..., 0] - rates[..., 1]

    def reduction(sums: np.ndarray) -> np.ndarray:
        rates, least = wer(sums).mean(-2), 1 / sums[..., 1, WORDS].sum(-1)
        return 1 - rates[..., 0] / np.maximum(rates[..., 1], least)

    drawn = Drawn.of(tables, resamples, seed)
    return {
        **drawn.interval("wer", difference),
        **drawn.interval("relative_reduction", reduction),
        "p_value": metrics.p_value(drawn.draws(difference)),
    }


class Counted(NamedTuple):
    """The items that a model answered, their counts `(S, N, 6)`, and what it wrote of them, seed by
    seed.
    """

    items: list[Item]
    counts: np.ndarray
    texts: list[list[str]]

    @classmethod
    def of(cls, answers: Sequence[Answers], test: Sequence[Item]) -> "Counted":
        items = answered(test, answers)
        texts = hypotheses(answers, items)
        return cls(items, count(texts, items), texts)

    def tables(self, among: Sequence[Item]) -> list[np.ndarray]:
        """Return `by_cluster` of some of the items."""
        place = {item.id: number for number, item in enumerate(self.items)}
        return by_cluster(self.counts[:, [place[item.id] for item in among]], among)


def quality(
    models: dict[str, list[Answers]],
    training: Sequence[Item],
    evaluated: Sequence[Item],
    manifest: pd.DataFrame,
    params: Evaluate,
    seed: int,
) -> dict[str, Any]:
    """Return scores of each model on the test items, its gains over others, and a control,
    `audio_exchanged`: the best model's answers to other clips than those they are scored on.

    A model is scored on the items that it answered, and a gain on those that both did. Where the
    test is in several languages, rates are the means of theirs, and `languages` has each; where
    models name the language of a clip, `identification` says how often it is right.

    ControlError where the control gets half of the words right: they could be guessed.
    """
    test = [item for item in evaluated if item.role == "test"]
    several = len(by_language(test)) > 1
    counted = {name: Counted.of(each, test) for name, each in models.items()}
    scores: dict[str, Any] = {
        name: model_score(of.counts, of.items, params.resamples, seed, several)
        for name, of in counted.items()
    }
    for name, each in models.items():
        scores[name] |= languages.identification(each, test, manifest, params.resamples, seed)
    whole = [name for name, of in counted.items() if len(of.items) == len(test)]
    best = min(whole, key=lambda name: scores[name]["wer"])
    control = _of_other_clips(best, counted[best].texts, test, params.resamples, seed)
    scores["audio_exchanged"] = control
    scores["gain"] = {}
    for pair in metrics.pairs(params.gains, counted):
        one, other = pair.split("_vs_")
        two = counted[one], counted[other]
        scores["gain"][pair] = gain(pair, *two, several, params, seed)
    return scores


def _of_other_clips(
    name: str, texts: Sequence[Sequence[str]], test: Sequence[Item], resamples: int, seed: int
) -> dict[str, Any]:
    """Return the score of what a model wrote, seed by seed, on other clips than these texts are of;
    ControlError where it is too good.
    """
    others = exchanged(test)
    texts = [[one[place] for place in others] for one in texts]
    several = len(by_language(test)) > 1
    control = model_score(count(texts, test), test, resamples, seed, several)
    if control["wer"] < LEAST_EXCHANGED:
        raise ControlError(
            f"leak: what {name} writes of other clips has a word error rate of "
            f"{control['wer']:.2f}; the texts are too much alike to test a recogniser on"
        )
    return control


def exchanged(items: Sequence[Item]) -> list[int]:
    """Return for each item the place of another, in the same language."""
    others = [0] * len(items)
    for places in by_language(items).values():
        half = len(places) // 2
        for place, other in zip(places, [*places[half:], *places[:half]], strict=True):
            others[place] = other
    return others


def gain(
    pair: str, a: Counted, b: Counted, several: bool, params: Evaluate, seed: int
) -> dict[str, Any]:
    """Return `paired_gain` on the items that two models answered, of `several` languages in each
    too; ValueError, naming the pair, where there is none.
    """
    known = {item.id for item in b.items}
    both = [item for item in a.items if item.id in known]
    if not both:
        raise ValueError(f"evaluate.gains: {pair}: no test clip was answered by both")
    settings = params.resamples, seed
    found: dict[str, Any] = paired_gain(a.tables(both), b.tables(both), *settings)
    if several:
        parts = {
            language: [both[place] for place in places]
            for language, places in by_language(both).items()
        }
        found["languages"] = {
            language: paired_gain(a.tables(some), b.tables(some), *settings)
            for language, some in parts.items()
        }
    return found


def standing(
    clean: dict[str, Answers],
    changed: dict[str, dict[str, Answers]],
    items: Sequence[Item],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return each model's error rates, clean and under each condition, with intervals, and what it
    gains by the condition, paired with clean on the same items, of those that it answered.
    """

    def tables(answers: Answers) -> list[np.ndarray]:
        of = Counted.of([answers], items)
        return of.tables(of.items)

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
    tables = by_cluster(count(hypotheses(answers, items), items), items)
    found: dict[str, Any] = score(tables, 2000, seed)
    ends = {"accuracy": "wer", "accuracy_low": "wer_high", "accuracy_high": "wer_low"}
    found |= {name: 1 - found[end] for name, end in ends.items()}
    return found | {"seeds": len(answers), "items": len(items)}


def doubts(models: dict[str, list[Answers]], test: Sequence[Item]) -> list[str]:
    """Return a line for each model and seed that writes nothing, or the same of every clip."""
    lines = []
    for name, answers in models.items():
        some = answered(test, answers)
        for seed, texts in enumerate(hypotheses(answers, some)):
            if not any(texts):
                lines.append(f"{name}, seed {seed}: writes nothing but blanks; train it for longer")
            elif len(set(texts)) == 1 and len({item.transcript for item in some}) > 1:
                lines.append(f"{name}, seed {seed}: writes {texts[0]!r} of every clip")
    return lines
