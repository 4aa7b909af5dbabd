"""Lines of text, spoken by espeak-ng: what the embedded corpora of recognisers consist of."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from earshot.corpora.synthetic.espeak import SAMPLE_RATE, Voice, speak
from earshot.runtime import parallel
from earshot.runtime.files import atomic
from earshot.tables.manifest import Clip

USUAL = (150, 200), (35, 66)  # words per minute; pitch


class Line(NamedTuple):
    """One clip to speak."""

    id: str
    split: str
    text: str
    voice: Voice
    wording: str
    language: str | None = None

    @property
    def speaker(self) -> str:
        """The voice's variant; in another language it is another speaker."""
        variant = self.voice.name.split("+")[1]
        return f"{self.language}-{variant}" if self.language else variant


def voice(
    rng: np.random.Generator,
    accents: Sequence[str],
    variants: Sequence[str],
    ranges: tuple[tuple[int, int], tuple[int, int]] = USUAL,
) -> Voice:
    """Draw an accent, a variant of it, a rate and a pitch; the ranges are those of the last two."""
    accent, variant = accents[rng.integers(len(accents))], variants[rng.integers(len(variants))]
    rate, pitch = (int(rng.integers(*limits)) for limits in ranges)
    return Voice(f"{accent}+{variant}", rate=rate, pitch=pitch)


def record(lines: Sequence[Line], folder: Path) -> Iterator[Clip]:
    """Speak lines to 16-bit FLAC files `folder/split/id.flac`; yield their clips in order.

    Those of the split `pool` have no text. The same lines give the same bytes, whatever the number
    of workers.
    """
    lengths = parallel.run(partial(_record, folder), lines, "speech", unit="clip", chunk=16)
    for line, samples in zip(lines, lengths, strict=True):
        yield Clip(
            line.id,
            str(_file(folder, line)),
            samples / SAMPLE_RATE,
            SAMPLE_RATE,
            speaker=line.speaker,
            split=line.split,
            text=None if line.split == "pool" else line.text,
            passage=line.id,
            wording=line.wording,
            language=line.language,
        )


def heard(lines: Sequence[Line]) -> list[tuple[np.ndarray, str]]:
    """Return lines spoken: int16 samples `(N,)` at 16 kHz, and their text."""
    sounds = parallel.run(_speak, lines, "speech", unit="clip", chunk=16)
    return [(samples, line.text) for samples, line in zip(sounds, lines, strict=True)]


def _file(folder: Path, line: Line) -> Path:
    return folder / line.split / f"{line.id}.flac"


def _speak(line: Line) -> np.ndarray:
    return speak(line.text, line.voice)


def _record(folder: Path, line: Line) -> int:
    samples = _speak(line)
    with atomic(_file(folder, line)) as partial_file:
        soundfile.write(partial_file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return len(samples)
