"""Transcripts: an item a clip, its text in the symbols of the track's alphabet, or unknown."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from earshot.items import leaks
from earshot.params import Transcripts
from earshot.tables import items
from earshot.tables.items import Item, ItemError
from earshot.text import alphabet

ROLES = ("teacher", "fewshot", "pool", "validation", "test")
TRAINING = ("teacher", "fewshot")
SKILL = "transcript"
FRAMES = 50  # a second, of the teachers that there are
_NAMED = 3  # clips in an error
_log = logging.getLogger(__name__)


def build(
    manifest: pd.DataFrame, accepted: Iterable[str], params: Transcripts, seed: int
) -> list[Item]:
    """Return an item per accepted clip, in the manifest's order; its options are the alphabet.

    Clips of the split `pool` keep no transcript. The alphabet is `params.alphabet`, or else the
    letters of the labelled training clips (splits `teacher` and `fewshot`). What is resampled for
    intervals are speakers.

    A labelled clip is left out, and named in the log, that has no transcript or one without words,
    with characters that the alphabet lacks, or of more symbols than the clip has frames. Raises
    ItemError when these are more than `params.max_bad_share` of the labelled clips, for another
    split, for a role without clips, and where nothing is labelled and no alphabet given.
    """
    clips = manifest[manifest["id"].isin(set(accepted))]
    for row in clips[~clips["split"].isin(ROLES)].itertuples():
        raise ItemError(f"clip {row.id}: split {row.split!r} is not one of {', '.join(ROLES)}")
    symbols = _alphabet(clips, params)
    refused = {}
    built = []
    for row in clips.itertuples():
        is_labelled = row.split != "pool"
        reason = refusal(row.text, row.seconds, symbols, row.language) if is_labelled else None
        if reason:
            refused[row.id] = reason
            continue
        item = Item(
            id=row.id,
            role=row.split,
            skill=SKILL,
            passage=row.speaker or row.passage,
            utterances=(row.id,),
            options=symbols,
            wording=row.wording or "seen",
            transcript=_written(row, symbols) if is_labelled else None,
            language=row.language,
        )
        built.append(item)
    _judge(refused, (clips["split"] != "pool").sum(), params.max_bad_share)
    _require_roles(built)
    return built


def _written(row: Any, symbols: Sequence[str] | None = None) -> str:
    return alphabet.normalised(row.text, symbols, row.language)


def _alphabet(clips: pd.DataFrame, params: Transcripts) -> tuple[str, ...]:
    if params.alphabet is not None:
        return alphabet.alphabet(params.alphabet)
    training = clips[clips["split"].isin(TRAINING) & clips["text"].notna()]
    if not len(training):
        raise ItemError(
            "no clip of the splits teacher and fewshot has a transcript, so that there is no "
            "alphabet; write the teacher's letters to fewshot.alphabet"
        )
    return alphabet.alphabet(alphabet.letters(map(_written, training.itertuples())))


def refusal(
    text: str | None, seconds: float, symbols: Sequence[str], language: str | None = None
) -> str | None:
    """Return why a clip of so many seconds cannot be trained or tested on with this transcript;
    None where it can.
    """
    if text is None:
        return "no transcript"
    plain = alphabet.normalised(text, symbols, language)
    if not plain:
        return f"no words in its transcript {text!r}"
    foreign = alphabet.foreign(plain, symbols)
    if foreign:
        return f"the alphabet cannot write {' '.join(foreign)} of its transcript {text!r}"
    needed, there = alphabet.frames_needed(alphabet.encode(plain, symbols)), int(seconds * FRAMES)
    if needed > there:
        return f"{needed} symbols and blanks in {there} frames of {seconds:.2f} s"
    return None


def _judge(refused: dict[str, str], labelled: int, most: float) -> None:
    """List clips that are left out; raise ItemError where they are too many."""
    for id, reason in refused.items():
        _log.warning("clip %s is left out: %s", id, reason)
    if len(refused) > most * labelled:
        examples = "; ".join(f"{id}: {why}" for id, why in list(refused.items())[:_NAMED])
        raise ItemError(
            f"{len(refused)} of {labelled} labelled clips cannot be used, above "
            f"fewshot.max_bad_share={most}: {examples}"
        )


def _require_roles(built: Sequence[Item]) -> None:
    there = {item.role for item in built}
    for role in ("validation", "test"):
        if role not in there:
            raise ItemError(f"split {role!r} has no clips that can be used")


def check(every: Sequence[Item], manifest: pd.DataFrame) -> dict[str, Any]:
    """Raise ItemError where something leaks into the test; return each role's items, words and
    minutes, the latter by language too where it is known, the size of the alphabet, and how many
    labelled clips were left out.
    """
    leaks.check_splits(every, manifest)
    known = {item.id for item in every}
    labelled = manifest[manifest["split"] != "pool"]
    report: dict[str, Any] = {"items": {}, "symbols": len(every[0].options)}
    for role in ROLES:
        of_role = [item for item in every if item.role == role]
        spoken = [item.transcript.split() for item in of_role if item.transcript is not None]
        counts = Counter(item.wording for item in of_role)
        words = {"words": sum(map(len, spoken))} if spoken else {}
        report["items"][role] = {"all": len(of_role), **counts, **words}
    report["left_out"] = int((~labelled["id"].isin(known)).sum())
    languages = sorted({item.language for item in every if item.language is not None})
    if languages:
        report["minutes_by_language"] = {
            language: items.minutes(
                [item for item in every if item.language == language], manifest, ROLES
            )
            for language in languages
        }
    return report | {"minutes": items.minutes(every, manifest, ROLES)}
