"""Passages, and the questions made about them, asked of the pool, or written by hand."""

import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import python

from earshot.items import questions
from earshot.items.authored import authored
from earshot.items.passages import Passage, passages, words
from earshot.params import FewShot
from earshot.tables import items
from earshot.tables.items import ItemError

GENERATED = ("teacher", "validation", "test")
FIRST = {"teacher": "w", "pool": "v", "fewshot": "x", "validation": "y", "test": "z"}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def by_split(zipf):
    """Splits without a word in common; half the pool, and a passage of each other split, are not
    transcribed.
    """
    made = {
        split: zipf(split, 12 if split == "fewshot" else 90, first)
        for split, first in FIRST.items()
    }
    for split, told in made.items():
        silent = 45 if split == "pool" else 1
        made[split] = [replace(p, texts=None, next=None) for p in told[:silent]] + told[silent:]
    return made


@pytest.fixture(scope="module")
def built(by_split, fewshot_params):
    return questions.build(by_split.__getitem__, fewshot_params, seed=7)


@pytest.fixture(scope="module")
def heard(by_split):
    return {passage.id: passage for told in by_split.values() for passage in told}


def true_of(item, option: str, passage: Passage) -> bool:
    """Whether an option is right about a passage, by the meaning of the skills."""
    if item.skill == "detail":
        return option in words(passage.text)
    if item.skill == "main_idea":
        return len(set(option.split(", ")) & set(words(passage.text))) > 1
    return option.lower() == (passage.next or "").lower()


# passages


def table(*rows: tuple) -> pd.DataFrame:
    columns = ["id", "split", "passage", "speaker", "seconds", "text", "wording"]
    return pd.DataFrame([dict(zip(columns, row, strict=True)) for row in rows], columns=columns)


def test_words_are_content_words_in_order_each_once():
    found = words("The cat's Hat — and a HAT, in 1999 on snake_case; Été!")
    assert found == ["cat's", "hat", "snake", "case", "été"]
    assert words("It is on. No!") == []


def test_the_last_utterance_of_a_transcribed_run_is_withheld():
    rows = [
        ("a0", "test", "a", "s", 4.0, "One.", "seen"),
        ("a1", "test", "a", "s", 4.0, "Two.", "unseen"),
        ("a2", "test", "a", "s", 4.0, "Three.", "seen"),
        ("b0", "pool", "b", "t", 4.0, "Lone.", None),
        ("c0", "pool", "c", "t", 4.0, None, None),
        ("c1", "pool", "c", "t", 4.0, "Half.", None),
    ]
    kept = [*(row[0] for row in rows), "other"]
    cut = {passage.id: passage for passage in passages(table(*rows), kept, 60.0)}
    assert cut["a"] == Passage("a", "test", "s", "unseen", ("a0", "a1"), ("One.", "Two."), "Three.")
    assert cut["a"].text == "One. Two."
    assert cut["b"] == Passage("b", "pool", "t", "seen", ("b0",), ("Lone.",), None)
    assert cut["c"] == Passage("c", "pool", "t", "seen", ("c0", "c1"), None, None)
    assert cut["c"].text == "" and len(cut) == 3


def test_long_groups_are_cut_and_rejected_clips_left_out():
    rows = [(f"a{i}", "test", "a", "s", 25.0, f"Text {i}.", "seen") for i in range(6)]
    rows += [("b0", "test", "b", "s", 90.0, "Longer than allowed.", "seen")]
    cut = passages(table(*rows), ["a0", "a2", "a3", "a4", "a5", "b0"], 60.0)
    assert [(p.id, p.utterances, p.next) for p in cut] == [
        ("a/0", ("a0",), None),  # what comes next was rejected
        ("a/1", ("a2",), "Text 3."),
        ("a/2", ("a4",), "Text 5."),
        ("b", ("b0",), None),
    ]


