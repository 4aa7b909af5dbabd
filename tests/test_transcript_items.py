"""Transcripts as items: the alphabet, what is refused and by what name, what must not leak."""

import logging
import re

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from transcribed import manifest

from earshot.items import transcripts
from earshot.params import Transcripts, parse
from earshot.tables import items
from earshot.tables.items import ItemError

PARAMS = Transcripts(source="transcripts", alphabet=None, max_bad_share=0.5)
WORDS = {"fewshot": "It's a boat.", "validation": "A boat", "test": "a toast is best", "pool": None}


def clip(role: str, number: int = 0, **changes) -> dict:
    about = {"id": f"{role}-{number}", "split": role, "speaker": f"{role}-voice"}
    return about | {"text": WORDS[role]} | changes


def rows(*more: dict) -> pd.DataFrame:
    return manifest([*map(clip, WORDS), *more])


def build(table: pd.DataFrame, params: Transcripts = PARAMS) -> list[items.Item]:
    return transcripts.build(table, table["id"], params, 3)


def test_items_have_the_alphabet_and_a_normalised_transcript(tmp_path):
    built = {item.id: item for item in build(rows(clip("fewshot", 1, text="best")))}
    assert built["fewshot-0"].options == ("", "|", *"'abeiost")
    assert built["fewshot-0"].transcript == "it's a boat"
    assert built["pool-0"].transcript is None and not built["pool-0"].labelled
    assert built["test-0"].passage == "test-voice"
    items.check(list(built.values()), built)
    items.write(list(built.values()), tmp_path / "items.parquet")
    assert items.read(tmp_path / "items.parquet") == list(built.values())


def test_a_given_alphabet_is_what_is_written_in():
    params = Transcripts(source="transcripts", alphabet="eabinostzr", max_bad_share=0.5)
    built = build(rows(), params)
    assert built[0].options == ("", "|", *"abeinorstz")
    assert built[0].transcript == "its a boat"  # which has no apostrophe


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text": None}, "no transcript"),
        ({"text": "..."}, "no words in its transcript '...'"),
        ({"text": "A boat 5"}, "the alphabet cannot write 5 of its transcript 'A boat 5'"),
        ({"text": "sea"}, None),
        ({"text": "tee tee", "seconds": 0.16}, "9 symbols and blanks in 8 frames of 0.16 s"),
    ],
)
def test_what_cannot_be_used_is_named_and_left_out(caplog, changes, reason):
    more = clip("test", 1, **changes)
    with caplog.at_level(logging.WARNING):
        built = build(rows(clip("fewshot", 1, text="tee"), more))
    assert ("test-1" in {item.id for item in built}) == (reason is None)
    assert caplog.messages == ([f"clip test-1 is left out: {reason}"] if reason else [])
    strict = PARAMS.model_copy(update={"max_bad_share": 0.1})
    if reason:
        line = "1 of 5 labelled clips cannot be used, above fewshot.max_bad_share=0.1: test-1: "
        with pytest.raises(ItemError, match=f"^{line}"):
            build(rows(clip("fewshot", 1, text="tee"), more), strict)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (
            rows(clip("test", 1, split="dev")),
            "clip test-1: split 'dev' is not one of teacher, fewshot",
        ),
        (rows()[lambda table: table["split"] != "test"], "split 'test' has no clips"),
        (
            rows()[lambda table: table["split"] != "fewshot"],
            "no alphabet; write the teacher's letters",
        ),
    ],
)
def test_what_cannot_be_built_is_said(table, told):
    with pytest.raises(ItemError, match=told):
        build(table)


def test_without_labelled_clips_a_given_alphabet_will_do():
    table = rows()
    params = Transcripts(source="transcripts", alphabet="abeinost", max_bad_share=0.0)
    assert len(build(table[table["split"] != "fewshot"], params)) == 3


def test_the_report_counts_words_and_what_was_left_out():
    table = rows(clip("fewshot", 1, text="best"), clip("test", 1, text="5"))
    table["wording"] = ["seen", "seen", "unseen", "seen", "seen", "seen"]
    report = transcripts.check(build(table), table)
    assert report["items"]["test"] == {"all": 1, "unseen": 1, "words": 4}
    assert report["items"]["pool"] == {"all": 1, "seen": 1}
    assert report["symbols"] == 10 and report["left_out"] == 1
    assert report["minutes"]["fewshot"] == 0.067
    assert "minutes_by_language" not in report


def test_minutes_are_told_by_language_where_it_is_known():
    table = rows(clip("fewshot", 1, text="ABIT I", language="tr"), clip("test", 1, language="de"))
    params = PARAMS.model_copy(update={"alphabet": "abeinosıt'"})
    built = build(table, params)
    turkish = next(item for item in built if item.language == "tr")
    assert turkish.transcript == "abıt ı"
    minutes = transcripts.check(built, table)["minutes_by_language"]
    assert list(minutes) == ["de", "tr"]
    assert (minutes["tr"]["fewshot"], minutes["tr"]["test"]) == (0.033, 0.0)
    assert minutes["de"]["test"] == 0.033


@pytest.mark.parametrize(
    ("trait", "value"), [("speaker", "pool-voice"), ("text", "Bats, boats; toasts!")]
)
def test_speakers_and_sentences_do_not_leak_into_the_test(trait, value):
    table = rows(clip("fewshot", 1, text="bats boats toasts"))
    table.loc[table["split"] == "test", trait] = value
    params = PARAMS.model_copy(update={"alphabet": "abeinost'"})
    with pytest.raises(ItemError, match=rf"^leak: 1 {trait}\(s\) are in training and test"):
        transcripts.check(build(table, params), table)


@pytest.mark.parametrize("given", ["aA", "aa", "a b", "a|"])
def test_an_alphabet_of_different_small_letters_is_asked_for(given):
    with pytest.raises(ValueError, match="different characters in lower case"):
        Transcripts(source="transcripts", alphabet=given)


def test_the_examples_of_the_page_are_parameters(content):
    text = (ROOT / "docs/transcription.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.S)]
    track = content["tracks"]["transcripts"]
    for block in blocks:
        for key, row in block.pop("teachers", {}).items():
            known = content["teachers"].get(key, {"track": "transcripts"})
            content["teachers"][key] = known | row
        for name, section in block.items():
            track[name] = track[name] | section if name == "student" else section
    parsed = parse(content)
    assert parsed.teachers["transcripts"].epochs == 0
    assert parsed.tracks["transcripts"].corpus.name == "librispeech" and len(blocks) == 6
    assert parsed.teachers["languages-de"].language == "de"
    assert parsed.tracks["transcripts"].student.language == "predicted"
