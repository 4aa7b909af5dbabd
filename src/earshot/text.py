"""Questions and options as hashed token ids: an open vocabulary without a download (no torch here:
devices use it).

A text becomes its words and their letter trigrams, each hashed to a bucket, as in fastText
(Bojanowski et al., 2017).
"""

import re
import zlib
from collections.abc import Sequence

import numpy as np

PADDING = 0


def encode(text: str, buckets: int, space: str) -> list[int]:
    """Return the ids (1 … buckets−1) of a text's words and trigrams; `space` keeps questions apart
    from options.

    >>> encode("a cat", 4096, "option") == encode("A  cat!", 4096, "option")
    True
    """
    tokens: list[str] = []
    for word in re.findall(r"[\w']+", text.lower()):
        tokens.append(word)
        marked = f"<{word}>"
        tokens += [marked[i : i + 3] for i in range(len(marked) - 2)]
    return [1 + zlib.crc32(f"{space}:{token}".encode()) % (buckets - 1) for token in tokens] or [
        PADDING
    ]


def pad(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Return ragged ids as an int64 array `(rows, longest)` filled up with PADDING."""
    longest = max(map(len, rows))
    return np.array([[*row, *[PADDING] * (longest - len(row))] for row in rows], np.int64)


def encode_item(
    question: str, options: Sequence[str], buckets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of a question `(Lq,)` and of its options `(C, Lo)`."""
    question_ids = np.array(encode(question, buckets, "question"), np.int64)
    return question_ids, pad([encode(option, buckets, "option") for option in options])
