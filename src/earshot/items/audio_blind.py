"""The control that reads questions and options without the audio: what it gets right says nothing
about listening.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from earshot.tables.items import Item

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class AudioBlind:
    """The control without audio: logistic regression on words and letters of question
    and option.

    It is trained on labelled items and scores each option by itself, as a person would who only
    reads the paper.
    """

    def __init__(self, labelled: Sequence[Item]):
        from sklearn.linear_model import LogisticRegression

        right = np.concatenate([np.arange(len(item.options)) == item.answer for item in labelled])
        self._model = LogisticRegression(solver="liblinear", C=0.1).fit(_features(labelled), right)

    def predict(self, items: Sequence[Item]) -> dict[str, np.ndarray]:
        """Return each item's option probabilities `(C,)`, keyed by item id."""
        scores = self._model.predict_proba(_features(items))[:, 1]
        rows = np.split(scores, np.cumsum([len(item.options) for item in items])[:-1])
        return {item.id: row / row.sum() for item, row in zip(items, rows, strict=True)}


def _features(items: Sequence[Item]) -> "csr_matrix":
    """Return a sparse row per option: its length and place, and hashed words and letters of
    question and option.
    """
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import HashingVectorizer

    options = [
        (item.question, option, place)
        for item in items
        for place, option in enumerate(item.options)
    ]
    texts = [f"{question} {option}" for question, option, _ in options]
    form = csr_matrix(
        [[len(option) / 20, place == 0, place == 1] for _, option, place in options], dtype=float
    )
    vectorizers = (
        HashingVectorizer(n_features=2**14, ngram_range=(1, 2), norm=None),
        HashingVectorizer(n_features=2**14, analyzer="char_wb", ngram_range=(3, 3), norm=None),
    )
    return hstack(
        [form, *[vectorizer.transform(texts) for vectorizer in vectorizers]], format="csr"
    )