def test_what_a_folder_lacks_is_no_neighbour():
    """LibriSpeech's ids say that the second and the sixth utterance are not there."""
    numbers = (0, 2, 3, 4, 6)
    rows = [(f"84-1-{n:04d}", "test", "84-1", "s", 4.0, f"Text {n}.", "seen") for n in numbers]
    cut = passages(table(*rows), [row[0] for row in rows], 60.0)
    assert [(p.texts, p.next) for p in cut] == [
        (("Text 0.",), None),
        (("Text 2.", "Text 3."), "Text 4."),
        (("Text 6.",), None),
    ]


def test_a_part_of_a_passage_is_followed_by_its_neighbour():
    passage = Passage(
        "a", "test", "s", "seen", ("a0", "a1", "a2"), ("Rain.", "Snow.", "Hail."), "Sun."
    )
    first = replace(passage, utterances=("a0",), texts=("Rain.",), next="Snow.")
    assert passage.part(0, 1) == first
    assert passage.part(1, 3) == replace(passage, utterances=("a1", "a2"), texts=passage.texts[1:])
    retold = replace(passage, texts=("It rains today.", "Today it rains.", "Rains!"))
    assert retold.part(0, 2).next == "Sun."  # what is left out says nothing new
    assert replace(passage, texts=None).part(0, 1).texts is None


# generated items


def test_built_items_pass_the_check_and_are_sorted(built, heard):
    items.check(built, [u for passage in heard.values() for u in passage.utterances])
    assert [item.id for item in built] == sorted(item.id for item in built)
    assert {item.role for item in built} == set(items.ROLES)


@pytest.mark.parametrize("skill", items.SKILLS)
@pytest.mark.parametrize("size", [2, 3, 5])
def test_every_option_of_a_set_is_the_answer_of_one_of_its_items(zipf, skill, size):
    made = questions.generate(
        "test", zipf("test", 120), FewShot(skills=[skill], options=size), rng()
    )
    assert len(made) > 80
    for start in range(0, len(made), size):
        group = made[start : start + size]
        shared = set(group[0].options)
        assert len(group) == len(shared) == size
        assert all(set(item.options) == shared and len(item.options) == size for item in group)
        assert {item.options[item.answer] for item in group} == shared
        assert sorted(item.answer for item in group) == list(range(size))
    counts = Counter(item.answer for item in made)
    assert len(set(counts.values())) == 1 and len(counts) == size


@pytest.mark.parametrize("role", GENERATED)
def test_answers_are_right_and_distractors_wrong(built, heard, role):
    mine = [item for item in built if item.role == role]
    assert {item.skill for item in mine} == set(items.SKILLS)
    for item in mine:
        passage = heard[item.passage]
        truth = [true_of(item, option, passage) for option in item.options]
        assert truth == [position == item.answer for position in range(3)], item
    assert len(set(Counter(item.answer for item in mine).values())) == 1


def test_items_say_what_their_passage_says(built, heard):
    for item in built:
        if item.role in GENERATED:
            told = heard[item.passage]
            expected = (told.utterances, told.wording, told.split)
            assert (item.utterances, item.wording, item.role) == expected
            assert item.question in questions.WORDINGS[item.skill]


def test_rounds_ask_again_with_other_options(told, fewshot_params):
    once = questions.generate("teacher", told("teacher"), fewshot_params, rng())
    thrice = questions.generate("teacher", told("teacher"), fewshot_params, rng(), rounds=3)
    assert len({item.id for item in thrice}) == len(thrice) > 2.5 * len(once)
    asked = Counter((item.passage, item.skill, frozenset(item.options)) for item in thrice)
    assert sum(number > 1 for number in asked.values()) < 0.1 * len(asked)


