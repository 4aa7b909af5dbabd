"""What happens to sound on its way from a mouth to a file: rooms, noise, levels, lines and codecs.

Each function takes mono float32 samples `(N,)` in [−1, 1] and returns such samples.
"""

import io
from functools import lru_cache

import numpy as np
import scipy
import soundfile
import soxr

TELEPHONE = (300.0, 3400.0)  # Hz
FULL = 127  # codes of µ-law on either side of zero
MU = 255.0
MP3_RATES = ((24_000, 8, 160), (48_000, 32, 320))  # Hz up to which, lowest and highest kbit/s
LAME_DELAY = 1105  # samples that a decoder puts first where the file does not say how many


def silence(samples: np.ndarray, before: int, after: int) -> np.ndarray:
    """Return the samples between so many zeros."""
    return np.pad(samples, (before, after))


def level(samples: np.ndarray, gain_db: float) -> np.ndarray:
    """Return the samples louder by `gain_db`, clipped at full scale."""
    gain = np.float32(10 ** (gain_db / 20))
    return np.clip(gain * samples, -1, 1)


def speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Return the samples played `factor` times as fast, N / factor of them; the pitch moves too."""
    return soxr.resample(samples, factor, 1.0).astype(np.float32)


def noise(samples: np.ndarray, sound: np.ndarray, snr_db: float) -> np.ndarray:
    """Return samples with `sound` `(N,)` added, its power `snr_db` below that of the samples."""
    wanted = power(samples) * 10 ** (-snr_db / 10)
    gain = np.sqrt(wanted / max(power(sound), np.finfo(np.float32).tiny))
    return np.clip(samples + np.float32(gain) * sound, -1, 1)


def coloured(length: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise `(length,)` whose power falls as 1 / f^slope: 0 is white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (-slope / 2)
    spectrum[0] = 0.0
    return np.fft.irfft(spectrum, length).astype(np.float32)


def reverberation(rt60: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return a room's impulse response `(taps,)`: the direct sound, and noise behind it that falls
    by 60 dB in `rt60` seconds and carries as much energy.
    """
    taps = max(2, round(rt60 * sample_rate))
    decay = 10 ** (-3 * np.arange(1, taps) / taps)
    tail = rng.standard_normal(taps - 1) * decay
    tail /= np.linalg.norm(tail)
    return np.concatenate([[1.0], tail]).astype(np.float32)


def room(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Return the samples in a room: N + taps − 1 of them, as loud at the most as before."""
    wet = scipy.signal.oaconvolve(samples, response)
    loudest = np.abs(samples).max(initial=0.0)
    return (wet * (loudest / max(np.abs(wet).max(), 1e-9))).astype(np.float32)


def telephone(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the band of a telephone; a fourth-order Butterworth filter on either side."""
    filtered = scipy.signal.sosfilt(_band(sample_rate), samples)
    return np.clip(filtered, -1, 1).astype(np.float32)


@lru_cache
def _band(sample_rate: int) -> np.ndarray:
    low, high = TELEPHONE
    if high >= sample_rate / 2:  # the line is wider than what was recorded
        return scipy.signal.butter(4, low, "highpass", fs=sample_rate, output="sos")
    return scipy.signal.butter(4, [low, high], "bandpass", fs=sample_rate, output="sos")


def mu_law(samples: np.ndarray) -> np.ndarray:
    """Return samples as 8-bit µ-law keeps them: x → sign(x) ln(1 + 255 |x|) / ln 256, rounded."""
    codes = np.round(FULL * np.log1p(MU * np.abs(samples)) / np.log1p(MU))
    loudness = np.expm1(codes / FULL * np.log1p(MU)) / MU
    return (np.sign(samples) * loudness).astype(np.float32)


def mp3(samples: np.ndarray, sample_rate: int, kbits: int = 32) -> np.ndarray:
    """Return samples as an MP3 of so many kbit/s keeps them, as many and at the same times."""
    lowest, highest = next(rates[1:] for rates in MP3_RATES if sample_rate <= rates[0])
    coarse = min((highest - kbits) / (highest - lowest), 0.99)  # libsndfile's scale, 0 is the best
    file = io.BytesIO()
    settings = {"compression_level": coarse, "bitrate_mode": "CONSTANT"}
    soundfile.write(file, samples, sample_rate, format="MP3", **settings)
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    delay = LAME_DELAY if len(decoded) > len(samples) else 0
    return np.clip(decoded[delay : delay + len(samples)], -1, 1)


CODECS = {"mulaw": lambda samples, sample_rate: mu_law(samples), "mp3": mp3}


def power(samples: np.ndarray) -> float:
    """Return the mean square of samples `(N,)`."""
    return float(np.mean(np.square(samples, dtype=np.float64)))
