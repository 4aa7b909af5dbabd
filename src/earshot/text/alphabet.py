"""Alphabets: how a transcript is brought into the symbols that a recogniser writes, and read back
from its frames.

An alphabet is a tuple of symbols in the order of a recogniser's outputs: BLANK, SPACE, then single
characters in lower case. No torch here: devices use it.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from earshot.text.encoding import canonical

BLANK = ""  # the first symbol: a frame that writes nothing, CTC's blank
SPACE = "|"  # the second: between words
_APOSTROPHE = "'"
_READ_ALOUD = "%&@#*"  # Unicode calls them punctuation, but they are read aloud
_DOTLESS = {"tr", "az"}  # whose capital of i is İ, and I that of ı
_POINTED = {"ar", "fa", "ur", "he", "yi"}  # which leave most vowel points unwritten
_POINTS = re.compile("[\u0591-\u05bd\u05bf-\u05c7\u0640\u064b-\u0652\u0670]")


class Word(NamedTuple):
    """A word of a path: its first frame, and the frame behind its last."""

    text: str
    begin: int
    end: int


def alphabet(characters: Iterable[str]) -> tuple[str, ...]:
    """Return the alphabet of these characters, in Unicode's order."""
    return (BLANK, SPACE, *sorted(set(characters)))


def letters(texts: Iterable[str]) -> set[str]:
    """Return the letters, their marks and the apostrophe, as far as normalised texts use them."""
    used = set("".join(texts))
    return {one for one in used if unicodedata.category(one)[0] in "LM" or one == _APOSTROPHE}


def normalised(text: str, symbols: Sequence[str] | None = None, language: str | None = None) -> str:
    """Return a text as its transcript is written and scored; the steps, in this order:

    1. one form for the same characters (`text.canonical`: NFC, one apostrophe, full width folded,
       nothing invisible); letters stay in the order of speech, from right to left too;
    2. lower case, as `language` has it, a tag such as de or tr-TR: Turkish and Azerbaijani I is ı,
       Greek sigma is ς where a word ends, Dutch ĳ two letters; points of Arabic, Persian, Urdu,
       Hebrew and Yiddish, mostly left unwritten, go, and Arabic's lengthening stroke;
    3. punctuation separates words, hyphens too, as do spaces of any kind; apostrophes stay inside
       words and go at their ends;
    4. digits, and signs that are read aloud (€, %, &, +), stay: nobody knows how they were read, so
       an alphabet without them cannot write them;
    5. what the alphabet `symbols` has stays in any case; one without an apostrophe drops it, one
       without ß writes ss.

    >>> normalised("“It’s the twenty-first,” he said.")
    "it's the twenty first he said"
    >>> normalised("ILIK SÜT", language="tr")
    'ılık süt'
    """
    known = set(symbols or ()) - {BLANK, SPACE}
    lower = _lower(canonical(text), (language or "").replace("_", "-").partition("-")[0].lower())
    kept = [one if one in known or _is_written(one) else " " for one in lower]
    words = [word.strip(_APOSTROPHE) for word in "".join(kept).split()]
    if symbols is not None and _APOSTROPHE not in known:
        words = [word.replace(_APOSTROPHE, "") for word in words]
    if symbols is not None and "ß" not in known:
        words = [word.replace("ß", "ss") for word in words]
    return " ".join(word for word in words if word)


def _lower(text: str, language: str) -> str:
    """Return a canonical text in the lower case of a language's code, "" where it is not known."""
    if language in _DOTLESS:
        text = text.replace("I", "ı")
    lower = canonical(text.lower().replace("i\u0307", "i"))  # the Turkish İ
    if language == "nl":
        lower = lower.replace("ĳ", "ij")
    if language == "el":  # texts made small letter by letter have the wrong one at the end
        lower = re.sub(r"(?<=\w)σ\b", "ς", re.sub(r"ς(?=\w)", "σ", lower))
    return _POINTS.sub("", lower) if language in _POINTED else lower


def _is_written(character: str) -> bool:
    kind = unicodedata.category(character)[0]
    return kind in "LMNS" or character in _READ_ALOUD or character == _APOSTROPHE


def places(some: Sequence[str], symbols: Sequence[str]) -> list[int]:
    """Return where in an alphabet each symbol of a smaller one is; ValueError names what it lacks.

    >>> places(("", "|", "b"), ("", "|", "a", "b"))
    [0, 1, 3]
    """
    known = {symbol: number for number, symbol in enumerate(symbols)}
    missing = [one for one in some if one not in known]
    if missing:
        raise ValueError(f"the alphabet has no {' '.join(missing)}")
    return [known[one] for one in some]


def foreign(text: str, symbols: Sequence[str]) -> list[str]:
    """Return the characters of a normalised text that an alphabet cannot write, in Unicode's
    order.
    """
    return sorted(set(text) - set(symbols) - {" "})


def unread(text: str, symbols: Sequence[str]) -> list[str]:
    """Return of the characters that an alphabet cannot write the digits and signs: those of which
    nobody knows how they were read.
    """
    characters = foreign(normalised(text, symbols), symbols)
    return [one for one in characters if one in _READ_ALOUD or unicodedata.category(one)[0] in "NS"]


def encode(text: str, symbols: Sequence[str]) -> list[int]:
    """Return the places of a normalised text's symbols; ValueError names what cannot be written."""
    unknown = foreign(text, symbols)
    if unknown:
        raise ValueError(f"{text!r}: the alphabet has no {' '.join(unknown)}")
    place = {symbol: number for number, symbol in enumerate(symbols)}
    return [place[one] for one in SPACE.join(text.split())]


def collapsed(path: Iterable[int]) -> list[int]:
    """Return what a path of symbols frame by frame writes: repeats merged, blanks dropped."""
    return [symbol for symbol, _ in groupby(path) if symbol]


def path(ids: Sequence[int]) -> list[int]:
    """Return the shortest path that writes symbols: they alone, with a blank between equal ones.

    >>> path([2, 2, 3])
    [2, 0, 2, 3]
    """
    found: list[int] = []
    for symbol in ids:
        found += [0, symbol] if found and found[-1] == symbol else [symbol]
    return found


def frames_needed(ids: Sequence[int]) -> int:
    """Return how many frames CTC needs to write symbols: one each, and a blank between equals."""
    return len(ids) + sum(one == other for one, other in pairwise(ids))


def words(path: Iterable[int], symbols: Sequence[str]) -> list[Word]:
    """Return the words of the best symbols frame by frame: repeats merged, blanks dropped.

    >>> words([0, 2, 2, 0, 2, 3, 1, 0, 3], ("", "|", "a", "b"))
    [Word(text='aab', begin=1, end=6), Word(text='b', begin=8, end=9)]
    """
    found: list[Word] = []
    open_word = False
    place = 0
    for symbol, run in groupby(path):
        begin, place = place, place + len(list(run))
        if symbols[symbol] == BLANK:
            continue
        if symbols[symbol] == SPACE:
            open_word = False
        elif open_word:
            text, first, _ = found[-1]
            found[-1] = Word(text + symbols[symbol], first, place)
        else:
            found.append(Word(symbols[symbol], begin, place))
            open_word = True
    return found


def decode(path: Iterable[int], symbols: Sequence[str]) -> str:
    """Return the text of the best symbols frame by frame."""
    return " ".join(word.text for word in words(path, symbols))
