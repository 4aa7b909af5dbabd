"""Texts: one form for the same characters, and questions and options as hashed token ids.

An open vocabulary without a download (no torch here: devices use it). A text becomes its words and
their letter trigrams, each hashed to a bucket, as in fastText (Bojanowski et al., 2017). A change
of what is a word is a new version: a trained student reads as it was taught.
"""

import math
import re
import unicodedata
import zlib
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import chain
from typing import Any

import numpy as np

PADDING = 0
VERSIONS = (1, 2)
VERSION = VERSIONS[-1]
_UNHASHED = 2**31  # so many buckets that no two tokens share one

# The same characters in another dress: full and half width, ligatures, Arabic presentation forms,
# CJK radicals and squares. Compatibility forms that mean something else, as in x², stay.
_DRESSED = chain(
    (0x2103, 0x2109, 0x3000),
    range(0x2E80, 0x2FE0),
    range(0x3300, 0x3400),
    range(0xFB00, 0xFB18),
    range(0xFB50, 0xFE00),
    range(0xFE50, 0xFE6C),
    range(0xFE70, 0xFF00),
    range(0xFF01, 0xFFEF),
)
_APOSTROPHES = "’‘‛ʼʻ′`´׳ꞌ"
_HYPHENS = "‐‑‒–−"
_INVISIBLE = chain(
    (0xAD, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF),
    range(0x202A, 0x202F),
    range(0x2066, 0x206A),
    range(0xFE00, 0xFE10),
)
_ONE_FORM = {
    **{code: unicodedata.normalize("NFKC", chr(code)) for code in _DRESSED},
    **dict.fromkeys(map(ord, _APOSTROPHES), "'"),
    **dict.fromkeys(map(ord, _HYPHENS), "-"),
    **dict.fromkeys(_INVISIBLE),
    0x200B: " ",  # where Thai and Khmer may break a line, a word ends
}

# Version 2 looks for words among the kinds of characters, one letter each: d digit, w letter or
# mark, s sign, ' inside of words, . and - and , inside of numbers.
_JOINING = "'·‧״"
_SIGNS = "%‰#&@*^"
_NUMBER_PARTS = ",:/٫٬"
_TOKEN = re.compile(
    r"""
    (?: (?<![dws'-]) - (?=s?\.?d) )?    # the sign of a number, not a hyphen
    (?: (?<![dws'.]) \. (?=d) )?        # .5
    [dws]
    (?: [dws]
      | (?<=[dw]) ' (?=[dw])            # don't
      | (?<=[ds]) [.-] (?=d)            # 3.5, 10-12, $.50
      | (?<=d) , (?=d)                  # 10:30, 1/2, 3,5
    )*
    (?: (?<=[dw]) - (?![dws'-]) )?      # A-, as in marks and blood groups
    """,
    re.VERBOSE,
)


def canonical(text: str) -> str:
    """Return a text with one form for the same characters: NFC, one apostrophe, one hyphen, no
    full-width or presentation forms, nothing invisible.

    >>> canonical("Ｉ’m at the cafe\u0301")
    "I'm at the café"
    """
    return unicodedata.normalize("NFC", text.translate(_ONE_FORM))


def folded(text: str) -> str:
    """Return what texts are compared by: their canonical form, without case, single spaces.

    >>> folded(" Die STRASSE ") == folded("die Straße")
    True
    """
    return " ".join(canonical(canonical(text).casefold()).split())


def words(text: str, version: int = VERSION) -> list[str]:
    """Return the words of a text, in lower case, as a version of the encoder reads them.

    Version 1 keeps letters, digits and straight apostrophes. Version 2 reads the canonical form and
    keeps marks, signs and numbers too.

    >>> words("It’s −3.5°C, isn't it?")
    ["it's", '-3.5°c', "isn't", 'it']
    """
    return list(_words(text, version))


@lru_cache(1 << 16)  # options stand in many items
def _words(text: str, version: int) -> tuple[str, ...]:
    if version == 1:
        return tuple(re.findall(r"[\w']+", text.lower()))
    lower = canonical(canonical(text).lower().replace("i\u0307", "i"))  # the Turkish İ
    kinds = "".join(map(_kind, lower))
    return tuple(lower[found.start() : found.end()] for found in _TOKEN.finditer(kinds))


