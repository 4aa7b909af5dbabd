"""Hashed token ids: the same on every machine, or trained students would read nonsense."""

import unicodedata

import numpy as np
import pytest

from earshot.text import PADDING, alike, canonical, encode, encode_item, folded, pad, same, words


def test_known_ids_never_change():
    # a <a> cat <ca cat at>
    assert encode("a cat", 4096, "option") == [2615, 2504, 653, 2191, 653, 3250]
    # über <üb übe ber er>
    assert encode("Über", 4096, "question") == [3928, 3839, 3838, 2065, 3636]


def test_the_first_version_never_changes():
    # monday' as it stood between single quotes, and the bare consonant of a Hindi word
    assert encode("'monday'", 2**31, "option", 1) != encode("monday", 2**31, "option", 1)
    assert words("की −5 C++", 1) == ["क", "5", "c"]
    each = [id for word in ("the", "farmer's", "dog") for id in encode(word, 4096, "option")]
    assert encode("The farmer's dog", 4096, "option", 1) == each


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It’s the farmer's dog", ["it's", "the", "farmer's", "dog"]),
        ("'monday' ‘or’ ``tuesday''", ["monday", "or", "tuesday"]),
        ("-5 –5 −5 5 --5", ["-5", "-5", "-5", "5", "5"]),
        ("-$5, $-5; €5 5% 5‰ −3.5°C", ["-$5", "$-5", "€5", "5%", "5‰", "-3.5°c"]),
        ("3.5 5,3 .5 10:30 1/2 2-1 5.", ["3.5", "5,3", ".5", "10:30", "1/2", "2-1", "5"]),
        ("C C++ C# A+ A- x² 2^3 R&D", ["c", "c++", "c#", "a+", "a-", "x²", "2^3", "r&d"]),
        ("well-known, and/or; c-19 ...5", ["well", "known", "and", "or", "c", "19", "5"]),
        ("की हिन्दी १०.५", ["की", "हिन्दी", "१०.५"]),
        ("กิน ข้าว", ["กิน", "ข้าว"]),
        ("கிளி களி", ["கிளி", "களி"]),
        ("日本語。テスト", ["日本語", "テスト"]),
        ("col·lecció צה״ל", ["col·lecció", "צה״ל"]),
        ("Ａ１ ｶﾞ ﬁre 25℃", ["a1", "ガ", "fire", "25°c"]),
        ("İstanbul", ["istanbul"]),
        ("می‌خواهم co\u00adop", ["میخواهم", "coop"]),
        ("+ − × ÷", ["+", "×", "÷"]),
    ],
)  # fmt: skip
def test_words_keep_marks_signs_and_numbers(text, expected):
    assert words(text) == expected
    assert words(unicodedata.normalize("NFD", text)) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Café", unicodedata.normalize("NFD", "café")),
        ("the farmer’s dog", "THE FARMER'S  DOG"),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("ガギグ", "ｶﾞｷﾞｸﾞ"),
        ("STRASSE", "Straße"),
        ("ΟΔΟΣ", "οδος"),
        ("10−12", "10-12"),
        ("\ufeffa\u200bb", "a b"),
    ],
)
def test_texts_are_compared_by_one_form(one, other):
    assert folded(one) == folded(other)


def test_what_means_something_else_is_not_folded():
    for one, other in (("x²", "x2"), ("Maße", "Mase"), ("ё", "е"), ("かき", "がき"), ("−5", "5")):
        assert folded(one) != folded(other)
    assert words("Maße") != words("Masse")  # only where texts are compared are they one
    assert canonical("x² ½ ①") == "x² ½ ①"


def test_texts_that_read_alike_are_found():
    assert alike(["a b", "c", "b a", "C!", "a b a b"]) == [(0, 2, 4), (1, 3)]
    assert same(["a b", "c", "b a", "C!", "?", "？"]) == [(1, 3), (4, 5)]
    assert alike(["-5", "5"]) == [] and alike(["-5", "5"], 4096, 1) == [(0, 1)]


@pytest.mark.parametrize("buckets", [16, 17, 4096])
def test_ids_stay_within_the_buckets_and_fill_them(buckets):
    ids = {id for number in range(20_000) for id in encode(f"{number:x}", buckets, "option")}
    assert min(ids) == 1 and max(ids) == buckets - 1
    assert len(ids) > 0.9 * (buckets - 1)


def test_questions_and_options_have_spaces_of_their_own():
    text = "which words fit the passage best"
    question, option = (encode(text, 2**30, space) for space in ("question", "option"))
    assert len(question) == len(option) and not set(question) & set(option)


@pytest.mark.parametrize("text", ["", "   ", "?!"])
def test_text_without_words_is_padding(text):
    assert encode(text, 4096, "option") == [PADDING]


def test_rows_are_padded_to_the_longest():
    padded = pad([[1, 2, 3], [4], []])
    assert padded.dtype == np.int64
    np.testing.assert_array_equal(padded, [[1, 2, 3], [4, PADDING, PADDING], [PADDING] * 3])


def test_an_items_ids_have_their_shapes():
    question, options = encode_item("a cat", ["a cat", "a", ""], 4096)
    assert question.tolist() == encode("a cat", 4096, "question") and question.dtype == np.int64
    assert options.shape == (3, 6) and options.dtype == np.int64
    assert options[0].tolist() == encode("a cat", 4096, "option")
    assert (
        options[1].tolist() == [*encode("a", 4096, "option"), *[PADDING] * 4]
        and not options[2].any()
    )
