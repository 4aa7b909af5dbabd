"""What must not leak: utterances, passages, places, speakers and texts into the test; answers without listening."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

from earshot.evaluation.metrics import exact_interval
from earshot.items.passages import words
from earshot.tables.items import Item, ItemError

SEEN_IN_TRAINING = ("teacher", "pool", "fewshot", "validation")


def check_splits(items: Sequence[Item], manifest: pd.DataFrame) -> None:
    """Raise ItemError naming what training and test items share: an utterance, passage, location, speaker or whole text.

    A passage is a segment where nobody speaks. A device of the test alone is no leak but what the test is about.
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
        "text": lambda used: {" ".join(words(text)) for text in used["text"].dropna() if len(words(text)) > 2},
    }
    for name, trait in traits.items():
        shared = trait(clips.loc[sorted(sides["training"])]) & trait(clips.loc[sorted(sides["test"])])
        if shared:
            examples = ", ".join(sorted(shared)[:3])
            raise ItemError(f"leak: {len(shared)} {name}(s) are in training and test: {examples}")


class AudioBlind:
    """The control that never hears anything: logistic regression on words and letters of question and option.

    It is trained on labelled items and scores each option by itself, as a person would who only reads the paper.
    """

    def __init__(self, labelled: Sequence[Item]):
        right = np.concatenate([np.arange(len(item.options)) == item.answer for item in labelled])
        self._model = LogisticRegression(solver="liblinear", C=0.1).fit(_features(labelled), right)

    def predict(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        """Return each item's option probabilities `(C,)`, keyed by item id."""
        scores = self._model.predict_proba(_features(items))[:, 1]
        rows = np.split(scores, np.cumsum([len(item.options) for item in items])[:-1])
        return {item.id: row / row.sum() for item, row in zip(items, rows, strict=True)}


def check_audio_blind(items: Sequence[Item]) -> float:
    """Return the accuracy on test items of a control trained on teacher items; ItemError when it beats chance.

    It may pass chance by what its 95% interval and four points allow.
    """
    test = [item for item in items if item.role == "test"]
    answers = AudioBlind([item for item in items if item.role == "teacher"]).predict(test)
    right = sum(int(answers[item.id].argmax() == item.answer) for item in test)
    chance = float(np.mean([1 / len(item.options) for item in test]))
    if exact_interval(right, len(test))[0] > chance + 0.04:
        raise ItemError(f"leak: without audio {right} of {len(test)} test items are answered right; chance is {chance:.0%}")
    return right / len(test)


def _features(items: Sequence[Item]) -> csr_matrix:
    """Return a sparse row per option: its length and place, and hashed words and letters of question and option."""
    options = [(item.question, option, place) for item in items for place, option in enumerate(item.options)]
    texts = [f"{question} {option}" for question, option, _ in options]
    form = csr_matrix([[len(option) / 20, place == 0, place == 1] for _, option, place in options], dtype=float)
    vectorizers = (
        HashingVectorizer(n_features=2**14, ngram_range=(1, 2), norm=None),
        HashingVectorizer(n_features=2**14, analyzer="char_wb", ngram_range=(3, 3), norm=None),
    )
    return hstack([form, *[vectorizer.transform(texts) for vectorizer in vectorizers]], format="csr")
