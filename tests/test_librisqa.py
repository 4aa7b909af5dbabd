"""LibriSQA's questions: read, given their roles, shuffled."""

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from earshot.items import choice, librisqa
from earshot.params import FewShot
from earshot.tables import items
from earshot.tables.items import UNKNOWN, ItemError

SIZES = {"teacher": 60, "pool": 8, "fewshot": 12, "validation": 8, "test": 40}


def utterance(split: str, number: int) -> str:
    return f"{10 + list(SIZES).index(split)}-{number // 4}-{number:04d}"


@pytest.fixture
def manifest() -> pd.DataFrame:
    """Clips of a speaker for each split, four to a chapter."""
    rows = [(utterance(split, n), split) for split, size in SIZES.items() for n in range(size)]
    table = pd.DataFrame(rows, columns=["id", "split"])
    known = {"seconds": 6.0, "text": None, "location": None}
    return table.assign(passage=table["id"].str[:-5], speaker=table["split"], **known)


def options(id: str) -> tuple[str, ...]:
    return tuple(f"{kind} of {id}" for kind in ("cat", "dog", "cow", "hen"))


def row(id: str, answer: str = "B", layout: str = "\nA. {}\nB. {}\nC. {}\nD. {}") -> dict:
    speaker, chapter, _ = id.split("-")
    return {
        "speech_path": f"LibriSpeech/train-clean-360/{speaker}/{chapter}/{id}.flac",
        "question_and_option": f"What is heard in {id}?" + layout.format(*options(id)),
        "answer": answer,
        "answer_and_analysis": f"{answer}. For it is said.",
        "text": "UNUSED",
        "duration": 6.0,
    }


def write(folder: Path, train: list, test: list) -> FewShot:
    folder.mkdir(exist_ok=True)
    for part, rows in (("train", train), ("test", test)):
        (folder / librisqa.FILES[part]).write_text(json.dumps(rows))
    return FewShot(source="librisqa", librisqa=str(folder), options=4)


@pytest.fixture
def params(tmp_path) -> FewShot:
    of = {
        split: [row(utterance(split, n), "ABCD"[n % 3]) for n in range(size)]
        for split, size in SIZES.items()
    }
    test = of.pop("test")
    return write(tmp_path / "sqa", [row for rows in of.values() for row in rows], test)


def build(manifest: pd.DataFrame, params: FewShot, seed: int = 1) -> list[items.Item]:
    return choice.build(manifest, manifest["id"], params, seed)


def test_questions_get_the_role_of_their_clip(manifest, params, caplog):
    built = build(manifest, params)
    items.check(built, manifest["id"])
    assert Counter(item.role for item in built) == SIZES | {"fewshot": 10}
    splits = dict(zip(manifest["id"], manifest["split"], strict=True))
    passages = dict(zip(manifest["id"], manifest["passage"], strict=True))
    for item in built:
        (heard,) = item.utterances
        assert (item.role, item.passage) == (splits[heard], passages[heard])
        assert item.question == f"What is heard in {heard}?"
        assert sorted(item.options) == sorted(options(heard))
    assert {item.answer == UNKNOWN for item in built if item.role == "pool"} == {True}
    assert len({item.utterances for item in built if item.role == "fewshot"}) == 10
    assert caplog.messages == []


def test_answers_stay_right_and_their_positions_are_balanced(manifest, params):
    built = build(manifest, params)
    said = {
        utterance(split, n): ("cat", "dog", "cow")[n % 3]
        for split, size in SIZES.items()
        for n in range(size)
    }
    for role in ("teacher", "fewshot", "validation", "test"):
        mine = [item for item in built if item.role == role]
        assert all(item.options[item.answer].startswith(said[item.utterances[0]]) for item in mine)
        counts = Counter(item.answer for item in mine)
        assert len(counts) == 4 and max(counts.values()) - min(counts.values()) <= 1
    places = {item.options.index(f"hen of {item.utterances[0]}") for item in built}
    assert places == {0, 1, 2, 3}
    assert built == build(manifest, params) != build(manifest, params, seed=2)


def test_the_report_says_what_is_answered_without_listening(manifest, params):
    """The answer is never the fourth kind of animal: the control may notice; the stage goes on."""
    report = choice.check(build(manifest, params), manifest)
    assert 0 <= report["audio_blind_accuracy"] <= 1
    assert report["items"]["test"] == {"all": 40, "detail": 40}
    assert report["minutes"]["fewshot"] == 1.0 and report["items"]["paper"] == {"all": 0}


