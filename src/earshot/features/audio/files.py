"""Audio files in, samples out: any format libsndfile reads, any rate, any number of channels."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import soxr

from earshot.features.audio import containers
from earshot.features.audio.part import TRIMMED, ContainerError, Part, Section

_BLOCK = 1 << 22  # samples read at once, of all channels together
_UNKNOWN_LENGTH = 2**63 - 1  # what libsndfile says of a stream whose header gives no length
_FLOATS = ("FLOAT", "DOUBLE")
_RATES = (1000, 1_000_000)  # Hz, the lowest and highest that a recording may have
_CHANNELS = 64  # more are a damaged header; ffmpeg takes no more either
_LOUDEST = 2.0  # of float samples: mixing goes beyond 1, other scales far beyond
_EDGE = 0.05  # seconds at either end in which filters and codecs ring
_STEP = 0.01  # seconds whose loudness is one
_MARGIN = 0.1  # seconds left around the sound when silence is cut off
_QUIET = 0.1  # seconds that must be quiet for a cut


class AudioError(ValueError):
    """A file that is no usable audio; the message is one line, `path: reason`."""


def header(path: str | Path) -> tuple[float, int]:
    """Return a file's length in seconds and its rate in Hz; (0.0, 0) where it cannot be read.

    The length is counted where a header's number is none to rely on; nothing is decoded.
    """
    try:
        seconds, rate = 0.0, 0
        for part in containers.parts(path, check=False):
            with _opened(path, part) as file:
                frames = _frames(path, file, part)
                if frames == _UNKNOWN_LENGTH:
                    return 0.0, 0
                seconds, rate = seconds + frames / file.samplerate, file.samplerate
        return seconds, rate
    except (soundfile.SoundFileError, OSError, TypeError, ValueError):  # TypeError: .raw
        return 0.0, 0


def decode(path: str | Path, sample_rate: int) -> np.ndarray:
    """Return a file as mono float32 samples `(N,)` in [−1, 1] at `sample_rate` Hz: channels
    averaged, rate by soxr HQ.

    Float samples beyond 1 are scaled down to it, those beyond 2 are refused, never clipped. Raises
    AudioError when the file is missing, empty, damaged, cut short, not audio, or holds non-finite
    samples.
    """
    blocks = list(stream(path, sample_rate))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def stream(path: str | Path, sample_rate: int) -> Iterator[np.ndarray]:
    """Yield what `decode` returns block by block, so that memory does not grow with the file."""
    if not Path(path).is_file():
        raise AudioError(f"{path}: no such file")
    if Path(path).stat().st_size == 0:
        raise AudioError(f"{path}: empty file")
    empty = True
    try:
        for part in containers.parts(path):
            for block in _resampled(path, part, sample_rate):
                empty = empty and len(block) == 0
                if len(block):
                    yield block
    except ContainerError as error:
        raise AudioError(f"{path}: {error}") from None
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise AudioError(f"{path}: not readable audio ({_reason(error)})") from None
    if empty:
        raise AudioError(f"{path}: no samples")


def _reason(error: Exception) -> str:
    """Return libsndfile's reason without what comes before it."""
    return str(error).rpartition(": ")[2].rstrip(".")


@contextmanager
def _opened(path: str | Path, part: Part) -> Iterator[soundfile.SoundFile]:
    if part[:3] == (0, Path(path).stat().st_size, b""):
        with soundfile.SoundFile(path) as sound:
            yield sound
        return
    with open(path, "rb") as file, soundfile.SoundFile(Section(file, part)) as sound:
        yield sound


def _resampled(path: str | Path, part: Part, rate: int) -> Iterator[np.ndarray]:
    with _opened(path, part) as file:
        peak = _peak(path, file, part) if file.subtype in _FLOATS else 1
        native = _native(path, file, part)
        if file.samplerate == rate:
            for samples in native:
                yield samples / peak if peak > 1 else samples
            return
        resampler = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32", quality="HQ")
        for samples in native:
            samples = resampler.resample_chunk(samples / peak if peak > 1 else samples)
            yield np.clip(samples, -1, 1, out=samples)  # band limiting overshoots
        samples = resampler.resample_chunk(np.empty(0, np.float32), last=True)
        yield np.clip(samples, -1, 1, out=samples)


