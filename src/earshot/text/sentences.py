"""Sentences as they are compared: the same letters, in whatever script and form they are written.

Used to keep what the test says out of training, so what differs in nothing but case, punctuation,
spaces or the form of an accent is the same sentence.
"""

import re
import unicodedata
from collections.abc import Container

from earshot.text.encoding import folded

# How many words a letter stands for where no spaces are written between words, by script.
_UNSPACED = {
    1 / 2: re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"),  # Han
    1 / 4: re.compile(r"[\u3041-\u30ff\u31f0-\u31ff]"),  # kana
    1 / 5: re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"),  # Thai, Lao, Burmese, Khmer
}
_MANY = 3  # words: fewer may be said by anybody


def words(text: str) -> list[str]:
    """Return a text's runs of letters, marks and digits, folded; what joins letters unseen is left
    out.
    """
    kept = [one for one in folded(text) if unicodedata.category(one) != "Cf"]
    spaced = [one if unicodedata.category(one)[0] in "LMN" else " " for one in kept]
    return "".join(spaced).split()


def compared(text: str, ignored: Container[str] = ()) -> str | None:
    """Return what two texts with the same sentence have in common; None where it is too short to
    tell, which anybody may say: fewer than three different words beside the `ignored` ones.

    >>> compared("The boat is old.") == compared("the boat,is OLD")
    True
    >>> compared("今天天气很好") == compared("今天 天气很好。")
    True
    """
    found = words(text)
    distinct = dict.fromkeys(found)
    if sum(_size(word) for word in distinct if word not in ignored) < _MANY:
        return None
    return "".join(found)


def _size(run: str) -> float:
    """Return how many words a run of letters is; several where none are set apart by spaces."""
    size = 0.0
    for share, script in _UNSPACED.items():
        run, letters = script.subn("", run)
        size += share * letters
    return size + bool(re.search(r"[^\W\d_]", run))
