"""Items: a question about some audio. One Parquet table serves every stage after `fewshot`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from earshot import text
from earshot.runtime.files import atomic

UNKNOWN = -1
UNKNOWN_DEVICE = "unknown"
CLASS_SKILL = "scene"  # no question: the options are the classes, the same for all items
SKILLS = ("detail", "main_idea", "inference")
# teacher: labelled items the teacher is tuned on · pool: no label · fewshot: the few labels there
# are · validation: model selection · test: the result · paper: the ten questions again, on other
# segments of their own passages
ROLES = ("teacher", "pool", "fewshot", "validation", "test", "paper")

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("role", pa.string()),
        ("skill", pa.string()),
        ("passage", pa.string()),
        ("wording", pa.string()),
        ("utterances", pa.list_(pa.string())),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("answer", pa.int32()),
        ("transcript", pa.string()),
        ("language", pa.string()),
    ]
)


def taught(refit: bool) -> tuple[str, ...]:
    """Return the roles of the items whose answers students learn from a teacher."""
    return ("fewshot", "pool", "validation") if refit else ("fewshot", "pool")


class ItemError(ValueError):
    """An item that cannot be used; the message names it."""


@dataclass(frozen=True)
class Item:
    """A question about the audio of `utterances`, end to end, and what is right.

    A task uses the fields it needs. `options` are those of a question, the classes, or the alphabet
    of a transcript; `answer` is the place of the right one, −1 where it is unknown; `transcript`
    and `language` are None where they are unknown. Whole passages are resampled for intervals: of a
    scene it is the location, of a transcript the speaker.
    """

    id: str
    role: str
    skill: str
    passage: str
    utterances: tuple[str, ...]
    question: str = ""
    options: tuple[str, ...] = ()
    answer: int = UNKNOWN
    wording: str = "seen"
    transcript: str | None = None
    language: str | None = None

    @property
    def labelled(self) -> bool:
        """Whether what is right is known."""
        return self.answer != UNKNOWN or self.transcript is not None


def in_language(items: Sequence[Item], language: str | None) -> list[Item]:
    """Return the items in a language, a tag such as de or zh-TW, and those whose language is not
    known; all where it is None. de includes de-CH.

    ItemError where there are items, and none is left.
    """
    if language is None:
        return list(items)
    there = {item.language for item in items} - {None}
    kept = {one for one in there if one == language or one.startswith(f"{language}-")} | {None}
    found = [item for item in items if item.language in kept]
    if items and not found:
        raise ItemError(
            f"no clip is in the teacher's language {language!r}; there are "
            f"{', '.join(sorted(there))}"
        )
    return found


def check(items: Sequence[Item], utterances: Iterable[str]) -> None:
    """Raise ItemError, naming item and fault, unless all items are about known utterances."""
    known, seen = set(utterances), set()
    for item in items:
        missing = [u for u in item.utterances if u not in known]
        _raise_first(
            item,
            {
                "duplicate id": item.id in seen,
                f"role {item.role!r} is not one of {', '.join(ROLES)}": item.role not in ROLES,
                "no skill": not item.skill,
                "no utterances": not item.utterances,
                f"missing utterance {', '.join(missing)}": bool(missing),
                "not labelled": not item.labelled and item.role != "pool",
            },
        )
        seen.add(item.id)


def check_options(items: Sequence[Item], skills: Sequence[str]) -> None:
    """Raise ItemError, naming item and fault, unless each has options that differ.

    Only items of the skill `CLASS_SKILL` go without a question.
    """
    for item in items:
        count = len(item.options)
        same, alike = _indistinct(item.skill, item.options, item.answer != UNKNOWN)
        _raise_first(
            item,
            {
                f"skill {item.skill!r} is not one of {', '.join(skills)}": item.skill not in skills,
                "no question": not item.question.strip() and item.skill != CLASS_SKILL,
                "fewer than two options": count < 2,
                "an option without words": not all(map(text.words, item.options)),
                f"duplicate option: {same}": bool(same),
                f"options that read alike to a model, {alike}; word one otherwise": bool(alike),
                f"answer {item.answer} is out of range 0–{count - 1}": (
                    item.answer != UNKNOWN and not 0 <= item.answer < count
                ),
            },
        )


@lru_cache(1 << 12)  # scenes have the same options, all of them
def _indistinct(skill: str, options: tuple[str, ...], known: bool) -> tuple[str, str]:
    """Return which options are the same, and which read alike to a model, in words; "" if none.

    Classes are not read, and of a question whose answer is not known no option is right or wrong.
    """
    if skill == CLASS_SKILL:
        same = text.groups([text.canonical(option).strip().lower() for option in options])
    else:
        same = text.same(options)
    alike = text.alike(options) if known and skill != CLASS_SKILL else []
    return _named(options, same), _named(options, alike)


def _named(options: Sequence[str], groups: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(repr(options[place]) for place in groups[0]) if groups else ""


def _raise_first(item: Item, faults: dict[str, bool]) -> None:
    for fault, present in faults.items():
        if present:
            raise ItemError(f"item {item.id}: {fault}")


def write(items: Sequence[Item], path: str | Path) -> None:
    """Write items as one atomic Parquet file."""
    columns = {name: [getattr(item, name) for item in items] for name in SCHEMA.names}
    with atomic(path) as partial:
        pq.write_table(pa.table(columns, SCHEMA), partial)


def read(path: str | Path, *roles: str) -> list[Item]:
    """Read the items of the given roles, in file order; of every role when none is given."""
    table = pq.read_table(path)
    if not table.schema.equals(SCHEMA):
        raise ItemError(f"{path}: not a table of items")
    rows = (
        row | {"utterances": tuple(row["utterances"]), "options": tuple(row["options"])}
        for row in table.to_pylist()
    )
    return [Item(**row) for row in rows if not roles or row["role"] in roles]


def minutes(
    items: Sequence[Item], manifest: pd.DataFrame, roles: Sequence[str] = ROLES
) -> dict[str, float]:
    """Return the minutes of audio that the items of each of their roles are about; every clip
    counts once.
    """
    seconds = dict(zip(manifest["id"], manifest["seconds"], strict=True))
    clips_of = {
        role: {u for item in items if item.role == role for u in item.utterances} for role in roles
    }
    return {
        role: round(float(np.sum([seconds[u] for u in clips])) / 60, 3)
        for role, clips in clips_of.items()
    }


def devices(items: Sequence[Item], manifest: pd.DataFrame) -> dict[str, str]:
    """Return the device that recorded each item's clip, by item id; 'unknown' where the corpus does
    not say.
    """
    named = dict(zip(manifest["id"], manifest["device"], strict=True))
    return {item.id: named[item.utterances[0]] or UNKNOWN_DEVICE for item in items}