def _frames(path: str | Path, file: soundfile.SoundFile, part: Part) -> int:
    """Return how many samples to read: as the decoder has it, unless that is an estimate."""
    if file.subtype.startswith("MPEG") and part.frames is None:
        raise AudioError(f"{path}: damaged, it does not begin with an MPEG frame")
    counted = part.frames or file.frames
    known = counted - TRIMMED <= file.frames <= counted
    return file.frames if known else counted


def _native(path: str | Path, file: soundfile.SoundFile, part: Part) -> Iterator[np.ndarray]:
    """Yield the channels' mean `(n,)`, float32, at the file's own rate, block by block."""
    # numpy scales these faster than libsndfile, to the same values
    whole = file.subtype == "PCM_16"
    lowest, highest = _RATES
    if not lowest <= file.samplerate <= highest:
        raise AudioError(f"{path}: its sampling rate, {file.samplerate} Hz, is not one of sound")
    if file.channels > _CHANNELS:
        raise AudioError(f"{path}: {file.channels} channels, and at most {_CHANNELS} are taken")
    frames = left = _frames(path, file, part)
    if left == _UNKNOWN_LENGTH:
        raise AudioError(f"{path}: its header gives no possible length")
    while left:
        wanted = min(left, max(1, _BLOCK // file.channels))
        try:
            samples = file.read(wanted, dtype="int16" if whole else "float32")
        except soundfile.SoundFileError as error:
            reason = f"damaged or cut short ({_reason(error)})"
            raise AudioError(f"{path}: not readable audio, {reason}") from None
        left -= len(samples)
        if len(samples) < wanted:
            raise AudioError(f"{path}: cut short, {frames - left} of {frames} samples")
        if samples.ndim == 2:
            with np.errstate(invalid="ignore", over="ignore"):  # refused below
                samples = samples.mean(axis=1, dtype=np.float32)
        if whole:
            yield samples * np.float32(1 / 32768)
            continue
        if not np.isfinite(samples).all():
            raise AudioError(f"{path}: non-finite samples")
        yield samples if file.subtype in _FLOATS else np.clip(samples, -1, 1, out=samples)


def _peak(path: str | Path, file: soundfile.SoundFile, part: Part) -> np.float32:
    """Return the highest float sample, 1 or more; the file is at its start again afterwards."""
    peak = np.float32(1)
    for samples in _native(path, file, part):
        peak = max(peak, np.abs(samples).max())
    file.seek(0)
    if peak > _LOUDEST:
        raise AudioError(
            f"{path}: float samples reach {peak:.6g} where 1 is full scale; "
            "divide them (16-bit values by 32768) and write the file again"
        )
    return peak


def check(samples: np.ndarray, sample_rate: int, min_seconds: float, min_rms: float) -> str | None:
    """Return why samples `(N,)` are unusable, 'too short', 'non-finite' or 'silent' (less than
    `min_rms` about their mean, the ends left out), or None.
    """
    if len(samples) < max(1, min_seconds * sample_rate):
        return "too short"
    if not np.isfinite(samples.sum(dtype=np.float64)):
        return "non-finite"
    edge = min(int(_EDGE * sample_rate), len(samples) // 4)
    inner = samples[edge : len(samples) - edge]
    return "silent" if inner.std(dtype=np.float64) < min_rms else None


def quietest(samples: np.ndarray, sample_rate: int) -> int:
    """Return the middle of the quietest tenth of a second in samples `(N,)`; of equals the first.

    Of less than that it is the middle of all.
    """
    size = max(1, round(_STEP * sample_rate))
    steps = len(samples) // size
    around = round(_QUIET / _STEP)
    if steps < around:
        return len(samples) // 2
    power = np.square(samples[: steps * size].reshape(steps, size), dtype=np.float64).sum(1)
    sums = np.convolve(power, np.ones(around), "valid")
    return (2 * int(sums.argmin()) + around) * size // 2


def audible(samples: np.ndarray, sample_rate: int, silence_db: float = 40.0) -> tuple[int, int]:
    """Return where the sound begins and where it ends in samples `(N,)`.

    Silence at the ends is what is `silence_db` below the loudest hundredth of a second; a tenth of
    a second of it is kept.
    """
    size = max(1, round(_STEP * sample_rate))
    steps = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size)
    power = np.square(steps, dtype=np.float64).mean(1)
    loud = np.flatnonzero(power > power.max(initial=0.0) * 10 ** (-silence_db / 10))
    if not len(loud):
        return 0, len(samples)
    margin = round(_MARGIN * sample_rate)
    return max(0, loud[0] * size - margin), min(len(samples), (loud[-1] + 1) * size + margin)
