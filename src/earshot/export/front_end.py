"""The front end as ONNX nodes: waveform to log-mel frames `mel` (T, n_mels)."""

import math

import numpy as np

from earshot.export.parts import Part, ints
from earshot.features.filters import mel_filters, window
from earshot.params import Features

FRONT_END = "mel"  # the node that ends the front end: it and all before it compute in float

_MOST_PHASES = 16  # more save nothing

# Frames are centred: zeros before the clip, and behind it to the end of the last frame.
_PHASES = """
    samples = Shape(waveform)
    fitting = Sub(samples, odd)
    over = Mod(fitting, hop)
    behind = Sub(half_frame, over)
    edges = Concat<axis=0>(half_frame, behind)
    whole_frames = Pad(waveform, edges)
    rounds = Reshape(whole_frames, rounds_shape)
    by_phase = Transpose(rounds)
    clip = Reshape(by_phase, clip_shape)
"""
# One step of a fast Fourier transform (Cooley and Tukey 1965). Every P-th sample of a frame of N is
# a phase, F_p the transform of phase p alone, of M = N/P samples. Then, with W = exp(−2πi/N),
#
#     X[k + rM] = Σ_p W^(p(k + rM)) F_p[k],    0 ≤ r < P,
#
# and k need not be above M/2: bins beyond N/2 mirror the others. F_p is a convolution, with a group
# a phase; the sums over phases are products of matrices, one for real and one for imaginary parts.
# Together they take a third to a seventh of the time of the whole transform as one convolution,
# which takes a twentieth of the operator STFT's. Kernels and W are picked from one turn of a circle
# when the file is loaded, which keeps them out of it; filters, mostly zeros, are put together then.
_TRANSFORM = """
    kernel_products = Mul(bins, kernel_places)
    kernel_angles = Mod(kernel_products, turn)
    waves = Gather<axis=1>(circle, kernel_angles)
    windowed = Mul(waves, window)
    kernels = Reshape(windowed, kernel_shape)
    transformed = Conv<group={phases}, strides=[{stride}]>(clip, kernels)
    phase_parts = Reshape(transformed, phase_parts_shape)
    by_bin = Transpose<perm=[2, 1, 0, 3]>(phase_parts)
    phase_bins = Reshape(by_bin, phase_bins_shape)
"""
_SUM = """
    shift_products = Mul(shifted_bins, phase_numbers)
    shift_angles = Mod(shift_products, turn)
    shifts = Gather<axis=1>(circle, shift_angles)
    cosine, sine = Split<axis=0, num_outputs=2>(shifts)
    negative = Neg(sine)
    real_of_both = Concat<axis=3>(cosine, negative)
    imaginary_of_both = Concat<axis=3>(sine, cosine)
    to_real = Squeeze(real_of_both, zero)
    to_imaginary = Squeeze(imaginary_of_both, zero)
    real_part = MatMul(to_real, phase_bins)
    imaginary_part = MatMul(to_imaginary, phase_bins)
"""
_LOG_MEL = """
    real_squares = Mul(real_part, real_part)
    imaginary_squares = Mul(imaginary_part, imaginary_part)
    energies = Add(real_squares, imaginary_squares)
    energies_of_bins = Reshape(energies, all_bins_shape)
    no_filters = ConstantOfShape(filter_sizes)
    every_filter = ScatterElements(no_filters, filter_places, filter_weights)
    filters = Reshape(every_filter, filters_shape)
    bands = MatMul(filters, energies_of_bins)
    audible = Max(bands, floor)
    loudness = Log(audible)
"""
# A frame far below the loudest one counts for nothing: no mean has it, and it becomes zeros, or of
# each band the quietest of the others.
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
    centred_loud = Mul(centred_all, loud)
    centred = Identity({centred})
"""
_VARY = """
    distances = Mul(centred, centred)
    variances = ReduceMean(distances, one)
"""
_VARY_LOUD = """
    distances = Mul(centred_loud, centred_loud)
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
    counts_silence = features.silence_db is None
    silent = "centred_loud" if features.skips_silence else "centred_all"
    centre = _CENTRE if counts_silence else _SILENCE + _CENTRE_LOUD.format(centred=silent)
    if features.norm == "mean":
        return centre + _OUT.format(frames="centred")
    vary = _VARY if counts_silence else _VARY_LOUD
    return centre + vary + _SCALE + _OUT.format(frames="scaled")


def front_end(features: Features) -> Part:
    """The same numbers as `features.log_mel`, with its window and filters."""
    size, hop = features.n_fft, features.hop_length
    phases = math.gcd(size, hop, _MOST_PHASES)
    part = size // phases  # M
    bins = np.arange(part // 2 + 1)
    shifted = bins[:, None] + part * np.arange(phases)  # (K, P)
    by_phase = window(features).reshape(part, phases).T  # (P, M)
    angles = -2 * np.pi * np.arange(size) / size
    filters = _filters(features, shifted)
    constants = {
        "odd": ints(size % 2),
        "hop": ints(hop),
        "half_frame": ints(size // 2),
        "rounds_shape": ints(-1, phases),
        "clip_shape": ints(1, phases, -1),
        "bins": bins[:, None],
        "kernel_places": phases * np.arange(part),
        "turn": ints(size),
        "circle": np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32),
        "window": by_phase[:, None, None],
        "kernel_shape": ints(2 * phases * len(bins), 1, part),
        "phase_parts_shape": ints(phases, 2, len(bins), -1),
        "phase_bins_shape": ints(len(bins), 2 * phases, -1),
        "shifted_bins": shifted[..., None],
        "phase_numbers": np.arange(phases),
        "all_bins_shape": ints(shifted.size, -1),
        "filter_sizes": ints(filters.size),
        "filter_places": np.flatnonzero(filters),
        "filter_weights": filters[filters != 0],
        "filters_shape": ints(*filters.shape),
        "floor": np.float32([1e-10]),
    }
    if features.norm == "meanvar":
        constants["little"] = np.float32([1e-5])
    if features.silence_db is not None:
        constants["silence"] = np.float32([10 ** (-features.silence_db / 10)])
        constants["highest"] = np.float32([np.finfo(np.float32).max])
    transform = _TRANSFORM.format(phases=phases, stride=hop // phases)
    nodes = _PHASES + transform + _SUM + _LOG_MEL + _norm(features)
    return nodes, constants


def _filters(features: Features, bins: np.ndarray) -> np.ndarray:
    """Return mel filters `(n_mels, K·P)` for energies in the order of `bins` `(K, P)`; of those
    that are one bin of a spectrum, as its mirror image is, the first is taken.
    """
    filters = mel_filters(features)  # (n_mels, N / 2 + 1)
    _, places = np.unique(np.minimum(bins, features.n_fft - bins), return_index=True)
    spread = np.zeros((len(filters), bins.size), filters.dtype)
    spread[:, places] = filters
    return spread
