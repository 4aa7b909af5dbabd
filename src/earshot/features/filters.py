"""A frame's window and the mel filters, librosa's numbers without its import, which costs a process
one to two seconds.
"""

import numpy as np

from earshot.params import Features

_WINDOWS = {"hann": np.hanning, "hamming": np.hamming}
_LINEAR = 200 / 3  # Hz a mel, up to `_BREAK`
_BREAK = 1000.0  # Hz, where Slaney's scale (Auditory Toolbox, 1998) becomes logarithmic
_STEP = np.log(6.4) / 27  # ln Hz a mel, above


def window(params: Features) -> np.ndarray:
    """Return the window `(n_fft,)`, periodic, with zeros on both sides where it is shorter."""
    periodic = _WINDOWS[params.window](params.win_length + 1)[:-1]
    before = (params.n_fft - params.win_length) // 2
    after = params.n_fft - params.win_length - before
    return np.pad(periodic, (before, after)).astype(np.float32)


def mel_filters(params: Features) -> np.ndarray:
    """Return triangles `(n_mels, 1 + n_fft // 2)` over a spectrum's bins, evenly apart on Slaney's
    mel scale, each of area one (in Hz).
    """
    bins = np.fft.rfftfreq(params.n_fft, 1 / params.sample_rate)  # (N / 2 + 1,) Hz
    ends = _mel(np.array([params.fmin, params.fmax]))
    corners = _hertz(np.linspace(*ends, params.n_mels + 2))
    above = corners[:, None] - bins  # (n_mels + 2, N / 2 + 1)
    widths = np.diff(corners)[:, None]
    rising, falling = -above[:-2] / widths[:-1], above[2:] / widths[1:]
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    heights = 2 / (corners[2:] - corners[:-2])
    return (triangles * heights[:, None]).astype(np.float32)


def _mel(hertz: np.ndarray) -> np.ndarray:
    above = _BREAK / _LINEAR + np.log(np.maximum(hertz, _BREAK) / _BREAK) / _STEP
    return np.where(hertz < _BREAK, hertz / _LINEAR, above)


def _hertz(mel: np.ndarray) -> np.ndarray:
    linear = _BREAK / _LINEAR
    return np.where(mel < linear, mel * _LINEAR, _BREAK * np.exp(_STEP * (mel - linear)))
