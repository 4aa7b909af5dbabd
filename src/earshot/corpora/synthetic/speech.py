"""The embedded corpus: short spoken passages of a small world, made on this machine, offline, the
same bytes each time.

Splits share neither voices nor passages, but for `teacher` and `pool` (and `pretrain`), which share
voices: there the teacher learns, and there unlabelled audio would come from in practice. `unseen`
wordings occur in `test` alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from earshot.corpora.synthetic import world
from earshot.corpora.synthetic.espeak import SAMPLE_RATE, Voice, speak
from earshot.params import SyntheticSpeech
from earshot.runtime import parallel
from earshot.runtime.files import atomic
from earshot.tables.manifest import Clip

ACCENTS = (
    "en",
    "en-us",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
# Variants of espeak-ng; each belongs to one group of splits. None of them clips, but for some that
# only pretraining hears.
VARIANTS = {
    "teacher": (
        "Alex Alicia Andy Annie Diogo Henrique Lee Mario Michael Mike Reed adam announcer aunty "
        "belinda benjamin boris caleb edward f1 f3 f5 grandma ian linda m1 m3 m5 m7 marcelo max "
        "michel quincy robert shelby steph travis victor"
    ).split(),
    "fewshot": "Andrea Nguyen david f2 m2 m6 klatt3 edward2 rob pablo".split(),
    "validation": "Denis klatt m8 miguel grandpa af".split(),
    "test": "anika f4 Hugo klatt2 m4 norbert mike2 sandro steph2 zac kaukovalta".split(),
}
VARIANTS["pool"] = VARIANTS["teacher"]
VARIANTS["pretrain"] = (
    VARIANTS["teacher"]
    + "Gene Gene2 Jacky gustave john paul pedro Marco ed antonio whisper croak".split()
)
BUCKETS = {
    "test": range(0, 20),
    "validation": range(20, 30),
    "fewshot": range(30, 35),
    "teacher": range(35, 55),
    "pool": range(55, 75),
    "pretrain": range(75, 100),
}
UNSEEN_SHARE = 0.4


@dataclass(frozen=True)
class Utterance:
    """One sentence to speak; `id` is `split-passage-sentence`."""

    id: str
    passage: str
    split: str
    text: str
    voice: Voice
    speaker: str
    wording: str


def _voice(rng: np.random.Generator, split: str) -> Voice:
    variants = VARIANTS[split]
    name = f"{ACCENTS[rng.integers(len(ACCENTS))]}+{variants[rng.integers(len(variants))]}"
    (slow, fast), (low, high) = (
        ((125, 225), (15, 86)) if split == "pretrain" else ((150, 200), (35, 66))
    )
    return Voice(name, rate=int(rng.integers(slow, fast)), pitch=int(rng.integers(low, high)))


def script(split: str, passages: int, retellings: int, seed: int) -> Iterator[Utterance]:
    """Yield what is to be said in `split`: `passages` passages, each told `retellings` times, then
    its closing sentence.

    Pretraining speech has no closings: half of it is passages, half word salad.
    """
    rng = np.random.default_rng([seed, *split.encode()])
    for number in range(passages):
        voice, facts = _voice(rng, split), world.draw(rng, BUCKETS[split])
        unseen = split == "test" and rng.random() < UNSEEN_SHARE
        wordings = rng.permutation(world.UNSEEN if unseen else world.SEEN)
        lines = [facts.tell(str(wordings[i % len(wordings)])) for i in range(retellings)]
        if split == "pretrain" and number % 2:
            lines = [world.salad(rng)]
        elif split not in ("pretrain", "pool"):
            lines.append(facts.closing())
        for sentence, text in enumerate(lines):
            yield Utterance(
                id=f"{split}-{number:05d}-{sentence:02d}",
                passage=f"{split}-{number:05d}",
                split=split,
                text=text,
                voice=voice,
                speaker=voice.name.split("+")[1],
                wording="unseen" if unseen else "seen",
            )


def build(params: SyntheticSpeech, folder: Path, seed: int) -> Iterator[Clip]:
    """Speak every split of `params.passages` to 16-bit FLAC files `folder/split/id.flac`; yield
    their clips in order.

    The same parameters and seed give the same bytes, whatever the number of workers.
    """
    lines = [
        utterance
        for split, passages in params.passages.items()
        for utterance in script(
            split, passages, params.fewshot_retellings if split == "fewshot" else 1, seed
        )
    ]
    lengths = parallel.run(partial(_record, folder), lines, "speech", unit="utterance", chunk=16)
    for line, samples in zip(lines, lengths, strict=True):
        yield Clip(
            line.id,
            str(_file(folder, line)),
            samples / SAMPLE_RATE,
            SAMPLE_RATE,
            speaker=line.speaker,
            split=line.split,
            text=line.text,
            passage=line.passage,
            wording=line.wording,
        )


def spoken(split: str, passages: int, seed: int) -> list[tuple[np.ndarray, str]]:
    """Return the first sentence of each passage of a split, spoken: int16 samples `(N,)` at 16 kHz,
    and their text.
    """
    lines = [line for line in script(split, passages, 1, seed) if line.id.endswith("-00")]
    sounds = parallel.run(_speak, lines, f"speak {split}", chunk=16)
    return [(samples, line.text) for samples, line in zip(sounds, lines, strict=True)]


def _file(folder: Path, utterance: Utterance) -> Path:
    return folder / utterance.split / f"{utterance.id}.flac"


def _speak(utterance: Utterance) -> np.ndarray:
    return speak(utterance.text, utterance.voice)


def _record(folder: Path, utterance: Utterance) -> int:
    samples = _speak(utterance)
    with atomic(_file(folder, utterance)) as partial_file:
        soundfile.write(partial_file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return len(samples)
