"""Hashed token ids: the same on every machine, or trained students would read nonsense."""

import numpy as np
import pytest

from earshot.text import PADDING, encode, encode_item, pad


def test_known_ids_never_change():
    # a <a> cat <ca cat at>
    assert encode("a cat", 4096, "option") == [2615, 2504, 653, 2191, 653, 3250]
    # über <üb übe ber er>
    assert encode("Über", 4096, "question") == [3928, 3839, 3838, 2065, 3636]


def test_case_spaces_and_punctuation_do_not_matter():
    assert encode("A  cat!", 4096, "option") == encode("a cat", 4096, "option")
    assert encode("Zoë's café", 4096, "option") == encode("zoë's CAFÉ.", 4096, "option")
    assert encode("cat a", 4096, "option") != encode("a cat", 4096, "option")


@pytest.mark.parametrize("buckets", [16, 17, 4096])
def test_ids_stay_within_the_buckets_and_fill_them(buckets):
    ids = {id for number in range(20_000) for id in encode(f"{number:x}", buckets, "option")}
    assert min(ids) == 1 and max(ids) == buckets - 1
    assert len(ids) > 0.9 * (buckets - 1)


def test_questions_and_options_have_spaces_of_their_own():
    text = "which words fit the passage best"
    question, option = (encode(text, 2**30, space) for space in ("question", "option"))
    assert len(question) == len(option) and not set(question) & set(option)


@pytest.mark.parametrize("text", ["日本語", "Привет", "naïve", "smörgåsbord"])
def test_other_scripts_are_read(text):
    assert PADDING not in encode(text, 4096, "option")
    assert encode(text, 4096, "option") != encode(text[:-1], 4096, "option")


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
