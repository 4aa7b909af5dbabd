"""Which frames HuBERT does not hear: spans, placed at random."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def expected_share(chance: float, frames: int, span: int) -> float:
    """Return the expected share of masked frames when each possible start of a span begins one with
    `chance`.

    Starts are 0…frames − span, so that spans are whole; a clip without any gets one.
    """
    starts = frames - span + 1
    place = np.arange(frames)
    # starts whose span holds the frame
    covering = np.minimum(place, starts - 1) - np.maximum(place - span + 1, 0) + 1
    missed = 1 - chance
    return float(1 - (missed**covering).mean() + missed**starts * span / frames)


@lru_cache
def start_chance(share: float, frames: int, span: int) -> float:
    """Return the chance of a start with which `share` of the frames are masked on average.

    0 when a single span is more than that already.
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if expected_share(middle, frames, span) < share else (low, middle)
        )
    return low


def spans(
    clips: int, frames: int, share: float, span: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return masks `(clips, frames)`: spans of `span` frames that may overlap, at least one a clip,
    `share` on average.

    A clip shorter than a span is masked whole.
    """
    span = min(span, frames)
    starts = rng.random((clips, frames - span + 1)) < start_chance(share, frames, span)
    lone = rng.integers(starts.shape[1], size=clips)
    starts[np.arange(clips), lone] |= ~starts.any(1)
    masked = np.zeros((clips, frames), bool)
    for offset in range(span):
        masked[:, offset : offset + starts.shape[1]] |= starts
    return masked