def test_questions_about_other_clips_are_counted_and_named(manifest, tmp_path, caplog):
    splits = ("teacher", "fewshot", "test")
    train = [row(utterance(split, n)) for split in splits for n in range(12)]
    train += [row("1-2-0003"), row(utterance("pool", 1)), row(utterance("validation", 0))]
    test = [row(utterance("test", 0)), row("7-8-0009"), row(utterance("pool", 0))]
    built = build(manifest, write(tmp_path / "sqa", train, test))
    counts = {"teacher": 12, "fewshot": 10, "test": 1, "pool": 1, "validation": 1}
    assert Counter(item.role for item in built) == counts
    first, second = caplog.messages
    train_splits = (
        "no clip of split fewshot, pool, teacher, validation, and left out: "
        "14-0-0000, 14-0-0001, 14-0-0002"
    )
    assert first.endswith(f"train.json: 13 of 39 questions are about {train_splits}")
    assert second.endswith(
        "test.json: 2 of 3 questions are about no clip of split test, and left out: 7-8-0009, "
        "11-0-0000"
    )


def test_rejected_clips_are_not_asked_about(manifest, params, caplog):
    kept = [id for id in manifest["id"] if id != utterance("test", 3)]
    built = choice.build(manifest, kept, params, 1)
    assert sum(item.role == "test" for item in built) == 39 and utterance("test", 3) in caplog.text


@pytest.mark.parametrize("split", SIZES)
def test_a_role_without_questions_is_named(manifest, params, split):
    manifest = manifest[manifest["split"] != split]
    with pytest.raises(ItemError, match=f"no question is about a clip of split '{split}'$"):
        build(manifest, params)


def test_too_few_fewshot_questions_are_counted(manifest, params):
    few = manifest["id"].isin([utterance("fewshot", n) for n in range(3, 12)])
    with pytest.raises(ItemError, match=r"fewshot\.questions=10 must be at most .*, 3$"):
        build(manifest[~few], params)


# a file's rows


@pytest.mark.parametrize(
    "layout",
    [
        "\nA. {}\nB. {}\nC. {}\nD. {}",
        "\n A) {} \n\n B) {}\n C) {}\n D) {}\n",
        " (A) {} (B) {} (C) {} (D) {}",
        " A. {} B. {} C. {} D. {}",
        "\nA: {}\nB: {}\nC: {}\nD: {}",
    ],
)
@pytest.mark.parametrize("answer", ["C", "C.", "(C) cow of 1-2-0003", " C "])
def test_ways_to_write_a_question(tmp_path, layout, answer):
    write(tmp_path, [row("1-2-0003", answer, layout)], [])
    (question,) = librisqa.read(tmp_path / librisqa.FILES["train"], "train")
    id, asked = "1-2-0003", "What is heard in 1-2-0003?"
    assert question == ("librisqa/train/000001", id, asked, options(id), 2)


def test_options_on_lines_may_hold_letters(tmp_path):
    asked = "Did Mr. A. see it?\nA. A. B. Smith did\nB. B. did\nC. No\nD. Nobody (D) knows"
    write(tmp_path, [row("1-2-0003") | {"question_and_option": asked}], [])
    (question,) = librisqa.read(tmp_path / librisqa.FILES["train"], "train")
    assert question.text == "Did Mr. A. see it?"
    assert question.options == ("A. B. Smith did", "B. did", "No", "Nobody (D) knows")


def test_an_object_a_line_is_read_too(tmp_path):
    path = tmp_path / "train.json"
    path.write_text("\n".join(json.dumps(row(f"1-2-000{n}")) for n in range(3)))
    found = [question.utterance for question in librisqa.read(path, "train")]
    assert found == ["1-2-0000", "1-2-0001", "1-2-0002"]


@pytest.mark.parametrize(
    ("text", "layout", "offered", "answer"),
    [
        ("Who wrote to A. Lincoln?", "A. {} B. {} C. {} D. {}", "Mr. Smith|Mary|Tom|Ann", "A"),
        ("Who came in?", "A. {} B. {} C. {} D. {}", "Mr. B. Jones|Mary|Tom|Ann", "B"),
        ("Who came in?", "A. {} B. {} C. {} D. {}", "A. B. Smith|Mary|C. Lewis|Ann", "C"),
        ("Where is Mr. D.?", "A. {} B. {} C. {} D. {}", "Rome|Paris|Washington D.C.|Bonn", "D"),
        ("Who is A. B. Clark?", "(A) {} (B) {} (C) {} (D) {}", "a man|a cat|a dog|a hen", "A"),
        # the answer's text tells two ways to read it apart
        ("Who came in?", "A. {} B. {} C. {} D. {}", "Tom B. Smith|Mary|Jim|Ann", "B. Mary"),
    ],
)
def test_initials_are_no_options(tmp_path, text, layout, offered, answer):
    some = tuple(offered.split("|"))
    asked = f"{text} {layout.format(*some)}"
    write(tmp_path, [row("1-2-0003", answer) | {"question_and_option": asked}], [])
    (question,) = librisqa.read(tmp_path / librisqa.FILES["train"], "train")
    assert question[2:] == (text, some, "ABCD".index(answer[0]))


