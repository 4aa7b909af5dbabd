"""How devices record: frequency responses, drawn or measured, and what else a device does to sound.

A `Curve` is written in Hz, so that a device is the same at every sample rate. An impulse response
is a float32 array `(taps,)` whose first sample is the direct sound.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy

from earshot.features import audio

FORMATS = (".wav", ".flac", ".ogg", ".aiff", ".aif", ".mp3")
_RESOLUTION = 16  # Hz between the points at which a curve becomes a response
_ROUNDING = 1e-5  # what the convolution leaves of nothing
_ONSET, _TAIL = 0.03, 0.001  # of the peak: where a recorded response begins, and where it ends


class ResponseError(ValueError):
    """A device response that cannot be used; the message is one line, `path: reason`."""


@dataclass(frozen=True)
class Curve:
    """A magnitude response: `peaks` are (centre in Hz, height in dB, width in octaves), cuts are −3
    dB points in Hz.

    The cuts fall by `steepness` × 6 dB an octave; 0 and infinity leave them out.
    """

    peaks: tuple[tuple[float, float, float], ...] = ()
    low_cut: float = 0.0
    high_cut: float = float("inf")
    steepness: int = 2

    def decibels(self, hertz: np.ndarray) -> np.ndarray:
        """Return the gain in dB at frequencies `(N,)` in Hz."""
        hertz = np.maximum(hertz, 10.0)
        level = np.zeros(len(hertz))
        for centre, height, width in self.peaks:
            level += height * np.exp(-0.5 * (np.log2(hertz / centre) / width) ** 2)
        fall = (self.low_cut / hertz) ** (2 * self.steepness) + (hertz / self.high_cut) ** (
            2 * self.steepness
        )
        return np.maximum(level - 10 * np.log10(1 + fall), -80.0)

    def response(self, sample_rate: int) -> np.ndarray:
        """Return the minimum-phase impulse response `(sample_rate / 32,)` with these magnitudes."""
        size = scipy.fft.next_fast_len(sample_rate // _RESOLUTION * 4, real=True)
        nepers = self.decibels(scipy.fft.rfftfreq(size, 1 / sample_rate)) * (np.log(10) / 20)
        # The cepstrum folded onto its causal half is that of the minimum-phase filter.
        cepstrum = scipy.fft.irfft(nepers, size)
        cepstrum[1 : size // 2] *= 2
        cepstrum[size // 2 + 1 :] = 0
        response = scipy.fft.irfft(np.exp(scipy.fft.rfft(cepstrum)), size)[: sample_rate // 32]
        fade = len(response) // 4
        response[-fade:] *= np.linspace(1, 0, fade)
        return response.astype(np.float32)


def draw(rng: np.random.Generator, strength: float = 1.0) -> Curve:
    """Draw a device's curve: 3 to 6 peaks or dips of about 6 dB × `strength`, a low cut and a high
    cut.
    """
    number = rng.integers(3, 7)
    centres = 2 ** rng.uniform(np.log2(80), np.log2(12_000), number)
    heights, widths = rng.normal(0, 6 * strength, number), 2 ** rng.uniform(-1.3, 0.6, number)
    low, high = (
        2 ** rng.uniform(np.log2(25), np.log2(25 + 275 * strength)),
        2 ** rng.uniform(np.log2(4_500), np.log2(18_000)),
    )
    return Curve(
        tuple(zip(centres.tolist(), heights.tolist(), widths.tolist(), strict=True)),
        low,
        high,
        int(rng.integers(1, 4)),
    )


def parametric(rng: np.random.Generator, sample_rate: int, strength: float = 1.0) -> np.ndarray:
    """Return a random device's impulse response `(taps,)`; the same state of `rng` is the same
    curve at every rate.
    """
    return draw(rng, strength).response(sample_rate)


@lru_cache(maxsize=8)
def measured(folder: str | Path) -> tuple[Path, ...]:
    """Return the recorded responses in a folder, sorted; ResponseError where there are none."""
    if not Path(folder).is_dir():
        raise ResponseError(f"{folder}: no such folder")
    paths = tuple(
        sorted(
            path
            for path in Path(folder).rglob("*")
            if path.suffix.lower() in FORMATS and path.is_file()
        )
    )
    if not paths:
        raise ResponseError(f"{folder}: no device response in it ({', '.join(FORMATS)})")
    return paths


@lru_cache(maxsize=128)
def load(path: str | Path, sample_rate: int) -> np.ndarray:
    """Return a recorded response `(taps,)` of unit energy, resampled, from its onset to where it
    has died away.

    The array is shared: it cannot be written to. Raises ResponseError for a file that is unreadable
    or silent.
    """
    try:
        response = audio.decode(path, sample_rate)
    except audio.AudioError as error:
        raise ResponseError(str(error)) from None
    peak = np.abs(response).max()
    if peak < 1e-6:
        raise ResponseError(f"{path}: silent")
    level = np.abs(response) / peak
    response = response[np.argmax(level >= _ONSET) : len(level) - np.argmax(level[::-1] >= _TAIL)]
    response = response / np.linalg.norm(response)
    response.setflags(write=False)
    return response


def convolve(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Return float32 samples `(N,)` filtered by a response: as long and as loud (RMS) as
    before, within [−1, 1].

    Only samples beyond full scale are changed to fit it. Silence stays silence.
    """
    filtered = scipy.signal.oaconvolve(samples, response)[: len(samples)]
    before, after = _rms(samples), _rms(filtered)
    if after <= _ROUNDING * before * np.linalg.norm(response):  # nothing of it comes through
        return np.zeros(len(samples), dtype=np.float32)
    filtered = filtered * (before / after)
    return np.clip(filtered, -1, 1).astype(np.float32)


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def choose(
    folder: str | Path | None, seed: int, clip_id: str, view: int, sample_rate: int
) -> np.ndarray:
    """Return the response `(taps,)` that makes view `view` of a clip: recorded in
    `folder`, or parametric.

    `seed`, clip and view decide the device, whatever the rate.
    """
    rng = np.random.default_rng([seed, view, *clip_id.encode()])
    if folder is None:
        return parametric(rng, sample_rate)
    paths = measured(folder)
    return load(paths[rng.integers(len(paths))], sample_rate)


@dataclass(frozen=True)
class Device:
    """A recorder: its curve, the noise it adds (dBFS) and the level (dBFS) from which it compresses
    softly.
    """

    curve: Curve
    noise: float = -90.0
    ceiling: float = 0.0

    def hear(self, samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
        """Return float32 samples `(N,)` in [−1, 1] as this device records them."""
        recorded = convolve(samples, self.curve.response(sample_rate))
        recorded += np.float32(10 ** (self.noise / 20)) * rng.standard_normal(
            len(recorded), dtype=np.float32
        )
        ceiling = np.float32(10 ** (self.ceiling / 20))
        return ceiling * np.tanh(recorded / ceiling)
