"""Small worlds to speak about, one a language: words, sentences, and how words agree in them.

A world is a file `LANGUAGE.yaml`:

- `letters`: what its texts are written in, in Unicode's order; `accents`: voices of espeak-ng;
- `parts`: words for the places of a sentence, between commas, by gender where they have one; forms
  of a word between slashes;
- `phrases`: how a thing and its quality are put together, by the thing's gender where it has one;
- `seen` and `unseen`: sentences, the latter for the test alone;
- `everyday` and `own`: other words, the latter for the test alone.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

import numpy as np

from earshot.runtime import yaml_file

_HERE = Path(__file__).parent
LANGUAGES = tuple(sorted(file.stem for file in _HERE.glob("*.yaml")))
_PUNCTUATION = ".,?¿"


class Word(NamedTuple):
    """A word or a few that stay together: its forms, and its gender, "" where it has none."""

    forms: tuple[str, ...]
    gender: str


class World(NamedTuple):
    """What can be said in a language."""

    language: str
    letters: str
    accents: tuple[str, ...]
    parts: dict[str, tuple[Word, ...]]
    phrases: dict[str, dict[str, str]]
    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    words: tuple[str, ...]  # of all parts in all forms, and everyday ones
    own: tuple[str, ...]


@cache
def world(language: str) -> World:
    """Return the world of a language, one of LANGUAGES."""
    read = yaml_file.read(_HERE / f"{language}.yaml")
    parts = {part: tuple(_words(given)) for part, given in read["parts"].items()}
    said = [form for words in parts.values() for word in words for form in word.forms]
    return World(
        language,
        read["letters"],
        tuple(_listed(read["accents"])),
        parts,
        {name: _by_gender(given) for name, given in read["phrases"].items()},
        tuple(read["seen"]),
        tuple(read["unseen"]),
        tuple(sorted({*" ".join(said).split(), *read["everyday"].split()})),
        tuple(sorted(set(read["own"].split()))),
    )


def letters(languages: Sequence[str]) -> str:
    """Return the letters of several languages, each once, in Unicode's order."""
    return "".join(sorted(set("".join(world(one).letters for one in languages))))


def sentence(of: World, rng: np.random.Generator, unseen: bool, buckets: range) -> str:
    """Return a sentence about facts whose bucket lies in `buckets`, in a wording that is seen or
    not.
    """
    wordings = of.unseen if unseen else of.seen
    while True:
        wording = wordings[rng.integers(len(wordings))]
        facts = {part: words[rng.integers(len(words))] for part, words in of.parts.items()}
        if _bucket(of, wording, facts) in buckets:
            return _capital(_told(of, wording, facts))


def salad(of: World, rng: np.random.Generator, own: bool) -> str:
    """Return five to nine words in any order; where `own`, two of them are the test's."""
    number = rng.integers(5, 10)
    chosen = [of.words[place] for place in rng.integers(len(of.words), size=number)]
    if own:
        for place in rng.choice(number, 2, replace=False):
            chosen[place] = of.own[rng.integers(len(of.own))]
    return _capital(f"{' '.join(chosen)}.")


def _told(of: World, wording: str, facts: Mapping[str, Word]) -> str:
    """Return the sentence for these facts: the action agrees with the name, phrases with the
    thing.
    """
    forms = {part: word.forms for part, word in facts.items()}
    told = {part: word.forms[0] for part, word in facts.items()}
    for name, by_gender in of.phrases.items():
        told[name] = by_gender[facts["thing"].gender].format(**forms)
    genders = list(dict.fromkeys(word.gender for word in of.parts["name"]))
    told["action"] = forms["action"][genders.index(facts["name"].gender)]
    return wording.format(**told)


def _bucket(of: World, wording: str, facts: Mapping[str, Word]) -> int:
    """Map the facts that a wording tells to 0–99 by hash: the same facts in other words have the
    same bucket.
    """
    places = {name for _, name, _, _ in Formatter().parse(wording) if name}
    if places & set(of.phrases):
        places = places | {"thing", "quality"}
    told = "|".join(f"{part}={word.forms[0]}" for part, word in facts.items() if part in places)
    digest = hashlib.sha256(f"{of.language}|{told}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100


def _capital(text: str) -> str:
    start = len(text) - len(text.lstrip(_PUNCTUATION))
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",")]


def _by_gender(given: Any) -> dict[str, str]:
    return given if isinstance(given, Mapping) else {"": given}


def _words(given: Any) -> list[Word]:
    of_gender = [(gender, _listed(text)) for gender, text in _by_gender(given).items()]
    return [Word(tuple(one.split("/")), gender) for gender, some in of_gender for one in some]