@cache
def _kind(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return "d"
    if character.isalnum() or character == "_" or category.startswith("M"):
        return "w"
    if category in ("Sm", "Sc", "So") or character in _SIGNS:
        return "s"
    if character in _JOINING:
        return "'"
    if character in _NUMBER_PARTS:
        return ","
    return character if character in ".-" else " "


def encode(text: str, buckets: int, space: str, version: int = VERSION) -> list[int]:
    """Return the ids (1 … buckets−1) of a text's words and trigrams.

    `space` keeps questions apart from options.

    >>> encode("a cat", 4096, "option") == encode("A  cat!", 4096, "option")
    True
    """
    return _ids(text, buckets, space, version).tolist()


@lru_cache(1 << 16)  # training reads the same texts every epoch
def _ids(text: str, buckets: int, space: str, version: int) -> np.ndarray:
    tokens: list[str] = []
    for word in words(text, version):
        tokens.append(word)
        marked = f"<{word}>"
        tokens += [marked[i : i + 3] for i in range(len(marked) - 2)]
    hashes = [zlib.crc32(f"{space}:{token}".encode()) for token in tokens]
    ids = np.array([1 + one % (buckets - 1) for one in hashes] or [PADDING], np.int64)
    ids.setflags(write=False)
    return ids


def same(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the places of texts that have the same words in the same order, group by group.

    Of a text without words its folded form counts.

    >>> same(["A cat!", "the cat", "a  cat"])
    [(0, 2)]
    """
    return groups([words(text) or folded(text) for text in texts])


def alike(
    texts: Sequence[str], buckets: int = _UNHASHED, version: int = VERSION
) -> list[tuple[int, ...]]:
    """Return the places of texts that read alike, group by group.

    A model reads the mean of a text's ids: order and repetition are lost on it. Without `buckets`
    it is asked of any model of the version.

    >>> alike(["from here to there", "nowhere", "from there to here"])
    [(0, 2)]
    """
    return groups([reading(text, buckets, version) for text in texts])


def groups(keys: Sequence[Any]) -> list[tuple[int, ...]]:
    """Return the places of equal keys, group by group; a key that stands once is in none."""
    places: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(repr(key), []).append(place)
    return [tuple(group) for group in places.values() if len(group) > 1]


@lru_cache(1 << 16)
def reading(
    text: str, buckets: int = _UNHASHED, version: int = VERSION
) -> tuple[tuple[int, int], ...]:
    """Return a text's ids with their shares in the mean, as the smallest whole numbers: all that a
    model knows of it.
    """
    ids, counts = np.unique(_ids(text, buckets, "option", version), return_counts=True)
    counts = counts // math.gcd(*counts.tolist())
    return tuple(zip(ids.tolist(), counts.tolist(), strict=True))


def pad(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Return ragged ids as an int64 array `(rows, longest)` filled up with PADDING."""
    padded = np.full((len(rows), max(map(len, rows))), PADDING, np.int64)
    for row, ids in enumerate(rows):
        padded[row, : len(ids)] = ids
    return padded


def pad_options(of_items: Sequence[np.ndarray]) -> np.ndarray:
    """Return the ids of items' options, `(C_n, Lo_n)` each, as int64 `(N, C, Lo)`.

    Of an item with fewer options the last rows are PADDING: options that it does not have.
    """
    count = max(len(options) for options in of_items)
    longest = max(options.shape[1] for options in of_items)
    padded = np.full((len(of_items), count, longest), PADDING, np.int64)
    for row, options in enumerate(of_items):
        padded[row, : options.shape[0], : options.shape[1]] = options
    return padded


def encode_item(
    question: str, options: Sequence[str], buckets: int, version: int = VERSION
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of a question `(Lq,)` and of its options `(C, Lo)`."""
    padded = pad([_ids(option, buckets, "option", version) for option in options])
    return _ids(question, buckets, "question", version).copy(), padded