def test_distractors_match_the_answer_in_frequency_and_length(zipf):
    told = zipf("test", 400)
    params = FewShot(skills=["detail"], details_per_passage=4)
    made = questions.generate("test", told, params, rng())
    spread = Counter(word for passage in told for word in words(passage.text))
    traits = {"frequency": lambda word: np.log(spread[word]), "length": len}
    answers = [item.options[item.answer] for item in made]
    shuffled = [answers[i] for i in rng(1).permutation(len(answers))]
    share = {}
    for name, trait in traits.items():
        others = [
            abs(trait(option) - trait(answer))
            for item, answer in zip(made, answers, strict=True)
            for option in item.options
            if option != answer
        ]
        chance = [abs(trait(a) - trait(b)) for a, b in zip(answers, shuffled, strict=True)]
        share[name] = np.mean(others) / np.mean(chance)
    assert share["frequency"] < 0.2 and share["length"] < 0.5, share


def test_words_are_asked_for_where_enough_of_the_teachers_passages_have_them(by_split):
    params = FewShot(skills=["detail"], details_per_passage=9)
    shared = {split: by_split["teacher"] for split in by_split}
    spread = Counter(word for p in shared["teacher"] if p.texts for word in p.words)
    assert min(spread.values()) < 3 <= max(spread.values())

    def asked(least: int) -> set[str]:
        told = {split: [replace(p, split=split) for p in each] for split, each in shared.items()}
        made = questions.build(
            told.__getitem__, params.model_copy(update={"least_passages": least}), seed=7
        )
        return {option for item in made if item.role != "pool" for option in item.options}

    assert any(spread[word] < 3 for word in asked(1))
    assert asked(3) and all(spread[word] >= 3 for word in asked(3))


def test_any_word_may_be_asked_for_stop_words_too():
    told = ["the lamp is on the table", "a bell rang at noon", "we went home by bus"]
    few = [
        Passage(f"p{i}", "teacher", "s", "seen", (f"p{i}",), (t,), None) for i, t in enumerate(told)
    ]
    params = FewShot(skills=["detail"], details_per_passage=9, words="any")
    made = questions.generate("test", few, params, rng(), 20, questions.askable(few, params))
    said = {passage.id: passage.text.split() for passage in few}
    assert {"the", "a", "we", "by"} <= {option for item in made for option in item.options}
    for item in made:
        assert [option in said[item.passage] for option in item.options].count(True) == 1
    twice = params.model_copy(update={"least_passages": 2})
    assert all(questions.askable(few, twice)(passage) == [] for passage in few)


def test_sentences_that_come_next_are_matched_in_length(zipf):
    made = questions.generate("test", zipf("test", 300), FewShot(skills=["inference"]), rng())
    spans = [max(map(len, item.options)) - min(map(len, item.options)) for item in made]
    assert np.mean(spans) < 2 and np.std([len(item.options[0]) for item in made]) > 10


def test_passages_with_too_little_to_offer_are_left_out():
    def passage(id: str, text: str, next: str | None) -> Passage:
        return Passage(id, "test", "s", "seen", (id,), (text,), next)

    same = [passage(f"p{i}", "red green blue", "The end.") for i in range(4)]
    assert questions.generate("test", same, FewShot(), rng()) == []
    assert questions.generate("test", [passage("p", "It is on.", None)] * 3, FewShot(), rng()) == []
    three = [passage(f"p{i}", text, None) for i, text in enumerate(("lamp", "door", "bell"))]
    assert len(questions.generate("test", three, FewShot(skills=["detail"]), rng())) == 3


# what nobody may hear or read


def test_what_comes_next_is_never_heard(manifest, told, fewshot_params):
    made = questions.build(told, fewshot_params, 1)
    used = {utterance for item in made for utterance in item.utterances}
    last = manifest[manifest["split"] != "pool"].groupby("passage")["id"].last()
    assert len(last) > 300 and not used & set(last)


def test_untranscribed_passages_give_pool_items_alone(built, heard):
    silent = {passage.id for passage in heard.values() if passage.texts is None}
    about = [item for item in built if item.passage in silent]
    assert {item.role for item in about} == {"pool"} and len({item.passage for item in about}) == 45
    assert len(about) == 4 * 45


