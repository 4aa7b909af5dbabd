"""How often a recogniser of several languages names the one that is spoken."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from earshot.evaluation import metrics
from earshot.tables.answers import Answers, language_of
from earshot.tables.items import Item

SECONDS = 2.0  # from which a clip is long enough to be judged by
RIGHT, TOTAL = range(2)


def identification(
    answers: Sequence[Answers],
    test: Sequence[Item],
    manifest: pd.DataFrame,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return how often S seeds name the language of the items, with an interval over speakers and
    seeds, of all and `from_2_s`, and `confusion`: of the clips in a language, which share is taken
    for which. Nothing where they name none.
    """
    known = [item for item in test if item.language and language_of(item.id) in answers[0]]
    if not known:
        return {}
    predicted = [[str(one[language_of(item.id)]) for item in known] for one in answers]
    seconds = dict(zip(manifest["id"], manifest["seconds"], strict=True))
    long = [sum(seconds[one] for one in item.utterances) >= SECONDS for item in known]
    found: dict[str, Any] = _accuracy(predicted, known, [True] * len(known), resamples, seed)
    if any(long):
        found["from_2_s"] = _accuracy(predicted, known, long, resamples, seed)
    return {"identification": found | {"confusion": _confusion(predicted, known)}}


def _accuracy(
    predicted: Sequence[Sequence[str]],
    items: Sequence[Item],
    kept: Sequence[bool],
    resamples: int,
    seed: int,
) -> dict[str, float]:
    """Return the share of the kept items whose language is named, with its interval."""
    speakers, cluster = np.unique([item.passage for item in items], return_inverse=True)
    tables = np.zeros((len(speakers), len(predicted), 2))
    for number, of_seed in enumerate(predicted):
        for place, (item, named) in enumerate(zip(items, of_seed, strict=True)):
            tables[cluster[place], number] += kept[place] * np.array([named == item.language, 1])
    tables = tables[tables[:, 0, TOTAL] > 0]

    def share(sums: np.ndarray) -> np.ndarray:
        return sums[..., RIGHT] / sums[..., TOTAL]

    interval = metrics.with_interval("accuracy", tables, share, resamples, seed)
    return interval | {"items": int(sum(kept))}


def _confusion(
    predicted: Sequence[Sequence[str]], items: Sequence[Item]
) -> dict[str, dict[str, float]]:
    """Return the share of a language's clips that is taken for each, by its own tag first."""
    named = sorted({item.language for item in items} | {one for of in predicted for one in of})
    found: dict[str, dict[str, float]] = {}
    for language in sorted({item.language for item in items}):
        places = [place for place, item in enumerate(items) if item.language == language]
        taken = [of_seed[place] for of_seed in predicted for place in places]
        found[language] = {one: taken.count(one) / len(taken) for one in named}
    return found
