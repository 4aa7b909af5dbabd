"""What must not leak: utterances, passages, places, speakers and texts into the test; answers
without listening.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from earshot.items.audio_blind import AudioBlind
from earshot.items.passages import words
from earshot.tables.items import Item, ItemError

SEEN_IN_TRAINING = ("teacher", "pool", "fewshot", "validation")


def check_splits(items: Sequence[Item], manifest: pd.DataFrame) -> None:
    """Raise ItemError naming what training and test items share: an utterance, passage, location,
    speaker or whole text.

    A passage is a segment where nobody speaks. A device of the test alone is no leak but what the
    test is about.
    """
    clips = manifest.set_index("id").reindex(columns=["passage", "location", "speaker", "text"])
    sides = {
        "training": {u for item in items if item.role in SEEN_IN_TRAINING for u in item.utterances},
        "test": {u for item in items if item.role == "test" for u in item.utterances},
    }
    traits = {
        "utterance": lambda used: set(used.index),
        "passage": lambda used: set(used["passage"]),
        "location": lambda used: set(used["location"].dropna()),
        "speaker": lambda used: set(used["speaker"]),
        "text": lambda used: {
            " ".join(words(text)) for text in used["text"].dropna() if len(words(text)) > 2
        },
    }
    for name, trait in traits.items():
        shared = trait(clips.loc[sorted(sides["training"])]) & trait(
            clips.loc[sorted(sides["test"])]
        )
        if shared:
            examples = ", ".join(sorted(shared)[:3])
            raise ItemError(f"leak: {len(shared)} {name}(s) are in training and test: {examples}")


def check_audio_blind(items: Sequence[Item]) -> float:
    """Return the accuracy on test items of a control trained on teacher items; ItemError when it
    beats chance.

    It may pass chance by what its 95% interval and four points allow.
    """
    test = [item for item in items if item.role == "test"]
    answers = AudioBlind([item for item in items if item.role == "teacher"]).predict(test)
    right = sum(int(answers[item.id].argmax() == item.answer) for item in test)
    chance = float(np.mean([1 / len(item.options) for item in test]))
    lowest = binomtest(right, len(test)).proportion_ci(0.95, method="exact").low
    if lowest > chance + 0.04:
        raise ItemError(
            f"leak: without audio {right} of {len(test)} test items are answered right; chance "
            f"is {chance:.0%}"
        )
    return right / len(test)
