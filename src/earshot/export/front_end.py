"""The front end as ONNX nodes: waveform to log-mel frames `mel` (T, n_mels)."""

import librosa
import numpy as np

from earshot.export.parts import Part, ints
from earshot.params import Features

FRONT_END = "mel"  # the node that ends the front end: it and all before it compute in float

# The kernels, cosines then sines, are picked from one turn of a circle when the file is loaded,
# which keeps them out of it. Their convolution takes a twentieth of the time of the operator STFT;
# the filters twice over add re² and im².
_LOG_MEL = """
    products = Mul(bins, taps)
    places = Mod(products, turn)
    waves = Gather<axis=1>(circle, places)
    windowed = Mul(waves, window)
    kernels = Reshape(windowed, kernel_shape)
    clip = Reshape(waveform, clip_shape)
    spectrum = Conv<strides=[{hop}], pads=[{half}, {half}]>(clip, kernels)
    squares = Mul(spectrum, spectrum)
    twice = Concat<axis=1>(filters, filters)
    batch = MatMul(twice, squares)
    bands = Squeeze(batch, zero)
    audible = Max(bands, floor)
    loudness = Log(audible)
"""
# Less its minimum first: a band that stays at the floor, as in telephone recordings, is then
# exactly zero. Otherwise nothing but rounding would be left of it, and dividing by its deviation
# would blow that up.
_CENTRE = """
    quietest = ReduceMin(loudness, one)
    raised = Sub(loudness, quietest)
    means = ReduceMean(raised, one)
    centred = Sub(raised, means)
"""
_SCALE = """
    distances = Mul(centred, centred)
    variances = ReduceMean(distances, one)
    deviations = Sqrt(variances)
    divisors = Add(deviations, little)
    scaled = Div(centred, divisors)
"""
_NORM = {
    "none": "mel = Transpose(loudness)",
    "mean": _CENTRE + "mel = Transpose(centred)",
    "meanvar": _CENTRE + _SCALE + "mel = Transpose(scaled)",
}


def front_end(features: Features) -> Part:
    """The same numbers as `features.log_mel`: DFT by convolution, librosa's window and filters."""
    size, bins = features.n_fft, features.n_fft // 2 + 1
    window = librosa.filters.get_window(features.window, features.win_length, fftbins=True)
    angles = 2 * np.pi * np.arange(size) / size
    filters = librosa.filters.mel(
        sr=features.sample_rate,
        n_fft=size,
        n_mels=features.n_mels,
        fmin=features.fmin,
        fmax=features.fmax,
    )
    constants = {
        "bins": np.arange(bins, dtype=np.int64)[:, None],
        "taps": np.arange(size, dtype=np.int64),
        "turn": ints(size),
        "circle": np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32),
        "window": librosa.util.pad_center(window, size=size).astype(np.float32),
        "kernel_shape": ints(2 * bins, 1, size),
        "clip_shape": ints(1, 1, -1),
        "filters": filters,
        "floor": np.float32([1e-10]),
    }
    if features.norm == "meanvar":
        constants["little"] = np.float32([1e-5])
    return _LOG_MEL.format(hop=features.hop_length, half=size // 2) + _NORM[
        features.norm
    ], constants
