"""Content words of transcripts, language by language, as far as words can be told apart."""

import logging
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from earshot import text as reader
from earshot.tables.items import ItemError

ENGLISH = "en"
# What Unicode calls letters of scripts that put no space between words.
UNSPACED = {
    *("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "YI"),
    *("THAI", "LAO", "KHMER", "MYANMAR", "TAI", "TIBETAN", "JAVANESE", "BALINESE"),
}
_CODES = {"nb": "no", "nn": "no", "iw": "he", "in": "id", "fil": "tl"}  # other names
_MOST_UNSPACED = 0.1  # of a text's letters: a name or two in another script does no harm
_FEWEST_STOP_WORDS = 0.2  # of English words; half is usual
_ENOUGH = 200  # words to judge by
_REMEDY = (
    "write the questions yourself (fewshot.source: authored, all roles but pool), or ask only "
    "what comes next (fewshot.skills: [inference])"
)
_log = logging.getLogger(__name__)


def words(text: str, language: str | None = None) -> list[str]:
    """Return the content words of a text, in lower case, each once, in order of appearance.

    Words are letters with their marks; stop words are those of the language, English where none is
    given. Raises ItemError for a language without a list of stop words.
    """
    return list(_words(text, code(language)))


def every_word(text: str, language: str | None = None) -> list[str]:
    """Return what `words` does, and stop words and short words too."""
    return list(_every_word(text, code(language)))


@lru_cache(1 << 14)  # passages are compared with each other
def _words(text: str, language: str) -> tuple[str, ...]:
    stop, shortest = stop_words(language), 3 if language == ENGLISH else 2
    found = _every_word(text, language)
    return tuple(word for word in found if len(word) >= shortest and word not in stop)


@lru_cache(1 << 14)
def _every_word(text: str, language: str) -> tuple[str, ...]:
    stop = stop_words(language)
    found = [_without_elision(word, stop, language) for word in _letters(text)]
    return tuple(dict.fromkeys(word for word in found if word and _script(word[0]) not in UNSPACED))


def _letters(text: str) -> list[str]:
    """Return the runs of letters and marks, and of single apostrophes between them."""
    kept = "".join(one if one == "'" or _is_letter(one) else " " for one in _lower(text))
    inside = [word.strip("'") for word in kept.replace("''", " ").split()]
    return [word for word in inside if word]


def _lower(text: str) -> str:
    return reader.canonical(reader.canonical(text).lower())


@cache
def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM"


def _without_elision(word: str, stop: frozenset[str], language: str) -> str:
    """Return French l'homme as homme; English keeps its apostrophes."""
    before, apostrophe, after = word.partition("'")
    elided = language != ENGLISH and (before in stop or len(before) == 1)
    return after if apostrophe and elided else word


def code(language: str | None) -> str:
    """Return the first part of a language tag: de of de-CH; English where there is none."""
    if not language:
        return ENGLISH
    first = language.replace("_", "-").partition("-")[0].lower()
    return _CODES.get(first, first)


@cache
def stop_words(language: str) -> frozenset[str]:
    """Return the stop words of a language's code; ItemError where there is no list of them."""
    if language == ENGLISH:
        return frozenset(ENGLISH_STOP_WORDS)
    import stopwordsiso

    if not stopwordsiso.has_lang(language):
        known = ", ".join(sorted(stopwordsiso.langs()))
        raise ItemError(
            f"language {language!r} has no list of stop words, so that function words would be "
            f"asked for; {_REMEDY}. There are lists of {known}"
        )
    return frozenset(map(_lower, stopwordsiso.stopwords(language)))


def check(texts: Sequence[str], language: str | None) -> None:
    """Raise ItemError unless words can be told apart in a language's texts.

    Where no language is given and the letters are Latin, English is assumed, and logged where it
    does not look like it.
    """
    letters = (_script(letter) for text in texts for letter in _lower(text))
    scripts = Counter(script for script in letters if script)
    if not scripts:
        return
    named = f"language {language!r}" if language else "transcripts of no given language"
    unspaced = {script: count for script, count in scripts.items() if script in UNSPACED}
    if sum(unspaced.values()) > _MOST_UNSPACED * scripts.total():
        script = max(unspaced, key=unspaced.__getitem__)
        raise ItemError(f"{named}: script {script} puts no spaces between words; {_REMEDY}")
    script = max(scripts, key=scripts.__getitem__)
    if not language and script != "LATIN":
        remedy = "give the language of the clips (column language), whose stop words are no answers"
        raise ItemError(f"{named}, in script {script}: {remedy}")
    stop = stop_words(code(language))
    found = [word for text in texts for word in _letters(text)]
    share = sum(word in stop for word in found) / max(1, len(found))
    if not language and len(found) >= _ENOUGH and share < _FEWEST_STOP_WORDS:
        _log.warning(
            "no language is given, and only %.0f%% of the words are English stop words: if it is "
            "another language, name it (column language)",
            100 * share,
        )


@cache
def _script(character: str) -> str:
    """Return the script of a letter, the first word of its name; "" of anything else."""
    if not unicodedata.category(character).startswith("L"):
        return ""
    return unicodedata.name(character, "").partition(" ")[0]
