"""The embedded corpus of a recogniser of several languages: short spoken sentences of a small world
in each, made on this machine, offline, the same bytes each time.

A clip says a sentence of its language's world, or words in any order. Some words and wordings occur
in the test alone. Test and validation have voices of their own, as has pretraining; those of the
labelled clips are the pool's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from earshot.corpora import spoken, worlds
from earshot.corpora.spoken import Line
from earshot.corpora.synthetic.espeak import Voice
from earshot.corpora.synthetic.speech import BUCKETS, UNSEEN_SHARE, VARIANTS
from earshot.params import OpenLanguages
from earshot.tables.manifest import Clip

_POOL = set("Alex Annie Mario Reed adam belinda f5 grandma linda m1 max shelby".split())
VOICES = {
    "pool": (*VARIANTS["fewshot"], *sorted(_POOL)),
    "validation": tuple(VARIANTS["validation"]),
    "test": tuple(VARIANTS["test"]),
    "pretrain": tuple(one for one in VARIANTS["pretrain"] if one not in _POOL),
}
VOICES["fewshot"] = VOICES["pool"]
_WIDE = (125, 225), (15, 86)  # words per minute and pitch of pretraining


def script(language: str, split: str, clips: int, salad_share: float, seed: int) -> Iterator[Line]:
    """Yield what is to be said in a split of a language: so many clips, `salad_share` of them words
    in any order, the others sentences of its world.
    """
    rng = np.random.default_rng([seed, *f"{language} {split}".encode()])
    world = worlds.world(language)
    for number in range(clips):
        unseen = split == "test" and rng.random() < UNSEEN_SHARE
        if rng.random() < salad_share:
            text = worlds.salad(world, rng, unseen)
        else:
            text = worlds.sentence(world, rng, unseen, BUCKETS[split])
        wording = "unseen" if unseen else "seen"
        id = f"{language}-{split}-{number:05d}"
        yield Line(id, split, text, _voice(rng, language, split), wording, language)


def _voice(rng: np.random.Generator, language: str, split: str) -> Voice:
    ranges = _WIDE if split == "pretrain" else spoken.USUAL
    return spoken.voice(rng, worlds.world(language).accents, VOICES[split], ranges)


def build(params: OpenLanguages, folder: Path, seed: int) -> Iterator[Clip]:
    """Speak every split of `params.clips` in every language to files in `folder`; yield their clips
    in order.

    The same parameters and seed give the same bytes, whatever the number of workers.
    """
    lines: list[Line] = []
    for language in params.languages:
        for split in params.clips:
            number = params.number(language, split)
            lines += script(language, split, number, params.salad_share, seed)
    yield from spoken.record(lines, folder)


def heard(
    languages: Sequence[str], split: str, clips: int, salad_share: float, seed: int
) -> list[tuple[np.ndarray, str]]:
    """Return so many clips of a split in each language: int16 samples `(N,)` at 16 kHz, and their
    text.
    """
    lines = [
        line for language in languages for line in script(language, split, clips, salad_share, seed)
    ]
    return spoken.heard(lines)
