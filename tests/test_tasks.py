"""Tasks: the same functions for each, and what they report about items."""

import inspect

import numpy as np
import pandas as pd
import pytest
import scenes
from scenes import LABELS, clip, frame

from earshot.evaluation.kinds import SCORES
from earshot.items import choice, classes, questions
from earshot.items.kinds import ITEMS
from earshot.items.passages import passages
from earshot.params import Labels
from earshot.tables.items import ItemError


def test_every_task_builds_checks_and_scores_alike():
    assert list(ITEMS) == list(SCORES)
    for table, names in ((ITEMS, ("build", "check")), (SCORES, ("device_groups", "quality"))):
        for name in names:
            signatures = {
                tuple(inspect.signature(getattr(task, name)).parameters) for task in table.values()
            }
            assert len(signatures) == 1


def build(table: pd.DataFrame):
    return classes.build(table, table["id"], Labels(source="labels", share=10), 3)


def test_scenes_are_counted_by_role_class_and_device():
    # a tenth of ten segments is one of each class
    table = scenes.manifest(segments=10, clips=2, test=3)
    report = classes.check(build(table), table)
    assert report["items"] == {
        "fewshot": {"all": 8, **dict.fromkeys(LABELS, 2)},
        "pool": {"all": 72},
        "validation": {"all": 8, **dict.fromkeys(LABELS, 2)},
        "test": {"all": 120, **dict.fromkeys(LABELS, 30)},
    }
    assert report["devices"]["test"] == dict.fromkeys(("a", "b", "s1", "s4", "s5"), 24)
    assert sum(report["devices"]["pool"].values()) == 72
    assert report["minutes"] == {"fewshot": 0.133, "pool": 1.2, "validation": 0.133, "test": 2.0}
    assert "audio_blind_accuracy" not in report


@pytest.mark.parametrize("trait", ["location", "passage", "speaker"])
def test_scenes_that_leak_are_refused(trait):
    table = scenes.manifest()
    table.loc[0, trait] = table[trait].iloc[-1]
    line = rf"^leak: 1 {trait}\(s\) are in training and test: {table[trait].iloc[-1]}$"
    with pytest.raises(ItemError, match=line):
        classes.check(build(table), table)


def test_devices_are_seen_when_a_training_clip_is_of_them():
    table = scenes.manifest()
    built = build(table)
    training, test = (
        [item for item in built if item.role in roles] for roles in (("fewshot", "pool"), ("test",))
    )
    groups = SCORES["classes"].device_groups(training, test, table)
    assert groups == {"a": "real", "b": "real", "s1": "seen", "s4": "unseen", "s5": "unseen"}
    only = [item for item in training if item.id.endswith("-a")]
    assert SCORES["classes"].device_groups(only, test, table)["b"] == "unseen"


def test_recordings_of_unknown_devices_and_places_can_be_used():
    rows = [
        clip(f"{split}-{label}", split=split, label=label)
        for split in ("pool", "validation", "test")
        for label in LABELS
    ]
    table = frame(rows)
    built = build(table)
    assert classes.check(built, table)["devices"]["test"] == {"unknown": 4}
    assert SCORES["classes"].device_groups(built, built, table) == {"unknown": "real"}
    assert {item.passage for item in built} == set(table["id"])


def test_choice_builds_questions_of_passages_and_reports_the_control(manifest, fewshot_params):
    built = choice.build(manifest, manifest["id"], fewshot_params, 1)
    cut = passages(manifest, manifest["id"], fewshot_params.passage_seconds)
    assert built == questions.build(
        lambda split: [p for p in cut if p.split == split], fewshot_params, 1
    )
    report = choice.check(built, manifest)
    assert set(report) == {"audio_blind_accuracy", "items", "minutes"}
    assert report["audio_blind_accuracy"] == pytest.approx(1 / 3, abs=0.08)
    for role in ("teacher", "pool", "fewshot", "validation", "test", "paper"):
        counts = dict(report["items"][role])
        assert counts.pop("all") == sum(counts.values()) == sum(item.role == role for item in built)
    heard = {u for item in built if item.role == "test" for u in item.utterances}
    seconds = manifest.set_index("id")["seconds"][sorted(heard)].sum()
    assert report["minutes"]["test"] == pytest.approx(np.round(seconds / 60, 3), abs=0.0011)
    assert SCORES["choice"].device_groups(built, built, manifest) == {}
