"""Texts as transcripts: the normaliser step by step, symbols and back, edits by hand."""

import numpy as np
import pytest

from earshot.text import alphabet, edits
from earshot.text.alphabet import Word

LETTERS = alphabet.alphabet("abcdefghijklmnopqrstuvwxyz'")
SMALL = ("", "|", "a", "b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The CAFE\u0301 is o\u00adpen.", "the café is open"),  # one form, case, nothing invisible
        (
            "\u2018It\u2019s\u2019 the dogs\u2019 twenty-first\u2014now!",
            "it's the dogs twenty first now",
        ),
        ("Ｉ\u3000said:  \u201cno\u201d", "i said no"),
        ("In 1984 it cost 5% or \u20ac 3 & more", "in 1984 it cost 5% or € 3 & more"),
        ("¿Qué?¡Sí!", "qué sí"),
        ("...", ""),
    ],
)
def test_a_text_is_normalised_as_documented(text, expected):
    assert alphabet.normalised(text) == expected
    assert alphabet.normalised(expected) == expected  # and stays so


def test_an_alphabet_keeps_what_it_has_and_drops_apostrophes_that_it_has_not():
    assert alphabet.normalised("Don't re-enter", SMALL) == "dont re enter"
    assert alphabet.normalised("Don't re-enter", (*LETTERS, "-")) == "don't re-enter"
    assert alphabet.foreign("café 5%", LETTERS) == ["%", "5", "é"]
    assert alphabet.letters(["don't", "5 cafés €"]) == set("acdfnost'é")


def test_symbols_are_written_and_read_back():
    text = "aab ab"
    ids = alphabet.encode(text, SMALL)
    assert ids == [2, 2, 3, 1, 2, 3]
    assert alphabet.frames_needed(ids) == 7  # a blank between the first two
    path = [2, 0, 2, 3, 1, 2, 3]
    assert alphabet.decode(path, SMALL) == text
    with pytest.raises(ValueError, match="'acb': the alphabet has no c"):
        alphabet.encode("acb", SMALL)


def test_words_have_the_frames_of_their_symbols():
    # blank a a blank a | | blank b blank: "aa" from frame 1 to 4, "b" in frame 8
    path = [0, 2, 2, 0, 2, 1, 1, 0, 3, 0]
    assert alphabet.words(path, SMALL) == [Word("aa", 1, 5), Word("b", 8, 9)]
    assert alphabet.words([1, 0, 1], SMALL) == alphabet.words([], SMALL) == []


def test_edits_by_hand():
    said = "the old boat is here"
    assert edits.of_words(said, said) == (0, 0, 0)
    assert edits.of_words(said, "the boat is here still") == (0, 1, 1)
    assert edits.of_words(said, "the odd boat") == (1, 2, 0)
    assert edits.of_words(said, "") == (0, 5, 0)
    assert edits.of_words("a", "b a c") == (0, 0, 2)
    assert edits.of_characters("kitten", "sitting") == (2, 0, 1)


def test_an_alignment_has_all_words_and_their_edits():
    rng = np.random.default_rng(0)
    for _ in range(200):
        one, other = (" ".join(map(str, rng.integers(0, 3, rng.integers(1, 9)))) for _ in range(2))
        pairs = edits.align(one, other)
        assert [left for left, _ in pairs if left is not None] == one.split()
        assert [right for _, right in pairs if right is not None] == other.split()
        assert sum(left != right for left, right in pairs) == sum(edits.of_words(one, other))


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("de", "Große STRAẞE, süß!", "große straße süß"),
        ("tr", "ILIK İSTANBUL’da ISPARTA", "ılık istanbul'da ısparta"),
        ("az-AZ", "QIZIL I\u0307ncir", "qızıl incir"),
        (None, "ILIK İstanbul", "ilik istanbul"),
        ("el", "ΣΟΦΟΣ ΟΔΥΣΣΕΑΣ, λογοσ σ’ αγαπώ", "σοφος οδυσσεας λογος σ αγαπώ"),
        ("nl", "Ĳsland en ĳs", "ijsland en ijs"),
        ("vi", "Tiê\u0301ng Viê\u0323t", "tiếng việt"),  # a mark on a marked letter
        ("hi", "हिन्दी में, नमस्ते।", "हिन्दी में नमस्ते"),  # marks without a letter of their own stay
        # right to left, in the order in which it is said; points and direction marks go
        ("he", "\u200fשָׁלוֹם\u200f עוֹלָם!", "שלום עולם"),
        ("ar", "السَّلامُ عليـــكم؟", "السلام عليكم"),
        ("ar", "\ufedf\ufe8e", "لا"),  # presentation forms
        (None, "שָׁלוֹם", "שָׁלוֹם"),
    ],
)
def test_a_language_has_its_own_small_letters(language, text, expected):
    assert alphabet.normalised(text, language=language) == expected
    assert alphabet.normalised(expected, language=language) == expected


def test_an_alphabet_without_a_sharp_s_writes_two():
    swiss = alphabet.alphabet("aersdtu")
    assert alphabet.normalised("Straße", swiss, "de-CH") == "strasse"
    assert alphabet.normalised("Straße", (*swiss, "ß"), "de") == "straße"


def test_the_alphabet_of_several_languages_is_their_union_in_one_order():
    german, russian = set("abcäöüß"), set("абвё")
    both = alphabet.alphabet(german | russian)
    assert both == ("", "|", *"abcßäöüабвё")
    assert alphabet.alphabet(russian | german) == both
