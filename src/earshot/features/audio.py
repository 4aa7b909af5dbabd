"""Audio files in, samples out: any format libsndfile reads, any rate, any number of channels."""

from pathlib import Path

import numpy as np
import soundfile
import soxr

_UNKNOWN_LENGTH = 2**63 - 1  # what libsndfile says of a stream whose header gives no length


class AudioError(ValueError):
    """A file that is no usable audio; the message is one line, `path: reason`."""


def header(path: str | Path) -> tuple[float, int]:
    """Return a file's length in seconds and its rate in Hz; (0.0, 0) where its header cannot be
    read.
    """
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError, TypeError):  # TypeError: headerless .raw
        return 0.0, 0
    return (
        (0.0, 0)
        if info.frames == _UNKNOWN_LENGTH
        else (info.frames / info.samplerate, info.samplerate)
    )


def decode(path: str | Path, sample_rate: int) -> np.ndarray:
    """Return a file as mono float32 samples `(N,)` in [−1, 1] at `sample_rate` Hz: channels
    averaged, rate by soxr HQ.

    Raises AudioError when the file is missing, empty, damaged, cut short, not audio, or holds
    non-finite samples.
    """
    samples, native_rate = _read(path)
    if native_rate != sample_rate:
        samples = soxr.resample(samples, native_rate, sample_rate, quality="HQ")
        np.clip(samples, -1, 1, out=samples)  # band limiting overshoots
    if len(samples) == 0:
        raise AudioError(f"{path}: no samples")
    return samples


def _read(path: str | Path) -> tuple[np.ndarray, int]:
    if not Path(path).is_file():
        raise AudioError(f"{path}: no such file")
    if Path(path).stat().st_size == 0:
        raise AudioError(f"{path}: empty file")
    try:
        with soundfile.SoundFile(path) as file:
            # numpy scales these faster than libsndfile, to the same values
            whole = file.subtype == "PCM_16"
            samples = file.read(dtype="int16" if whole else "float32")
            frames, native_rate = file.frames, file.samplerate
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise AudioError(
            f"{path}: not readable audio ({str(error).rpartition(': ')[2].rstrip('.')})"
        ) from None
    except (ValueError, MemoryError):
        raise AudioError(f"{path}: its header gives no possible length") from None
    if len(samples) < frames:
        raise AudioError(f"{path}: cut short, {len(samples)} of {frames} samples")
    if samples.ndim == 2:
        samples = samples.mean(axis=1, dtype=np.float32)
    if whole:
        return samples * np.float32(1 / 32768), native_rate
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: non-finite samples")
    return np.clip(samples, -1, 1, out=samples), native_rate


def check(samples: np.ndarray, sample_rate: int, min_seconds: float, min_rms: float) -> str | None:
    """Return why samples `(N,)` are unusable, 'too short', 'non-finite' or 'silent' (below
    `min_rms`), or None.
    """
    if len(samples) < max(1, min_seconds * sample_rate):
        return "too short"
    power = float(samples @ samples) / len(samples)
    if not np.isfinite(power):
        return "non-finite"
    return "silent" if power < min_rms**2 else None
