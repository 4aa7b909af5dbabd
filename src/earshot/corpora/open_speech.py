"""The embedded corpus of a recogniser: short spoken sentences of open text, made on this machine,
offline, the same bytes each time.

A clip says a sentence of the small world, or words in any order. Some words and wordings occur in
the test alone. Test and validation have voices of their own; those of the labelled clips are the
pool's, as if a few of its recordings had been transcribed.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from earshot.corpora.spoken import Line, record, voice
from earshot.corpora.synthetic import world
from earshot.corpora.synthetic.espeak import Voice
from earshot.corpora.synthetic.speech import ACCENTS, BUCKETS, UNSEEN_SHARE, VARIANTS
from earshot.params import OpenSpeech
from earshot.tables.manifest import Clip

# Words that no other clip says, here or in pretraining.
UNSEEN_WORDS = (
    "anchor bucket butter carpet copper cotton curtain dragon engine feather gravel helmet insect "
    "jacket jungle kitten lemon magnet marble napkin needle parrot pepper pillow planet pocket "
    "rabbit ribbon rocket saddle sailor shadow spider ticket tunnel turtle velvet wagon whistle "
    "wizard"
).split()
SAYS = {"fewshot": "pool"}  # whose voices a split has, where not its own


def script(split: str, clips: int, salad_share: float, seed: int) -> Iterator[Line]:
    """Yield what is to be said in a split: so many clips, `salad_share` of them words in any order,
    the others sentences of the world.
    """
    rng = np.random.default_rng([seed, *f"open {split}".encode()])
    for number in range(clips):
        unseen = split == "test" and rng.random() < UNSEEN_SHARE
        is_salad = rng.random() < salad_share
        text = salad(rng, unseen) if is_salad else sentence(rng, split, unseen)
        wording = "unseen" if unseen else "seen"
        yield Line(f"{split}-{number:05d}", split, text, _voice(rng, split), wording)


def sentence(rng: np.random.Generator, split: str, unseen: bool) -> str:
    """Return a sentence about facts of the split's own, in a wording that is known or not."""
    wordings = world.UNSEEN if unseen else world.SEEN
    facts = world.draw(rng, BUCKETS[split])
    return facts.tell(wordings[rng.integers(len(wordings))])


def salad(rng: np.random.Generator, unseen: bool) -> str:
    """Return five to nine words in any order; two of them are unseen ones where `unseen`."""
    words = world.salad(rng).lower().strip(".").split()
    if unseen:
        places = rng.choice(len(words), 2, replace=False)
        for place in places:
            words[place] = UNSEEN_WORDS[rng.integers(len(UNSEEN_WORDS))]
    return f"{' '.join(words).capitalize()}."


def _voice(rng: np.random.Generator, split: str) -> Voice:
    return voice(rng, ACCENTS, VARIANTS[SAYS.get(split, split)])


def build(params: OpenSpeech, folder: Path, seed: int) -> Iterator[Clip]:
    """Speak every split of `params.clips` to files in `folder`; yield their clips in order.

    The same parameters and seed give the same bytes, whatever the number of workers.
    """
    lines = [
        line
        for split, clips in params.clips.items()
        for line in script(split, clips, params.salad_share, seed)
    ]
    yield from record(lines, folder)
