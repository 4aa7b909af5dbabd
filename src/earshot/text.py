"""Questions and options as hashed token ids: an open vocabulary without a download (no torch here:
devices use it).

A text becomes its words and their letter trigrams, each hashed to a bucket, as in fastText
(Bojanowski et al., 2017).
"""

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

PADDING = 0


def encode(text: str, buckets: int, space: str) -> list[int]:
    """Return the ids (1 … buckets−1) of a text's words and trigrams.

    `space` keeps questions apart from options.

    >>> encode("a cat", 4096, "option") == encode("A  cat!", 4096, "option")
    True
    """
    return _ids(text, buckets, space).tolist()


@lru_cache(1 << 16)  # training reads the same texts every epoch
def _ids(text: str, buckets: int, space: str) -> np.ndarray:
    tokens: list[str] = []
    for word in re.findall(r"[\w']+", text.lower()):
        tokens.append(word)
        marked = f"<{word}>"
        tokens += [marked[i : i + 3] for i in range(len(marked) - 2)]
    hashes = [zlib.crc32(f"{space}:{token}".encode()) for token in tokens]
    ids = np.array([1 + one % (buckets - 1) for one in hashes] or [PADDING], np.int64)
    ids.setflags(write=False)
    return ids


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
    question: str, options: Sequence[str], buckets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of a question `(Lq,)` and of its options `(C, Lo)`."""
    padded = pad([_ids(option, buckets, "option") for option in options])
    return _ids(question, buckets, "question").copy(), padded
