"""What corpora and teachers allow one to do with a student that was trained from them."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from earshot.params import Params

NON_COMMERCIAL = re.compile(r"(^|-)nc(-|$)|^other$")
ID = re.compile(r"[a-z0-9][a-z0-9.\-]*")  # as the hub writes licences


class Source(NamedTuple):
    """A corpus: its name for people, the languages in it, what its terms say, and whether they
    forbid what earns money.
    """

    title: str
    languages: tuple[str, ...]
    terms: str
    non_commercial: bool = False


_ESPEAK = "made by espeak-ng (GPL-3.0), whose voices' sound is free to hand on"
CORPORA = {
    "synthetic_speech": Source("speech that Earshot makes itself", ("en",), _ESPEAK),
    "open_speech": Source("speech that Earshot makes itself", ("en",), _ESPEAK),
    "open_languages": Source("speech that Earshot makes itself", (), _ESPEAK),
    "synthetic_scenes": Source("scenes that Earshot makes itself", (), "free to hand on"),
    "librispeech": Source("LibriSpeech", ("en",), "CC BY 4.0: name LibriSpeech"),
    "common_voice": Source("Common Voice", (), "CC0"),
    "tau2022": Source(
        "TAU Urban Acoustic Scenes 2022 Mobile", (), "for non-commercial use alone", True
    ),
    **dict.fromkeys(
        ("manifest", "recordings"),
        Source("recordings of one's own", (), "known to those who made the recordings"),
    ),
}


def check(licence: str | None, sources: Sequence[str]) -> str:
    """Return the licence asked for; ValueError where there is none, or the corpora named in
    `sources` forbid it.
    """
    terms = "; ".join(f"{CORPORA[name].title}: {CORPORA[name].terms}" for name in sources)
    if not licence:
        raise ValueError(f"--licence: needed, as apache-2.0 or cc-by-nc-4.0 ({terms})")
    if not ID.fullmatch(licence):
        raise ValueError(f"--licence {licence}: not as the hub writes licences, like apache-2.0")
    for name in sources:
        if CORPORA[name].non_commercial and not NON_COMMERCIAL.search(licence):
            raise ValueError(f"--licence {licence}: {CORPORA[name].title} is {CORPORA[name].terms}")
    return licence


def teachers(params: Params, track: str, recipe: str) -> dict[str, list[str]]:
    """Return the checkpoints of the teachers from which a recipe learns, by teacher; their own
    terms hold.
    """
    named = params.recipes[f"{track}-{recipe}"].teachers
    return {name: params.teachers[name].starts for name in named}
