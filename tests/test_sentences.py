"""Sentences compared across scripts: the same is seen, what anybody may say is not."""

import unicodedata

import pytest

from earshot.text.sentences import compared

FRENCH = "Le café était fermé hier soir après la fête"
SAME = {
    "english": ("The weather is very nice today", "the weather is VERY nice — today!"),
    "chinese": ("今天天气很好我们去公园散步吧", "今天天气很好，我们去公园散步吧。"),
    "japanese": ("今日はとても良い天気ですね", "今日は、とても 良い天気ですね"),
    "hindi": ("आज मौसम बहुत अच्छा है और हम बाहर जा रहे हैं",) * 2,
    "thai": ("วันนี้อากาศดีมากเราไปเดินเล่นที่สวน", "วันนี้อากาศดีมาก เราไปเดินเล่นที่สวน"),
    "korean": ("오늘 날씨가 정말 좋아요", unicodedata.normalize("NFD", "오늘 날씨가 정말 좋아요")),
    "arabic": ("الطقس جميل جدا في الجبال اليوم", "الطقس جميل جدا، في الجبال اليوم!"),
    "accents": (FRENCH, unicodedata.normalize("NFD", FRENCH)),
    "full width": ("Room 12 is on the left", "Ｒｏｏｍ　１２ is on the left"),
    "joiners": ("विज्ञान की किताब नई है", "विज्\u200dञान की किताब नई है"),
}


@pytest.mark.parametrize("script", SAME)
def test_the_same_sentence_is_the_same(script):
    one, other = SAME[script]
    assert compared(one) == compared(other) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "…",
        "Yes!",
        "No, no, no!",
        "谢谢你",
        "没关系",
        "ありがとうございます",
        "สวัสดีครับ",
        "नमस्ते",
        "네 감사합니다",
    ],
)
def test_what_anybody_may_say_is_not_compared(text):
    assert compared(text) is None


@pytest.mark.parametrize(
    "pair",
    [
        ("मौसम बहुत अच्छा है", "मौसम बहुत अच्छी है"),  # another vowel sign
        ("今天天气很好我们走吧", "今天天气很好我们来吧"),
        ("Il a pêché trois poissons", "Il a péché trois poissons"),
        ("It costs 30 pounds today", "It costs 13 pounds today"),
    ],
)
def test_other_sentences_are_others(pair):
    assert compared(pair[0]) != compared(pair[1])
