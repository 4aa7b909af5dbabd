"""Questions from transcripts of any language, or a refusal that says why and what to do."""

import logging

import numpy as np
import pytest

from earshot.items import languages, questions
from earshot.items.languages import words
from earshot.items.passages import Passage
from earshot.params import FewShot
from earshot.tables.items import ItemError

SPOKEN = {
    "de": ["Der Hund lief über die Straße", "Die Frau hat den Zug", "Das ist eine alte Mühle"],
    "hi-IN": ["आज मौसम बहुत अच्छा है", "वह कल दिल्ली गया था", "मेरी किताब मेज पर रखी है"],
    "fr": ["L’homme qu'il a vu", "Les enfants dans le jardin", "La maison est grande"],
    "ru": ["Сегодня очень хорошая погода", "Он вчера уехал в Москву", "Дети играют во дворе"],
    "ar": ["هذا الكتاب على الطاولة", "ذهب الولد إلى المدرسة", "السماء زرقاء في الصيف"],
}
CONTENT = {
    "de": {"hund", "lief", "straße", "frau", "zug", "alte", "mühle"},
    "hi-IN": {"आज", "मौसम", "अच्छा", "कल", "दिल्ली", "मेरी", "किताब", "मेज", "रखी"},
    "fr": {"homme", "enfants", "jardin", "maison", "grande"},
    "ru": {"хорошая", "погода", "вчера", "уехал", "москву", "дети", "играют", "дворе"},
    "ar": {"الكتاب", "الطاولة", "ذهب", "الولد", "المدرسة", "السماء", "زرقاء", "الصيف"},
}
UNSPACED = {
    "zh-CN": ("今天天气很好，我们去公园散步吧。", "CJK"),
    "ja": ("きょうはとてもいい天気です。", "HIRAGANA"),
    "th": ("วันนี้อากาศดีมาก", "THAI"),
    "lo": ("ມື້ນີ້ອາກາດດີຫຼາຍ", "LAO"),
    "km": ("ថ្ងៃនេះអាកាសធាតុល្អ", "KHMER"),
    "my": ("ဒီနေ့ရာသီဥတုကောင်းတယ်", "MYANMAR"),
    None: ("他昨天坐火车去了北京。", "CJK"),
}


def told(language: str | None, *texts: str) -> list[Passage]:
    return [
        Passage(f"p{place}", "teacher", "s", "seen", (f"u{place}",), (text,), None, language)
        for place, text in enumerate(texts)
    ]


def ask(passages: list[Passage], *skills: str):
    params = FewShot(skills=list(skills or ["detail"]))
    return questions.generate("teacher", passages, params, np.random.default_rng(3))


@pytest.mark.parametrize("language", SPOKEN)
def test_no_function_word_is_an_answer(language):
    found = {word for text in SPOKEN[language] for word in words(text, language)}
    assert found == CONTENT[language]
    made = ask(told(language, *SPOKEN[language]))
    assert len(made) >= 3
    assert {option for item in made for option in item.options} <= CONTENT[language]


@pytest.mark.parametrize("language", UNSPACED)
def test_a_script_without_spaces_is_refused_by_name(language):
    text, script = UNSPACED[language]
    with pytest.raises(ItemError, match=rf"script {script} puts no spaces.*source: authored"):
        ask(told(language, text, text))
    assert ask(told(language, text), "inference") == []  # asks for no words
    with pytest.raises(ItemError, match=rf"script {script}"):
        questions.few_shot(told(language, text), FewShot(questions=1), np.random.default_rng(0))


def test_some_names_in_another_script_do_no_harm():
    text = "The old teacher wrote the name 北京 on the blackboard this morning"
    languages.check([text], "en")
    assert "blackboard" in words(text) and "北京" not in words(text)


def test_a_language_without_a_list_is_refused_by_name():
    for language in ("ta", "english"):
        with pytest.raises(ItemError, match=rf"'{language}' has no list of .*lists of af, ar, bg"):
            ask(told(language, "இன்று வானிலை நன்றாக உள்ளது"))


def test_a_language_that_is_not_given_is_asked_for():
    with pytest.raises(ItemError, match=r"script DEVANAGARI: give the language .*column language"):
        ask(told(None, *SPOKEN["hi-IN"]))


@pytest.mark.parametrize(("language", "number"), [(None, 1), ("de", 0)])
def test_other_words_than_english_are_logged_where_no_language_is_given(language, number, caplog):
    caplog.set_level(logging.WARNING)
    languages.check(SPOKEN["de"] * 20, language)
    assert len(caplog.records) == number
    languages.check(["It was on the table and he had not been there"] * 30, None)
    assert len(caplog.records) == number


def test_options_are_of_one_language():
    passages = [*told("de", *SPOKEN["de"]), *told("fr", *SPOKEN["fr"])]
    for item in ask(passages):
        assert set(item.options) <= CONTENT["de"] or set(item.options) <= CONTENT["fr"]


def test_transcripts_of_which_nothing_can_be_asked_are_not_called_absent(tmp_path):
    written = "[{id: q, skill: detail, utterances: [u], question: Q, options: [a, b], answer: 0}]"
    (tmp_path / "few.yaml").write_text(written)
    params = FewShot(skills=["detail"], source="authored", authored=str(tmp_path / "few.yaml"))
    spoken = told("en", "It is on.", "He was not.")
    with pytest.raises(ItemError, match="in the 2 transcribed passages of split 'teacher'"):
        questions.build(lambda split: spoken, params, 1)
