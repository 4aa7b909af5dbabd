"""Takes the place of soxr where that is not installed: a windowed sinc in NumPy.

Kaiser's window at −120 dB, of 90 zero crossings on either side; 91% of the band stay, as in soxr's
HQ.
"""

import importlib.util
import math
import sys

import numpy as np

ZEROS, PASS, BETA = 90, 0.957, 12.3
BLOCK = 1 << 14  # samples that are computed at once


class ResampleStream:
    """Mono samples from one rate to another; all come out behind the last block."""

    def __init__(self, source, target, channels, dtype, quality):
        divisor = math.gcd(source, target)
        self.up, self.down = target // divisor, source // divisor
        self.blocks = []

    def resample_chunk(self, samples, last=False):
        self.blocks.append(np.asarray(samples, np.float32))
        if not last:
            return np.empty(0, np.float32)
        shrink = min(1, self.up / self.down)
        reach = math.ceil(ZEROS / shrink)
        samples = np.concatenate(self.blocks)
        count = round(len(samples) * self.up / self.down)
        padded = np.pad(samples, (reach, reach + 1))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)  # (N, taps)
        offsets = np.arange(-reach, reach + 1) - np.arange(self.up)[:, None] / self.up
        span = np.clip(1 - (offsets * shrink / ZEROS) ** 2, 0, 1)
        kernels = PASS * shrink * np.sinc(PASS * shrink * offsets)  # (phases, taps)
        kernels = (kernels * np.i0(BETA * np.sqrt(span)) / np.i0(BETA)).astype(np.float32)
        out = np.empty(count, np.float32)
        for first in range(0, count, BLOCK):
            places = np.arange(first, min(first + BLOCK, count)) * self.down
            rows = windows[np.minimum(places // self.up, len(windows) - 1)]
            out[first : first + BLOCK] = np.einsum("nt,nt->n", rows, kernels[places % self.up])
        return out


if importlib.util.find_spec("soxr") is None:
    sys.modules["soxr"] = sys.modules[__name__]