def test_options_that_name_others_stay_where_they_are(manifest, tmp_path):
    kinds = {
        "both": ("C", "\nA. a ring\nB. a hat\nC. Both A and B\nD. None of the above"),
        "none": ("D", "\nA. a ring\nB. a hat\nC. a coat\nD. None of these"),
        "plain": ("B", "\nA. a ring\nB. a hat\nC. both hats\nD. all day"),
    }
    rows = [
        row(utterance("teacher", n), letter) | {"question_and_option": f"What of {n}?{layout}"}
        for n, (letter, layout) in enumerate([*kinds.values()] * 8)
    ]
    rows += [row(utterance(split, n)) for split in SIZES if split != "test" for n in range(12)]
    test = [row(utterance("test", n)) for n in range(12)]
    built = build(manifest, write(tmp_path / "sqa", rows, test))
    of_kind = {
        kind: [i for i in built if layout.split(". ")[-1] in i.options and "a ring" in i.options]
        for kind, (_, layout) in kinds.items()
    }
    assert {item.options for item in of_kind["both"]} == {
        ("a ring", "a hat", "Both A and B", "None of the above")
    }
    assert {item.answer for item in of_kind["both"]} == {2}
    assert {(item.options[3], item.answer) for item in of_kind["none"]} == {("None of these", 3)}
    assert all(item.options[item.answer] == "a hat" for item in of_kind["plain"])
    assert len({item.options for item in of_kind["plain"]}) > 3


FIELDS = "needs the texts speech_path, question_and_option, answer"
WORDS = "has an option without words, or one twice"
MALFORMED = {
    "field": ({"speech_path": "a.flac", "answer": "A"}, FIELDS),
    "kind": (row("1-2-0003") | {"answer": 1}, FIELDS),
    "row": ("What?", FIELDS),
    "three": (row("1-2-0003", layout="\nA. {}\nB. {}\nC. {}"), "='What .*' has no options A to D"),
    "letter": (row("1-2-0003", "E"), "answer='E' is not one of A, B, C, D"),
    "letters": (row("1-2-0003", "A and C"), "answer='A and C' is not one of A, B, C, D"),
    "text": (
        row("1-2-0003", "A. dog of 1-2-0003"),
        "answer='A. dog of 1-2-0003' has the letter of one option and the text of another",
    ),
    "ambiguous": (
        row("1-2-0003", "B", layout=" A. Tom B. Smith B. Mary C. Jim D. Ann"),
        "question_and_option='What .*' can be read in 2 ways",
    ),
    "twice": (row("1-2-0003", layout="\nA. x\nB. X\nC. y\nD. z"), WORDS),
    "wordless": (row("1-2-0003", layout="\nA. x\nB. ?\nC. y\nD. z"), WORDS),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_rows_are_named(tmp_path, caplog, fault):
    entry, message = MALFORMED[fault]
    path = tmp_path / librisqa.FILES["train"]
    write(tmp_path, [row("1-2-0004"), entry], [])
    line = rf"train\.json: row 2: .*{message}.* \(1 of 2 rows are malformed\)$"
    with pytest.raises(ItemError, match=line) as error:
        librisqa.read(path, "train")
    assert "\n" not in str(error.value)
    write(tmp_path, [row(f"1-2-{n:04d}") for n in range(199)] + [entry], [])
    assert len(librisqa.read(path, "train")) == 199
    assert "train.json: 1 malformed row(s) left out: row 200: " in caplog.text


@pytest.mark.parametrize("content", ["", "[", "{", "[]", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "train.json"
    if content is not None:
        path.write_text(content)
    line = r"train\.json: (not a readable JSON file \(.*\)|no questions)$"
    with pytest.raises(ItemError, match=line):
        librisqa.read(path, "train")


def test_parameters_that_do_not_fit():
    for settings, message in (
        ({"source": "librisqa", "options": 4}, "librisqa must name a folder exactly when"),
        ({"librisqa": "folder"}, "librisqa must name a folder exactly when"),
        ({"source": "librisqa", "librisqa": "folder"}, "options=3 must be 4"),
    ):
        with pytest.raises(ValueError, match=message):
            FewShot(**settings)