def test_the_pool_has_no_answers_and_the_teachers_options(built, fewshot_params):
    pool = [item for item in built if item.role == "pool"]
    assert len(pool) == 90 * fewshot_params.pool.questions and {item.answer for item in pool} == {
        items.UNKNOWN
    }
    offered = {
        (item.skill, option) for item in built if item.role == "teacher" for option in item.options
    }
    assert {(item.skill, option) for item in pool for option in item.options} <= offered
    elsewhere = {
        option for item in built if item.role not in ("teacher", "pool") for option in item.options
    }
    assert not elsewhere & {option for item in pool for option in item.options}
    assert {len(item.options) for item in pool} == {fewshot_params.pool.options}
    assert Counter(item.skill for item in pool) == {"detail": 180, "main_idea": 90, "inference": 90}
    own = {item.id for item in pool if item.options != tuple(sorted(item.options))}
    assert len(own) > 0.9 * len(pool)  # no order that tells anything


def test_a_corpus_without_labelled_teacher_items_is_named(by_split, fewshot_params):
    silent = [replace(p, texts=None, next=None) for p in by_split["teacher"]]
    with pytest.raises(ItemError, match="no transcribed passages in split 'teacher'"):
        questions.build((by_split | {"teacher": silent}).__getitem__, fewshot_params, 0)


@pytest.mark.parametrize("split", FIRST)
def test_a_split_that_is_not_there_is_named(by_split, fewshot_params, split):
    line = f"^split '{split}' has no recordings that can be used: the pipeline needs recordings in"
    with pytest.raises(ItemError, match=line):
        questions.build((by_split | {split: []}).__getitem__, fewshot_params, 0)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_about_which_nothing_can_be_asked_is_named(by_split, fewshot_params, split):
    silent = [replace(p, texts=None, next=None) for p in by_split[split][:4]]
    line = f"^split '{split}': no question can be made about its 4 passages, 0 of them transcribed$"
    with pytest.raises(ItemError, match=line):
        questions.build((by_split | {split: silent}).__getitem__, fewshot_params, 0)


# the ten questions


@pytest.mark.parametrize("source", ["zipf", "told"])
def test_few_shot_is_ten_questions_on_ten_passages(request, source, fewshot_params):
    make = request.getfixturevalue(source)
    told = make("fewshot", 14, sentences=9) if source == "zipf" else make("fewshot")
    by_id = {passage.id: passage for passage in told}
    made = questions.few_shot(told, fewshot_params, rng(3))
    asked = [item for item in made if item.role == "fewshot"]
    repeated = [item for item in made if item.role == "paper"]
    assert len(asked) == len({item.passage for item in asked}) == fewshot_params.questions
    assert [item.skill for item in asked] == [fewshot_params.skills[i % 3] for i in range(10)]
    assert [item.answer for item in asked] == [i % 3 for i in range(10)]
    for item in asked:
        passage = by_id[item.passage]
        share = len(item.utterances) / len(passage.utterances)
        assert item.utterances == passage.utterances[: len(item.utterances)]
        assert share == pytest.approx(
            1 - fewshot_params.paper_share, abs=0.5 / len(passage.utterances)
        )
        said = passage.part(0, len(item.utterances))
        assert true_of(item, item.options[item.answer], said)
        # wrong of the other segments too, where the question is asked again
        answered = said if item.skill == "inference" else passage
        assert [true_of(item, option, answered) for option in item.options] == [
            i == item.answer for i in range(3)
        ]
        if said.next != passage.next and item.skill == "inference":  # no neighbour of theirs
            assert said.next == passage.texts[len(said.texts)]
            assert not any(other.passage == item.passage for other in repeated)
            continue
        again = [other for other in repeated if other.passage == item.passage]
        assert [u for other in again for u in other.utterances] == list(
            passage.utterances[len(item.utterances) :]
        )
        assert all(len(other.utterances) == 1 for other in again)
        same = {(other.skill, other.question, other.options, other.answer) for other in again}
        assert same == {(item.skill, item.question, item.options, item.answer)}
    skills = {item.skill for item in repeated}
    assert skills == set(items.SKILLS) - ({"inference"} if source == "zipf" else set())


