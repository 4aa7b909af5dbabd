"""What must not leak, and that it is caught when it does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from earshot.items import questions
from earshot.items.audio_blind import AudioBlind
from earshot.items.leaks import check_audio_blind, check_recordings, check_splits
from earshot.tables.items import Item, ItemError

# one clip for each role but `paper`, which is about a few-shot passage
CLIPS = {
    "teacher": ("teacher voice", "p-teacher", "Anna lost her kettle yesterday."),
    "pool": ("pool voice", "p-pool", None),
    "fewshot": ("few-shot voice", "p-fewshot", "Peter found three lanterns."),
    "validation": ("validation voice", "p-validation", "Clara painted every fence."),
    "test": ("test voice", "p-test", "Simon repaired that mirror."),
}


def clips(**changes: dict) -> pd.DataFrame:
    rows = [
        {"id": f"u-{role}", "speaker": speaker, "passage": passage, "text": text}
        | changes.get(role, {})
        for role, (speaker, passage, text) in CLIPS.items()
    ]
    return pd.DataFrame(rows)


def asked(**utterances: tuple[str, ...]) -> list[Item]:
    used = {role: (f"u-{role}",) for role in CLIPS} | {"paper": ("u-fewshot",)} | utterances
    return [
        Item(role, role, "detail", f"p-{role}", heard, "Which?", ("a", "b"), 0)
        for role, heard in used.items()
    ]


def test_splits_that_share_nothing_pass():
    check_splits(asked(), clips())
    shared = {"speaker": "one", "passage": "one", "text": "Twice the same long sentence."}
    check_splits(asked(), clips(teacher=shared, pool=shared, fewshot=shared, validation=shared))
    nothing = {"text": "Yes, of course."}  # anybody says it
    check_splits(asked(), clips(teacher=nothing, test=nothing))


@pytest.mark.parametrize("role", ["teacher", "pool", "fewshot", "validation"])
@pytest.mark.parametrize(
    ("trait", "named"),
    [("speaker", "test voice"), ("passage", "p-test"), ("text", r"Simon repaired that mirror\.")],
)
def test_a_shared_trait_is_named(role, trait, named):
    values = {"speaker": "test voice", "passage": "p-test", "text": "SIMON repaired that  mirror"}
    line = rf"^leak: 1 {trait}\(s\) are in training and test: {named}$"
    with pytest.raises(ItemError, match=line):
        check_splits(asked(), clips(**{role: {trait: values[trait]}}))


@pytest.mark.parametrize("role", ["teacher", "pool", "fewshot", "validation"])
def test_a_shared_location_is_named_and_unknown_ones_are_not_shared(role):
    places = {name: {"location": f"lyon-{name}"} for name in CLIPS}
    check_splits(asked(), clips(**places))
    check_splits(asked(), clips(**places | {"test": {"location": None}, role: {"location": None}}))
    line = r"^leak: 1 location\(s\) are in training and test: lyon-test$"
    with pytest.raises(ItemError, match=line):
        check_splits(asked(), clips(**places | {role: {"location": "lyon-test"}}))


@pytest.mark.parametrize("role", ["teacher", "pool", "fewshot", "validation"])
def test_a_shared_utterance_is_named(role):
    line = r"^leak: 1 utterance\(s\) are in training and test: u-test$"
    with pytest.raises(ItemError, match=line):
        check_splits(asked(**{role: (f"u-{role}", "u-test")}), clips())


def test_a_shared_text_is_seen_in_any_script():
    train, test = "今天天气很好，我们去公园散步吧", "今天天气很好我们去公园散步吧"
    with pytest.raises(ItemError, match=rf"^leak: 1 text\(s\) .*: {test}$"):
        check_splits(asked(), clips(pool={"text": train}, test={"text": test}))


def files(folder: Path, test: bytes) -> pd.DataFrame:
    """Clips as files of equal size; those of training have the same bytes, but for the last."""
    for role in CLIPS:
        (folder / f"{role}.wav").write_bytes(b"RIFF" * 4000 + role[0].encode())
    (folder / "test.wav").write_bytes(test)
    return clips(**{role: {"path": str(folder / f"{role}.wav")} for role in CLIPS})


def test_one_file_under_two_ids_is_named(tmp_path):
    check_splits(asked(), files(tmp_path, b"RIFF" * 4000 + b"x"))
    line = r"^leak: 1 recording\(s\) are in training and test: u-test = u-{}$"
    with pytest.raises(ItemError, match=line.format("pool")):
        check_splits(asked(), files(tmp_path, b"RIFF" * 4000 + b"p"))
    absent = {"path": "same.wav"}  # cannot be looked into
    with pytest.raises(ItemError, match=line.format("teacher")):
        check_splits(asked(), clips(teacher=absent, test=absent))


def test_one_recording_in_two_files_is_named():
    frames = {role: np.full((5, 3), n, np.float16) for n, role in enumerate(CLIPS)}
    mel = {(f"u-{role}", 0): one for role, one in frames.items()}
    check_recordings(asked(), mel)
    with pytest.raises(ItemError, match=r"^leak: 1 recording\(s\) .*: u-test = u-validation$"):
        check_recordings(asked(), mel | {("u-test", 0): frames["validation"].copy()})


def test_the_first_of_many_are_named():
    many = pd.DataFrame(
        [
            {"id": f"{side}{i}", "speaker": f"s{i}", "passage": f"{side}p{i}", "text": None}
            for side in "ab"
            for i in range(9)
        ]
    )
    both = asked(teacher=tuple(f"a{i}" for i in range(9)), test=tuple(f"b{i}" for i in range(9)))
    line = r"^leak: 9 speaker\(s\) are in training and test: s0, s1, s2$"
    with pytest.raises(ItemError, match=line):
        check_splits([item for item in both if item.role in ("teacher", "test")], many)


# answers without listening


@pytest.fixture(scope="module")
def built(told, fewshot_params) -> list[Item]:
    """Labelled items of the embedded corpus."""
    rng = np.random.default_rng(2)
    return [
        item
        for role in ("teacher", "test")
        for item in questions.generate(role, told(role), fewshot_params, rng)
    ]


def letters(rng: np.random.Generator, number: int) -> str:
    return "".join("abcdefghijklmnopqrstuvwxyz"[i] for i in rng.integers(26, size=number))


def longest(item: Item, rng: np.random.Generator) -> Item:
    """Give options that differ in nothing but length: the right one is the longest."""
    options = tuple(
        letters(rng, 24 if place == item.answer else 12) for place in range(len(item.options))
    )
    return replace(item, options=options)


def marked(item: Item, rng: np.random.Generator) -> Item:
    """Put a word into the right option."""
    options = tuple(
        f"{o} indeed" if place == item.answer else f"{o} maybe"
        for place, o in enumerate(item.options)
    )
    return replace(item, options=options)


def first(item: Item, rng: np.random.Generator) -> Item:
    """Move the right option to the front."""
    right = item.options[item.answer]
    return replace(item, options=(right, *(o for o in item.options if o != right)), answer=0)


def accuracy(items: list[Item]) -> float:
    test = [item for item in items if item.role == "test"]
    answers = AudioBlind([item for item in items if item.role == "teacher"]).predict(test)
    return float(np.mean([answers[item.id].argmax() == item.answer for item in test]))


def test_the_control_gives_probabilities_for_each_item(built):
    test = [item for item in built if item.role == "test"]
    answers = AudioBlind([item for item in built if item.role == "teacher"]).predict(test)
    assert list(answers) == [item.id for item in test]
    for item in test:
        assert answers[item.id].shape == (3,) and answers[item.id].min() > 0
        assert answers[item.id].sum() == pytest.approx(1)


def test_the_control_takes_items_with_unequal_numbers_of_options(built):
    two = replace(built[0], id="two", options=("a", "b"), answer=0)
    answers = AudioBlind([*built, two]).predict([built[1], two])
    assert [len(answer) for answer in answers.values()] == [3, 2]


def test_without_audio_generated_items_are_guessed(built):
    share = check_audio_blind(built)
    assert share == accuracy(built) == pytest.approx(1 / 3, abs=0.06)
    assert check_audio_blind(built) == share


@pytest.mark.parametrize("plant", [longest, marked, first])
def test_a_planted_leak_is_caught(built, plant):
    rng = np.random.default_rng(0)
    leaking = [plant(item, rng) for item in built]
    assert accuracy(leaking) > 0.9
    number = sum(item.role == "test" for item in built)
    line = rf"^leak: without audio \d+ of {number} test items are answered right; chance is 33%$"
    with pytest.raises(ItemError, match=line):
        check_audio_blind(leaking)


def test_a_leak_in_some_items_is_caught(built):
    rng = np.random.default_rng(0)
    with pytest.raises(ItemError, match="leak: without audio"):
        check_audio_blind(
            [longest(item, rng) if number % 3 == 0 else item for number, item in enumerate(built)]
        )
