"""Scores of recognisers of several languages, by hand: means, parts, who answered, which one."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from transcribed import SYMBOLS, spoken

from earshot.evaluation import costs, transcripts
from earshot.evaluation.languages import identification
from earshot.params import Evaluate
from earshot.tables import answers as answer_table
from earshot.tables.answers import language_of
from earshot.text import alphabet

TEXTS = {"de": ["a b", "ab ba a ab"], "ru": ["ba", "bb"]}
TEST = [
    replace(spoken("test", 2 * place + number, text), language=language)
    for place, (language, texts) in enumerate(TEXTS.items())
    for number, text in enumerate(texts)
]
MANIFEST = pd.DataFrame({"id": [item.id for item in TEST], "seconds": [1.0, 2.0, 3.0, 4.0]})
GAINS = ["kd_vs_teacher", "kd_vs_teacher_de"]
PARAMS = Evaluate(recipes=["kd"], gains=GAINS, resamples=100)


def answers(*texts: str) -> dict[str, np.ndarray]:
    paths = [alphabet.path(alphabet.encode(text, SYMBOLS)) or [0] for text in texts]
    return {item.id: np.array(path) for item, path in zip(TEST, paths, strict=False)}


def test_rates_are_the_mean_over_languages_and_gains_are_of_clips_that_both_answered():
    right = answers("a b", "ab ba a ab", "ba", "bb")
    kd = answers("a b", "ab ba a a", "b", "bb")  # one word of six wrong, and one of two
    models = {"teacher": [right], "teacher_de": [answers("a a", "ab ba a ab")], "kd": [kd, kd]}
    quality = transcripts.quality(models, [], TEST, MANIFEST, PARAMS, 0)
    scores = quality["kd"]
    assert scores["wer"] == pytest.approx((1 / 6 + 1 / 2) / 2)  # of all words: 2 of 8
    assert scores["substitutions"] == scores["wer"] and scores["words"] == 8
    assert scores["wer_low"] <= scores["wer"] <= scores["wer_high"]
    assert {one: part["wer"] for one, part in scores["languages"].items()} == {
        "de": pytest.approx(1 / 6),
        "ru": pytest.approx(1 / 2),
    }
    alone = quality["teacher_de"]
    assert alone["items"] == 2 and alone["wer"] == alone["languages"]["de"]["wer"] == 1 / 6
    gain = quality["gain"]["kd_vs_teacher"]
    assert gain["wer"] == scores["wer"] and gain["languages"]["ru"]["wer"] == 1 / 2
    assert quality["gain"]["kd_vs_teacher_de"]["wer"] == 0
    assert set(quality["gain"]["kd_vs_teacher_de"]["languages"]) == {"de"}
    wrong = PARAMS.model_copy(update={"gains": ["ru_vs_de"]})
    models = {"kd": [kd], "de": [answers("a b")], "ru": [{TEST[3].id: kd[TEST[3].id]}]}
    with pytest.raises(ValueError, match="gains: ru_vs_de: no test clip was answered by both"):
        transcripts.quality(models, [], TEST, MANIFEST, wrong, 0)


def test_clips_are_exchanged_within_a_language():
    assert transcripts.exchanged(TEST) == [1, 0, 3, 2]


def test_how_often_the_language_is_right_by_hand():
    def named(*tags: str) -> dict[str, np.ndarray]:
        ids = [language_of(item.id) for item in TEST]
        return {id: np.array(tag) for id, tag in zip(ids, tags, strict=True)}

    seeds = [named("ru", "de", "ru", "ru"), named("ru", "de", "ru", "de")]
    found = identification(seeds, TEST, MANIFEST, 100, 0)["identification"]
    assert (found["accuracy"], found["items"]) == (5 / 8, 4)
    long = found["from_2_s"]
    assert long["accuracy"] == pytest.approx(5 / 6) and long["items"] == 3
    assert found["confusion"] == {"de": {"de": 0.5, "ru": 0.5}, "ru": {"de": 0.25, "ru": 0.75}}
    assert identification([{}], TEST, MANIFEST, 100, 0) == {}


def test_a_table_of_answers_has_those_that_were_given(tmp_path):
    texts = {"teacher_de": [{TEST[0].id: "a b"}], "kd": [{item.id: "" for item in TEST}]}
    answer_table.write_texts(tmp_path / "answers.parquet", TEST, texts)
    table = answer_table.read(tmp_path / "answers.parquet")
    assert table.groupby("model")["item"].count().to_dict() == {"kd": 4, "teacher_de": 1}


def test_teachers_cost_what_all_of_them_do_and_a_clip_the_slowest():
    some = [{"parameters": 2, "bytes": 8, "macs": 5}, {"parameters": 3, "bytes": 12, "macs": 4}]
    times = [{"latency_median_ms": 1.0}, {"latency_median_ms": 2.0}]
    together = ({"parameters": 5, "bytes": 20, "macs": 5}, {"latency_median_ms": 2.0})
    assert costs.together(some, times) == together
