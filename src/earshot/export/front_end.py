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
# A frame far below the loudest one counts for nothing: no mean has it, and it becomes zeros.
_SILENCE = """
    power = ReduceSum(audible, zero)
    loudest = ReduceMax(power, one)
    limit = Mul(loudest, silence)
    is_loud = Greater(power, limit)
    loud = Cast<to=1>(is_loud)
    loud_frames = ReduceSum(loud, one)
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
_CENTRE_LOUD = """
    heights = Where(is_loud, loudness, highest)
    quietest = ReduceMin(heights, one)
    raised_all = Sub(loudness, quietest)
    raised = Mul(raised_all, loud)
    sums = ReduceSum(raised, one)
    means = Div(sums, loud_frames)
    centred_all = Sub(raised, means)
    centred = Mul(centred_all, loud)
"""
_VARY = """
    distances = Mul(centred, centred)
    variances = ReduceMean(distances, one)
"""
_VARY_LOUD = """
    distances = Mul(centred, centred)
    squared = ReduceSum(distances, one)
    variances = Div(squared, loud_frames)
"""
_SCALE = """
    deviations = Sqrt(variances)
    divisors = Add(deviations, little)
    scaled = Div(centred, divisors)
"""
_OUT = "mel = Transpose({frames})"


def _norm(features: Features) -> str:
    """Return the nodes from `loudness` (n_mels, T) to `mel` (T, n_mels)."""
    if features.norm == "none":
        return _OUT.format(frames="loudness")
    hears_all = features.silence_db is None
    centre = _CENTRE if hears_all else _SILENCE + _CENTRE_LOUD
    if features.norm == "mean":
        return centre + _OUT.format(frames="centred")
    vary = _VARY if hears_all else _VARY_LOUD
    return centre + vary + _SCALE + _OUT.format(frames="scaled")


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
    if features.silence_db is not None:
        constants["silence"] = np.float32([10 ** (-features.silence_db / 10)])
        constants["highest"] = np.float32([np.finfo(np.float32).max])
    nodes = _LOG_MEL.format(hop=features.hop_length, half=size // 2) + _norm(features)
    return nodes, constants
