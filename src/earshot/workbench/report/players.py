"""Clips and their pictures as data URIs: a page that holds them needs no other file."""

import base64
import io

import matplotlib
import numpy as np
import soundfile
from matplotlib.image import imsave

from earshot.features.log_mel import log_mel
from earshot.params import Features

_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz, what MP3 knows
_SMALL = 0.6  # between libsndfile's best (0) and smallest (1)


def mp3(samples: np.ndarray, sample_rate: int) -> str:
    """Return mono samples `(N,)` as an MP3 data URI; ValueError for a rate MP3 does not know."""
    if sample_rate not in _RATES:
        raise ValueError(f"sample_rate={sample_rate}: MP3 knows {', '.join(map(str, _RATES))} Hz")
    content = io.BytesIO()
    soundfile.write(
        content,
        samples,
        sample_rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=_SMALL,
    )
    return _uri("audio/mpeg", content.getvalue())


def spectrogram(samples: np.ndarray, params: Features) -> str:
    """Return the log-mel of samples `(N,)`, as the student takes it in, as a PNG data URI: time
    across, low bands below.
    """
    frames = log_mel(samples, params)
    low, high = np.percentile(frames, (5, 99.8))
    shares = np.clip((frames - low) / max(float(high - low), 1e-6), 0, 1)
    content = io.BytesIO()
    colours = (
        (matplotlib.colormaps["magma"](shares.T[::-1]) * 255).round().astype(np.uint8)[..., :3]
    )
    imsave(content, np.ascontiguousarray(colours), format="png", metadata={"Software": None})
    return _uri("image/png", content.getvalue())


def lines(weights: np.ndarray) -> list[str]:
    """Return weights of frames `(C, T)` as the points of C lines in a box of 100 by 24: time
    across, the largest weight of all at the top.
    """
    across = (np.arange(weights.shape[1]) + 0.5) * 100 / weights.shape[1]
    heights = 24 - 23 * weights / weights.max()  # (C, T)
    return [
        " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, line, strict=True)) for line in heights
    ]


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
