"""What sounds are made of: places, noise, tones, wandering curves, and events scattered over a
recording.

Samples are float32 `(N,)`; levels are about RMS 1 unless said otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import fft

TABLE = 2048
Envelope = Callable[[np.ndarray], np.ndarray]


class Traits:
    """Random numbers that lean towards what is typical of a kind: `own` of the way (0 to 1) they
    are this place's.
    """

    def __init__(self, typical: np.random.Generator, rng: np.random.Generator, own: float) -> None:
        self._typical, self._rng, self._own = typical, rng, own

    def random(self) -> float:
        """Return a number in [0, 1)."""
        return (1 - self._own) * self._typical.random() + self._own * self._rng.random()

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self.random()

    def integers(self, low: int, high: int) -> int:
        """Return a whole number from `low` to below `high`."""
        return int(self.uniform(low, high))


@dataclass(frozen=True)
class Place:
    """Where one listens: the recording's samples and rate, the kind of place, and the seed of what
    is its own.
    """

    samples: int
    sample_rate: int
    kind: str
    seed: tuple[int, ...]
    own: float = 0.5

    def traits(self, source: str) -> Traits:
        """Return the traits of a source: the same for every recording of the place, and similar in
        its kind.
        """
        typical = np.random.default_rng([*self.kind.encode(), *source.encode()])
        return Traits(typical, np.random.default_rng([*self.seed, *source.encode()]), self.own)

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate


def unit(samples: np.ndarray) -> np.ndarray:
    """Return samples at RMS 1."""
    return samples / np.float32(np.sqrt(np.mean(np.square(samples))) + 1e-9)


def band(low: float, high: float, tilt: float = 0.0, order: int = 2) -> Envelope:
    """Return a magnitude of frequency (Hz): flat or tilted (dB per octave) between two cuts."""

    def magnitude(hertz: np.ndarray) -> np.ndarray:
        hertz = np.maximum(hertz, 1).astype(np.float32)
        slope = (hertz / np.float32(np.sqrt(low * high))) ** np.float32(tilt / 6.02)
        below, above = (
            (np.float32(low) / hertz) ** (2 * order),
            (hertz / np.float32(high)) ** (2 * order),
        )
        return slope / np.sqrt((1 + below) * (1 + above))

    return magnitude


def split(samples: np.ndarray, sample_rate: int, *magnitudes: Envelope) -> list[np.ndarray]:
    """Filter samples `(N,)` by each of some magnitudes, without delay and around the ends."""
    spectrum, hertz = fft.rfft(samples), fft.rfftfreq(len(samples), 1 / sample_rate)
    return [fft.irfft(spectrum * magnitude(hertz), len(samples)) for magnitude in magnitudes]


def noise(
    rng: np.random.Generator, samples: int, sample_rate: int, magnitude: Envelope
) -> np.ndarray:
    """Return noise of a spectrum, at RMS 1."""
    spectrum = rng.standard_normal(2 * (samples // 2 + 1), dtype=np.float32).view(np.complex64)
    return unit(fft.irfft(spectrum * magnitude(fft.rfftfreq(samples, 1 / sample_rate)), samples))


def slow(rng: np.random.Generator, place: Place, rate: float, depth: float) -> np.ndarray:
    """Return a positive curve `(N,)` that wanders about 1, `rate` times a second, by a factor of
    about e^depth.
    """
    knots = int(place.seconds * rate) + 3
    values = depth * rng.standard_normal(knots)
    step = place.sample_rate // 250  # straight lines between 250 points a second sound like a curve
    at = np.arange(0, place.samples + step + 1, step) * (rate / place.sample_rate)
    points = np.exp(np.interp(at, np.arange(knots) - rng.random(), values)).astype(np.float32)
    ramp = np.arange(step, dtype=np.float32) / np.float32(step)
    return (points[:-1, None] + np.diff(points)[:, None] * ramp).ravel()[: place.samples]


def tone(
    rng: np.random.Generator,
    pitch: np.ndarray | float,
    sample_rate: int,
    harmonics: np.ndarray,
    samples: int = 0,
) -> np.ndarray:
    """Return a harmonic sound: fundamental `pitch` (Hz, `(N,)` or constant), amplitudes of its
    harmonics `(K,)`.
    """
    pitch = np.full(samples, pitch) if np.isscalar(pitch) else pitch
    spectrum = np.zeros(TABLE // 2 + 1, dtype=complex)
    audible = harmonics[: max(1, int(0.45 * sample_rate / float(pitch.max())))]
    spectrum[1 : len(audible) + 1] = audible * np.exp(2j * np.pi * rng.random(len(audible)))
    table = unit(fft.irfft(spectrum, TABLE).astype(np.float32))
    phase = np.cumsum(pitch, dtype=np.float64) * (TABLE / sample_rate) + TABLE * rng.random()
    return table[phase.astype(np.int64) % TABLE]


def decay(sample_rate: int, seconds: float, attack: float = 0.002) -> np.ndarray:
    """Return the envelope of a struck thing: a short attack, then 60 dB down after `seconds`."""
    time = np.arange(int(sample_rate * seconds), dtype=np.float32) / sample_rate
    return np.minimum(time / attack, 1) * np.exp(-6.9 * time / seconds)


def scatter(
    place: Place, starts: np.ndarray, events: list[np.ndarray], levels: np.ndarray
) -> np.ndarray:
    """Return events (taken in turn) at `starts` (seconds, maybe before 0), cut to the recording."""
    out = np.zeros(place.samples, dtype=np.float32)
    for number, (start, level) in enumerate(zip(starts, levels, strict=True)):
        event, at = events[number % len(events)], int(start * place.sample_rate)
        event = event[max(0, -at) :][: max(0, place.samples - max(at, 0))]
        out[max(at, 0) : max(at, 0) + len(event)] += np.float32(level) * event
    return out


def happenings(
    rng: np.random.Generator, place: Place, per_second: float, before: float = 0.0
) -> np.ndarray:
    """Return the times (seconds) of random events, from `before` seconds ahead of the recording."""
    number = rng.poisson(per_second * (place.seconds + before))
    return np.sort(rng.uniform(-before, place.seconds, number))
