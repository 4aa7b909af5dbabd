"""Several corpora as one, each of a language: releases of Common Voice, LibriSpeech, tables."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from earshot import corpora
from earshot.params import Languages
from earshot.tables.manifest import Clip, CorpusError

_log = logging.getLogger(__name__)


def build(params: Languages, folder: Path, seed: int) -> Iterator[Clip]:
    """Yield the clips of each language's corpus, one language after the other.

    Ids and passages begin with their language, so that two corpora may call different things the
    same; speakers of one name are taken for the same, as they are in Common Voice. Clips by a
    speaker of the test, or of validation, in whatever language, are in no other split; how many are
    left out is logged. Raises CorpusError for a clip that is said to be of another language, and
    what the corpora raise.
    """
    clips = [
        _of_language(clip, language)
        for language, corpus in params.corpora.items()
        for clip in corpora.CORPORA[corpus.name](corpus, folder, seed)
    ]
    yield from _apart(clips)


def files(params: Languages) -> list[Path]:
    """Return what the corpora read beside their recordings."""
    return [path for corpus in params.corpora.values() for path in corpora.files(corpus)]


def _of_language(clip: Clip, language: str) -> Clip:
    if clip.language not in (None, language):
        wrong = f"clip {clip.id} is of language {clip.language!r}"
        raise CorpusError(f"{clip.path}: {wrong}, in the corpus of {language!r} (languages)")
    names = {"id": f"{language}-{clip.id}", "passage": f"{language}-{clip.passage}"}
    return replace(clip, language=language, **names)


def _apart(clips: Sequence[Clip]) -> list[Clip]:
    """Return the clips without those by a speaker of the test, or else of validation, in another
    split.
    """
    home = {clip.speaker: clip.split for clip in clips if clip.split == "validation"}
    home |= {clip.speaker: clip.split for clip in clips if clip.split == "test"}
    strays = [clip for clip in clips if home.get(clip.speaker, clip.split) != clip.split]
    counts = Counter(f"{clip.split} in {clip.language}" for clip in strays)
    if counts:
        told = ", ".join(f"{count} of {where}" for where, count in counts.items())
        _log.warning("left out for a speaker of test or validation: %s", told)
    left_out = {clip.id for clip in strays}
    return [clip for clip in clips if clip.id not in left_out]
