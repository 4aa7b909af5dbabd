"""Items: one schema, and a name for every fault."""

from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earshot.tables import items
from earshot.tables.items import CLASS_SKILL, SCHEMA, SKILLS, Item, ItemError, check, check_options

GOOD = Item(
    "i1", "test", "detail", "p", ("u1", "u2"), "Which word?", ("red", "blue", "green"), 2, "unseen"
)
POOL = Item("i2", "pool", "inference", "q", ("u3",), "What next?", ("Yes.", "No."), items.UNKNOWN)
KNOWN = ("u1", "u2", "u3")


def test_items_come_back_as_written_by_role_and_in_order(tmp_path):
    written = [POOL, GOOD, replace(GOOD, id="i3", role="paper"), replace(GOOD, id="i0")]
    items.write(written, tmp_path / "items.parquet")
    assert items.read(tmp_path / "items.parquet") == written
    assert [item.id for item in items.read(tmp_path / "items.parquet", "test")] == ["i1", "i0"]
    assert [item.id for item in items.read(tmp_path / "items.parquet", "paper", "pool")] == [
        "i2",
        "i3",
    ]
    assert items.read(tmp_path / "items.parquet", "validation") == []
    assert pq.read_schema(tmp_path / "items.parquet").equals(SCHEMA)
    assert len(list(tmp_path.iterdir())) == 1


def test_another_table_is_refused_by_name(tmp_path):
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ItemError, match=r"other\.parquet: not a table of items"):
        items.read(tmp_path / "other.parquet")


def test_good_items_pass():
    check([GOOD, POOL, replace(POOL, id="i3", answer=1), replace(GOOD, id="i4", answer=0)], KNOWN)


def test_a_scene_is_not_asked_about():
    scene = replace(GOOD, id="i5", skill="scene", question="", passage="lyon-1")
    scenes = [scene, replace(scene, id="i6", role="pool", answer=items.UNKNOWN)]
    check(scenes, KNOWN)
    check_options(scenes, (CLASS_SKILL,))
    with pytest.raises(ItemError, match="^item i6: not labelled$"):
        check([scene, replace(scene, id="i6", role="fewshot", answer=items.UNKNOWN)], KNOWN)


def test_minutes_count_every_clip_of_a_role_once():
    manifest = pd.DataFrame({"id": list(KNOWN), "seconds": [30.0, 12.0, 6.0]})
    asked = [GOOD, replace(GOOD, id="i3", utterances=("u2",)), POOL]
    found = items.minutes(asked, manifest, ("test", "pool", "paper"))
    assert found == {"test": 0.7, "pool": 0.1, "paper": 0.0}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"id": "i2"}, "duplicate id"),
        (
            {"role": "exam"},
            "role 'exam' is not one of teacher, pool, fewshot, validation, test, paper",
        ),
        ({"skill": "guess"}, "skill 'guess' is not one of detail, main_idea, inference"),
        ({"utterances": ()}, "no utterances"),
        ({"utterances": ("u1", "u8", "u9")}, "missing utterance u8, u9"),
        ({"question": " "}, "no question"),
        ({"options": ("red",), "answer": 0}, "fewer than two options"),
        ({"options": (), "answer": 0}, "fewer than two options"),
        ({"options": ("red", "  ", "green")}, "an option without words"),
        ({"options": ("red", "blue", "?!")}, "an option without words"),
        ({"options": ("red", "blue", "Red ")}, "duplicate option: 'red' and 'Red '"),
        ({"options": ("a", "Ａ", "b")}, "duplicate option: 'a' and 'Ａ'"),
        (
            {"options": ("from here to there", "by ship", "from there to here")},
            "options that read alike to a model, 'from here to there' and 'from there to here'; "
            "word one otherwise",
        ),
        (
            {"options": ("ha", "ha ha", "oh")},
            "options that read alike to a model, 'ha' and 'ha ha'; word one otherwise",
        ),
        ({"answer": 3}, "answer 3 is out of range 0–2"),
        ({"answer": -1}, "not labelled"),
        ({"role": "pool", "answer": -2}, "answer -2 is out of range 0–2"),
    ],
)
def test_a_fault_is_named_with_its_item(changes, fault):
    bad = replace(GOOD, **changes)
    with pytest.raises(ItemError) as raised:
        check([POOL, bad], KNOWN)
        check_options([POOL, bad], SKILLS)
    assert str(raised.value) == f"item {bad.id}: {fault}"


def test_a_transcript_is_a_label_and_needs_no_options(tmp_path):
    spoken = Item("i7", "fewshot", "transcript", "p", ("u1",), transcript="two lamps")
    unknown = replace(spoken, id="i8", role="pool", transcript=None)
    check([spoken, unknown], KNOWN)
    assert spoken.labelled and not unknown.labelled
    items.write([spoken, unknown], tmp_path / "items.parquet")
    assert items.read(tmp_path / "items.parquet") == [spoken, unknown]


@pytest.mark.parametrize("options", ["-5 5 15", "C C++ C#", "की का के", "3.5 5.3 35"])
def test_what_signs_and_marks_tell_apart_is_no_duplicate(options):
    asked = replace(GOOD, options=tuple(options.split()))
    check_options([asked], SKILLS)
    check_options([replace(asked, skill=CLASS_SKILL)], (CLASS_SKILL,))


def test_a_question_whose_answer_is_unknown_may_have_options_that_read_alike():
    options = ("one, two", "two, one", "six")
    check_options([replace(POOL, options=options)], SKILLS)
    check_options([replace(GOOD, options=options, skill=CLASS_SKILL)], (CLASS_SKILL,))
