"""Pretraining: how the checkpoint that a track's teacher starts from is made.

A way to pretrain is a function `(params, seed, manifest, scratch, folder, report) -> metrics`. It
trains from unfinished work in `scratch`, if there is any, writes a checkpoint as transformers reads
it to `folder`, tells `report` each step's figures by name, and returns nested finite numbers.
`manifest` is the table of the track's corpus, for those who read it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from earshot.corpora import open_languages, worlds
from earshot.corpora.synthetic import speech

HELD_OUT_PASSAGES = 60
SALAD_SHARE = 0.5  # of several languages' clips: words in any order, as half of English's are
Report = Callable[[int, dict[str, float]], None]


def _ctc(
    params: Any, seed: int, manifest: Path, scratch: Path, folder: Path, report: Report
) -> dict[str, Any]:
    spoken = speech.spoken("pretrain", params.passages, seed)  # forks: before torch is loaded
    held_out = speech.spoken("validation", HELD_OUT_PASSAGES, seed)

    from earshot.pretraining import ctc

    recogniser = ctc.pretrain(
        spoken, params, seed, scratch, lambda step, loss: report(step, {"loss": loss})
    )
    ctc.save(recogniser, folder)
    return {
        "letter_error_rate": ctc.letter_error_rate(recogniser, held_out),
        "held_out_clips": len(held_out),
    }


def _ctc_languages(
    params: Any, seed: int, manifest: Path, scratch: Path, folder: Path, report: Report
) -> dict[str, Any]:
    languages = params.languages
    each = params.passages // len(languages)
    clips = open_languages.heard(languages, "pretrain", each, SALAD_SHARE, seed)  # forks
    held_out = {
        language: open_languages.heard([language], "validation", HELD_OUT_PASSAGES, 0.0, seed)
        for language in languages
    }

    from earshot.pretraining import ctc

    letters = f"|{worlds.letters(languages)}"
    recogniser = ctc.pretrain(
        clips, params, seed, scratch, lambda step, loss: report(step, {"loss": loss}), letters
    )
    ctc.save(recogniser, folder)
    rates = {
        language: ctc.letter_error_rate(recogniser, some, letters)
        for language, some in held_out.items()
    }
    return {"letter_error_rate": rates, "held_out_clips": HELD_OUT_PASSAGES * len(languages)}


def _hubert(
    params: Any, seed: int, manifest: Path, scratch: Path, folder: Path, report: Report
) -> dict[str, Any]:
    from earshot.pretraining import clips

    heard = clips.collect(params, seed, manifest, scratch)  # forks: before torch is loaded

    from earshot.pretraining import hubert

    return hubert.run(heard, params, seed, heard.folder, folder, report)


PRETRAIN: dict[str, Callable[[Any, int, Path, Path, Path, Report], dict[str, Any]]] = {
    "ctc": _ctc,
    "ctc_languages": _ctc_languages,
    "hubert": _hubert,
}
