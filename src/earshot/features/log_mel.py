"""The log-mel spectrogram of a clip.

The same numbers as librosa's, in about half the time: frames go through window, FFT and filters in
blocks that stay in the processor's cache, and neighbouring mel bands share a product over the few
bins they cover.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.fft

from earshot.features.filters import mel_filters, window
from earshot.params import Features

_BLOCK = 128  # frames
_BANDS = 8  # mel bands a product
_FLOOR = 1e-10


class _Filters(NamedTuple):
    bins: slice  # of the squared spectrum, real and imaginary parts side by side
    bands: slice
    weights: np.ndarray  # (bins, bands)


@lru_cache
def _tables(params: Features) -> tuple[np.ndarray, tuple[_Filters, ...]]:
    """Return the window `(n_fft,)`, padded on both sides, and the mel filters, `_BANDS` bands a
    piece.
    """
    weights = np.repeat(mel_filters(params).T, 2, axis=0)  # |z|² = re² + im²
    pieces = []
    for first in range(0, params.n_mels, _BANDS):
        bands = slice(first, min(first + _BANDS, params.n_mels))
        covered = np.flatnonzero(weights[:, bands].any(axis=1))
        bins = slice(covered[0], covered[-1] + 1) if len(covered) else slice(0, 1)
        pieces.append(_Filters(bins, bands, np.ascontiguousarray(weights[bins, bands])))
    return window(params), tuple(pieces)


def log_mel(samples: np.ndarray, params: Features) -> np.ndarray:
    """Return the log-mel spectrogram `(T, n_mels)` of samples `(N,)`, float32, T = 1 + N //
    hop_length.

    ln max(mel power, 1e-10), frames centred with zeros around the clip:
    librosa.feature.melspectrogram with Slaney's scale and norm. Then `norm`: each band less its
    mean over the clip ('mean'), and over its deviation ('meanvar'). With `silence_db` these are of
    the frames that are at most so far below the loudest one; all others become `silence`.
    """
    shape, filters = _tables(params)
    half = params.n_fft // 2
    padded = np.zeros(len(samples) + 2 * half, np.float32)
    padded[half : half + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, params.n_fft)[:: params.hop_length]
    mel = np.empty((len(frames), params.n_mels), np.float32)
    windowed = np.empty((min(_BLOCK, len(frames)), params.n_fft), np.float32)
    for start in range(0, len(frames), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(frames)))
        part = np.multiply(frames[block], shape, out=windowed[: block.stop - start])
        power = scipy.fft.rfft(part).view(np.float32)  # (frames, 2 × (1 + n_fft // 2))
        np.square(power, out=power)
        for piece in filters:
            np.matmul(power[:, piece.bins], piece.weights, out=mel[block, piece.bands])
    np.maximum(mel, _FLOOR, out=mel)
    audible = None if params.silence_db is None else above(mel, params.silence_db)
    np.log(mel, out=mel)
    return normalize(mel, params.norm, audible, params.silence)


def above(mel: np.ndarray, silence_db: float) -> np.ndarray:
    """Return which frames of mel power `(T, n_mels)` are less than `silence_db` below the loudest
    `(T,)`.
    """
    power = mel.sum(axis=1)
    return power > power.max() * np.float32(10 ** (-silence_db / 10))


def normalize(
    mel: np.ndarray, norm: str, audible: np.ndarray | None = None, silence: str = "zeros"
) -> np.ndarray:
    """Return `(T, n_mels)` less each band's mean ('mean'), and divided by its deviation + 1e-5
    ('meanvar').

    Where frames `(T,)` are `audible`, both are of these alone, and the others become zeros, or of
    each band the `quietest` of what is audible.
    """
    if norm == "none":
        return mel
    if audible is not None:
        loud = normalize(mel[audible], norm)
        frames = np.zeros_like(mel)
        frames += loud.min(axis=0) if silence == "quietest" else 0
        frames[audible] = loud
        return frames
    # a band that never leaves the floor becomes exactly zero, not rounding noise
    mel = mel - mel.min(axis=0)
    mel -= mel.mean(axis=0)
    if norm == "meanvar":
        mel /= np.sqrt(np.square(mel).mean(axis=0)) + np.float32(1e-5)
    return mel