def test_the_paper_share_may_be_nothing_or_all(zipf):
    told = zipf("fewshot", 12, sentences=6)
    none = questions.few_shot(told, FewShot(paper_share=0.0), rng())
    assert {item.role for item in none} == {"fewshot"} and {
        len(item.utterances) for item in none
    } == {6}
    most = questions.few_shot(told, FewShot(paper_share=1.0), rng())
    assert {len(item.utterances) for item in most if item.role == "fewshot"} == {1}


def test_too_few_passages_are_counted(zipf, fewshot_params):
    line = "^fewshot.questions=10 must be at most the transcribed few-shot passages, 9$"
    with pytest.raises(ItemError, match=line):
        questions.few_shot(zipf("fewshot", 9), fewshot_params, rng())


def test_a_question_without_distractors_is_named(zipf):
    with pytest.raises(ItemError, match=r"few-shot passage fewshot-0: too few distractors"):
        questions.few_shot(zipf("fewshot", 1), FewShot(questions=1), rng())


# the same every time


def test_a_seed_decides_the_items(by_split, fewshot_params, built):
    assert questions.build(by_split.__getitem__, fewshot_params, seed=7) == built
    other = questions.build(by_split.__getitem__, fewshot_params, seed=8)
    for role in items.ROLES:
        first, second = ([item for item in some if item.role == role] for some in (built, other))
        assert first != second


SCRIPT = """
import hashlib
from earshot.items import questions
from earshot.items.authored import authored
from earshot.params import FewShot
from earshot.items.passages import Passage
lines = ["Anna lost a kettle", "Peter found the lamp", "Clara sold her mirror"]
lines.append("Simon painted a fence")
def told(split):
    return [
        Passage(
            f"{split}{i}", split, "s", "seen", (f"{split}{i}a", f"{split}{i}b"),
            (f"{lines[i % 4]} near harbour {letter * 4}.", f"Then station {letter * 5}."),
            f"Rain fell over {letter * 6}.",
        )
        for i, letter in enumerate("abcdefghijklmnopqrst")
    ]
built = questions.build(told, FewShot(), 3)
found = f"{len(built)} items: {hashlib.sha256(repr(built).encode()).hexdigest()}"
"""


def test_the_hash_seed_of_python_does_not_matter():
    here: dict[str, str] = {}
    exec(SCRIPT, here)
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    there = python("-c", f"{SCRIPT}print(found)", PYTHONHASHSEED=seed).stdout
    assert there.strip() == here["found"] and int(there.split()[0]) > 150


# authored items

ENTRY = {
    "id": "q1",
    "skill": "inference",
    "utterances": ["u1", "u2"],
    "question": "What will she do?",
    "options": ["leave", "stay", "sing"],
    "answer": 1,
}


FIELDS = "needs exactly the fields id, skill, question"


def without(field: str) -> dict:
    return {name: value for name, value in ENTRY.items() if name != field}


def written(tmp_path, *entries) -> list[items.Item]:
    path = tmp_path / "questions.yaml"
    path.write_text(yaml.safe_dump(list(entries)))
    return authored(path)


def test_authored_items_are_read(tmp_path):
    first, second = written(
        tmp_path, ENTRY, ENTRY | {"id": "q2", "role": "test", "options": [1, 2]}
    )
    options = ("leave", "stay", "sing")
    expected = items.Item(
        "q1", "fewshot", "inference", "u1", ("u1", "u2"), "What will she do?", options, 1
    )
    assert first == expected
    assert second == replace(expected, id="q2", role="test", options=("1", "2"))
    items.check([first, second], ["u1", "u2"])


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (without("answer"), f"item q1: {FIELDS}"),
        (ENTRY | {"hint": "no"}, f"item q1: {FIELDS}"),
        (without("id"), f"item 1: {FIELDS}"),
        ("What?", f"item 1: {FIELDS}"),
        (ENTRY | {"answer": "b"}, "item q1: answer='b' is no place of an option"),
        (ENTRY | {"answer": True}, "item q1: answer='true' is no place of an option"),
        (ENTRY | {"answer": 1.0}, "item q1: answer='1.0' is no place of an option"),
        (ENTRY | {"options": "leave"}, "item q1: options='leave' is no list"),
        (ENTRY | {"question": ["a"]}, "item q1: question=['a'] is no text"),
        (ENTRY | {"role": ["test"]}, "item q1: role=['test'] is no text"),
        (ENTRY | {"options": [{"a": "b"}, "c"]}, "item q1: options: {'a': 'b'} is no text"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named_with_its_file(tmp_path, entry, fault):
    with pytest.raises(ItemError) as raised:
        written(tmp_path, ENTRY | {"id": "q0"}, entry)
    file, line, said = str(raised.value).split(": ", 2)
    assert file == str(tmp_path / "questions.yaml") and said.startswith(fault)
    lines = (tmp_path / "questions.yaml").read_text().split("\n")
    starts = [number for number, text in enumerate(lines, 1) if text.startswith("- ")]
    assert line == f"line {starts[-1]}" and "\n" not in said


@pytest.mark.parametrize(
    "content", [b"a: [1,\n b", b"items: {}", b"", b"\x00", b"\xff\xfe\xfa", None]
)
def test_a_file_that_is_no_list_of_items_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "questions.yaml").write_bytes(content)
    with pytest.raises(ItemError, match=r"^[^\n]*questions\.yaml: [^\n]+$"):
        authored(tmp_path / "questions.yaml")


def by_hand(tmp_path, fewshot_params: FewShot, entry: dict) -> FewShot:
    """Return parameters that name a file of one authored item."""
    written(tmp_path, entry)
    named = {"source": "authored", "authored": str(tmp_path / "questions.yaml")}
    return fewshot_params.model_copy(update=named)


def test_the_pool_is_not_asked_with_options_that_name_others(tmp_path, by_split, fewshot_params):
    options = ["a lantern", "a ladder", "both A and B", "none of the above"]
    entry = ENTRY | {"skill": "detail", "role": "teacher", "options": options}
    params = by_hand(tmp_path, fewshot_params, entry)
    made = questions.build(by_split.__getitem__, params, 0)
    asked = {option for item in made if item.role == "pool" for option in item.options}
    assert asked == {"a lantern", "a ladder"}


WRITTEN = """
- id: 007
  skill: detail
  utterances: [0123, 2026-11-29]
  question: 1.50
  options: [yes, No, 7:30, 0123, 1.50, ~, null, 1_000, 0x1F, 5e-05, 2026-11-29, .inf]
  answer: 01
"""


def test_every_scalar_is_the_text_that_stands_there(tmp_path):
    (tmp_path / "questions.yaml").write_text(WRITTEN)
    (item,) = authored(tmp_path / "questions.yaml")
    options = "yes No 7:30 0123 1.50 ~ null 1_000 0x1F 5e-05 2026-11-29 .inf".split()
    expected = ("007", ("0123", "2026-11-29"), "1.50", tuple(options), 1)
    found = (item.id, item.utterances, item.question, item.options, item.answer)
    assert found == expected


def test_authored_roles_replace_generated_ones(tmp_path, by_split, fewshot_params):
    params = by_hand(tmp_path, fewshot_params, ENTRY)
    made = questions.build(by_split.__getitem__, params, 0, {"u1": "84-121123"})
    authored = [item for item in made if item.role in ("fewshot", "paper")]
    assert [(item.id, item.passage) for item in authored] == [("q1", "84-121123")]
    assert {item.role for item in made} == {"fewshot", *GENERATED, "pool"}
