"""Macro accuracy and device drop by hand, their intervals, and what is said about classifiers."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import LABELS, SEEN, UNSEEN, certain, clip, frame, manifest
from sklearn.metrics import balanced_accuracy_score

from earshot.evaluation import ask, classes, costs, devices, metrics, submission
from earshot.items.classes import build
from earshot.params import Evaluate, Labels, Limits
from earshot.tables.items import Item

GROUPS = {"a": "real", "s1": "seen", "s4": "unseen", "s5": "unseen"}


def score(predictions, answers, clusters, heard, groups=GROUPS, labels=("x", "y"), **settings):
    probabilities = certain(np.asarray(predictions), len(labels))
    rows = (np.asarray(one) for one in (answers, clusters, heard))
    test = devices.TestItems(*rows, labels, groups)
    drawn = devices.draw(probabilities, test, **{"resamples": 300} | settings)
    return devices.score(drawn, probabilities, test)


def paired_gain(a, b, answers, clusters, heard, groups, resamples=300):
    labels = [str(row) for row in range(a.shape[2])]
    test = devices.TestItems(answers, clusters, heard, labels, groups)
    return devices.paired_gain(*(devices.draw(one, test, resamples) for one in (a, b)))


def test_macro_accuracy_and_drop_by_hand():
    # device  a           s1    s4    s5
    answers = [0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1]
    chosen = [[0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0]]
    heard = ["a"] * 4 + ["s1"] * 2 + ["s4"] * 2 + ["s5"] * 3
    found = score(chosen, answers, range(11), heard)
    recalls = [4 / 7, 3 / 4]  # x: 2 of 3, 1 of 1, 0 of 1, 1 of 2; y: 1, 1, 1 of 1, 0 of 1
    assert found["accuracy"] == pytest.approx(np.mean(recalls))
    assert [found["class"][label]["accuracy"] for label in "xy"] == pytest.approx(recalls)
    of_device = {"a": (2 / 3 + 1) / 2, "s1": 1.0, "s4": 1 / 2, "s5": 1 / 4}
    for device, value in of_device.items():
        assert found["device"][device]["accuracy"] == pytest.approx(value)
    assert found["device_group"]["real"]["accuracy"] == pytest.approx(5 / 6)
    assert found["device_group"]["seen"]["accuracy"] == 1
    assert found["device_group"]["unseen"]["accuracy"] == pytest.approx(3 / 8)
    assert found["device_drop"] == pytest.approx((5 / 6 + 1) / 2 - 3 / 8)
    counts = {name: found["device"][name]["items"] for name in of_device}
    assert counts == {"a": 4, "s1": 2, "s4": 2, "s5": 3}
    counts = {name: group["items"] for name, group in found["device_group"].items()}
    assert counts == {"real": 4, "seen": 2, "unseen": 5}
    assert found["nll"] == pytest.approx(-(7 * np.log(0.8) + 4 * np.log(0.2)) / 11)
    assert (found["items"], found["seeds"], found["class"]["x"]["items"]) == (11, 1, 7)


def made_up(rng, drop=0.2, seeds=3, places=40):
    """Answers, places, devices and a model that is worse by `drop` on the unseen devices; places
    differ in difficulty.
    """
    heard = np.tile(list(GROUPS), places * 6)
    answers, clusters = rng.integers(3, size=len(heard)), np.repeat(np.arange(places), 24)
    share = 0.75 + rng.uniform(-0.15, 0.15, places)[clusters] - drop * np.isin(heard, ("s4", "s5"))
    hits = rng.random((seeds, len(heard))) < share
    return np.where(hits, answers, (answers + 1) % 3), answers, clusters, heard


def test_macro_accuracy_is_scikit_learns():
    rng = np.random.default_rng(1)
    answers = rng.choice(4, size=200, p=[0.7, 0.1, 0.1, 0.1])
    chosen = rng.integers(4, size=(3, 200))
    found = score(chosen, answers, np.arange(200), ["a"] * 200, {"a": "real"}, "wxyz")
    expected = np.mean([balanced_accuracy_score(answers, one) for one in chosen])
    assert found["accuracy"] == pytest.approx(expected)
    assert found["macro_f1"] == pytest.approx(metrics.macro_f1(certain(chosen, 4), answers))
    assert "device_drop" not in found and set(found["device_group"]) == {"real"}


def test_intervals_hold_estimates_and_depend_on_the_seed_alone():
    data = made_up(np.random.default_rng(2))
    found, again, other = (score(*data, labels="xyz", seed=seed) for seed in (1, 1, 2))
    assert found == again != other
    assert found["device_drop"] == other["device_drop"]

    def check(node):
        for key, value in node.items():
            if isinstance(value, dict):
                check(value)
            else:
                assert type(value) in (int, float) and np.isfinite(value), key
            if f"{key}_low" in node:
                assert node[f"{key}_low"] < value < node[f"{key}_high"], key

    check(found)


def test_order_of_items_changes_nothing():
    rng = np.random.default_rng(3)
    chosen, answers, clusters, heard = made_up(rng)
    order = rng.permutation(len(answers))
    before = score(chosen, answers, clusters, heard, labels="xyz")
    after = score(chosen[:, order], answers[order], clusters[order], heard[order], labels="xyz")
    drops = ("device_drop", "device_drop_low")
    for key in ("accuracy_low", *drops, "device", "class", "device_group"):
        assert before[key] == after[key]


def test_classes_of_equal_size_on_one_device_score_as_plain_accuracy_does():
    """Where draws of places keep the classes balanced, the interval is that of `metrics.score`."""
    answers, clusters = np.tile([0, 1], 60), np.repeat(np.arange(60), 2)
    chosen = np.where(np.random.default_rng(4).random((3, 120)) < 0.7, answers, 1 - answers)
    mine = score(chosen, answers, clusters, ["a"] * 120, {"a": "real"})
    plain = metrics.score(certain(chosen, 2), answers, clusters, {}, 300)
    for end in ("", "_low", "_high"):
        assert mine[f"accuracy{end}"] == pytest.approx(plain[f"accuracy{end}"])


def test_the_interval_of_the_drop_covers():
    rng, held = np.random.default_rng(5), 0
    for _ in range(150):
        found = score(*made_up(rng, seeds=1), labels="xyz", resamples=200)
        held += found["device_drop_low"] <= 0.2 <= found["device_drop_high"]
    assert 0.88 <= held / 150 <= 0.99


def test_intervals_cover_where_every_location_is_of_one_class():
    rng, held, clusters = np.random.default_rng(8), np.zeros(2), np.repeat(np.arange(30), 12)
    answers, heard = clusters // 6, np.tile(["a", "s1", "s4"], 120)
    groups = {"a": "real", "s1": "seen", "s4": "unseen"}
    for _ in range(150):
        share = 0.6 + rng.uniform(-0.3, 0.3, 30)[clusters] - 0.2 * (heard == "s4")
        chosen = np.where(rng.random((1, 360)) < share, answers, (answers + 1) % 5)
        found = score(chosen, answers, clusters, heard, groups, "vwxyz", resamples=200)
        truths = {"accuracy": 0.6 - 0.2 / 3, "device_drop": 0.2}
        for row, (name, truth) in enumerate(truths.items()):
            held[row] += found[f"{name}_low"] <= truth <= found[f"{name}_high"]
    assert (held / 150 >= 0.88).all() and (held / 150 <= 0.99).all()


def test_a_draw_without_the_unseen_devices_says_nothing_about_the_drop():
    """Of three places one has the unseen device; without it, 8 of 27 draws, there is no drop to
    take the interval of.
    """
    chosen, places, heard = [[0, 0, 0, 0, 0, 1]], [0, 0, 1, 1, 2, 2], ["a"] * 5 + ["s4"]
    found = score(chosen, np.zeros(6, int), places, heard, {"a": "real", "s4": "unseen"})
    assert (found["device_drop"], found["device_drop_low"], found["device_drop_high"]) == (1, 1, 1)
    assert set(found["class"]) == {"x"}  # of the other there is no clip


def test_paired_gains_by_hand():
    answers, heard, clusters = np.zeros(8, int), ["a"] * 4 + ["s4"] * 4, [0, 1, 2, 3] * 2
    a, b = (certain([one], 2) for one in ([0, 0, 0, 1, 0, 0, 1, 1], [0, 0, 0, 1, 0, 1, 1, 1]))
    groups = {"a": "real", "s4": "unseen"}
    gain = paired_gain(a, b, answers, np.array(clusters), np.array(heard), groups, 500)
    loss = paired_gain(b, a, answers, np.array(clusters), np.array(heard), groups, 500)
    assert gain["accuracy"] == pytest.approx(5 / 8 - 4 / 8)
    assert gain["device_drop"] == pytest.approx((3 / 4 - 2 / 4) - (3 / 4 - 1 / 4))
    # places hold 0, 1, 0, 0 more right on the unseen device: every end is a quarter times a whole
    # number
    assert gain["device_drop_low"] * 4 == pytest.approx(round(gain["device_drop_low"] * 4))
    assert gain["device_drop_high"] == 0
    for name in ("accuracy", "device_drop"):
        assert gain[f"{name}_low"] == pytest.approx(-loss[f"{name}_high"])
    for name in ("p_value", "device_drop_p_value"):
        assert gain[name] == loss[name]


def test_a_gain_over_itself_is_zero_and_a_real_one_is_found():
    rng = np.random.default_rng(6)
    chosen, answers, clusters, heard = made_up(rng)
    same = paired_gain(*[certain(chosen, 3)] * 2, answers, clusters, heard, GROUPS, 300)
    assert {value for name, value in same.items() if "p_value" not in name} == {0.0}
    assert same["p_value"] == same["device_drop_p_value"] == 1.0
    mended = np.isin(heard, ("s4", "s5")) & (rng.random(chosen.shape) < 0.6)
    repaired = certain(np.where(mended, answers, chosen))
    setting = (answers, clusters, heard, GROUPS)
    gain = paired_gain(repaired, certain(chosen), *setting, 500)
    assert gain["device_drop_high"] < 0 < gain["accuracy_low"]
    assert gain["device_drop_p_value"] < 0.01
    assert paired_gain(repaired, certain(chosen[:1]), *setting)["accuracy"] > 0
    with pytest.raises(ValueError, match="cannot pair 3 seeds with 2"):
        paired_gain(repaired, certain(chosen[:2]), *setting)


def test_bad_input_is_named():
    chosen, answers, clusters, heard = made_up(np.random.default_rng(7))
    with pytest.raises(ValueError, match="959 devices for 960 items"):
        score(chosen, answers, clusters, heard[1:], labels="xyz")
    with pytest.raises(ValueError, match="device 's5' is in none of the groups"):
        score(chosen, answers, clusters, heard, {"a": "real", "s1": "seen", "s4": "unseen"}, "xyz")


# a track's models

TABLE = manifest(segments=10, clips=1, test=8)
ITEMS = build(TABLE, TABLE["id"], Labels(source="labels", share=10), 3)
TEST = [item for item in ITEMS if item.role == "test"]
TRAINING = [item for item in ITEMS if item.role in ("fewshot", "pool")]
PARAMS = Evaluate(
    recipes=["hard", "layered"],
    gains=["layered_vs_hard", "teacher_vs_teacher_scratch"],
    resamples=200,
)


def answering(right: float, unseen: float, seeds: int) -> list[metrics.Answers]:
    """Answers of which the share `right` is right, on the unseen devices `unseen`: the same share
    of every class.
    """
    found = []
    for seed in range(seeds):
        one, number = {}, dict[tuple, int]()
        for item in TEST:
            group = (item.answer, item.id.endswith(UNSEEN))
            number[group] = number.get(group, 0) + 1
            share = unseen if group[1] else right
            hit = int(share * number[group] + seed / 9) > int(
                share * (number[group] - 1) + seed / 9
            )
            one[item.id] = certain((item.answer + (not hit)) % 4, 4)
        found.append(one)
    return found


@pytest.fixture(scope="module")
def models() -> dict[str, list[metrics.Answers]]:
    hard, layered = answering(0.5, 0.25, 3), answering(0.75, 0.75, 3)
    return {
        "teacher": answering(1, 0.75, 1),
        "teacher_scratch": answering(0.5, 0.25, 1),
        "hard": hard,
        "hard_int8": hard,
        "layered": layered,
        "layered_int8": layered,
        "layered_ptq": answering(0.5, 0.5, 3),
    }


def test_every_model_is_scored_by_class_and_device(models):
    quality = classes.quality(models, TRAINING, ITEMS, TABLE, PARAMS, 3)
    assert set(quality) == {*models, "gain"}
    for name in models:
        assert set(quality[name]["class"]) == set(LABELS)
        assert set(quality[name]["device"]) == {*SEEN, *UNSEEN}
        assert set(quality[name]["device_group"]) == {"real", "seen", "unseen"}
    assert quality["hard"]["device_drop"] == pytest.approx(0.25, abs=0.03)
    assert quality["layered"]["device_drop"] == pytest.approx(0, abs=0.03)
    assert set(quality["gain"]) == {
        *PARAMS.gains, "hard_int8_vs_hard", "layered_int8_vs_layered", "layered_int8_vs_layered_ptq"
    }  # fmt: skip
    for pair, gain in quality["gain"].items():
        a, b = pair.split("_vs_")
        for name in ("accuracy", "device_drop"):
            assert gain[name] == pytest.approx(quality[a][name] - quality[b][name])
    assert quality["gain"]["layered_vs_hard"]["device_drop_high"] < 0
    assert quality == classes.quality(models, TRAINING, ITEMS, TABLE, PARAMS, 3)


def test_a_submission_has_the_order_of_the_test_list(models, tmp_path):
    submission.write_answers(tmp_path / "answers.csv", TEST, TABLE, models["layered_int8"][0])
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert lines[0] == "filename\tscene_label\tairport\tbus\tmetro\tpark"
    rows = [line.split("\t") for line in lines[1:]]
    assert [row[0] for row in rows] == [f"{id}.wav" for id in TABLE["id"][TABLE["split"] == "test"]]
    for item, (_, label, *shares) in zip(TEST, rows, strict=True):
        values = models["layered_int8"][0][item.id]
        assert label == LABELS[int(values.argmax())]
        assert [float(share) for share in shares] == pytest.approx(values.tolist(), abs=5e-7)
        assert all(len(share) <= 8 for share in shares)


def test_answers_name_the_question_and_stand_by_place():
    """Also where all have the same options, as of yes and no, and where one has fewer."""
    given = (("q1", "Is it red?", ("yes", "no")), ("q2", "Is it blue?", ("yes", "no")))
    items = [Item(id, "test", "detail", "p", ("u1",), text, some, 0) for id, text, some in given]
    answers = {"q1": np.array([0.25, 0.75]), "q2": np.array([2 / 3, 1 / 3])}
    table = submission.answer_table(items, frame([clip("u1")]), answers)
    assert table.columns.tolist() == ["item", "question", "answer", "yes", "no"]
    assert table.values.tolist() == [
        ["q1", "Is it red?", "no", 0.25, 0.75],
        ["q2", "Is it blue?", "yes", 0.666667, 0.333333],
    ]
    items.append(replace(items[0], id="q3", options=("red", "blue", "green")))
    answers["q3"] = np.array([0.25, 0.25, 0.5])
    table = submission.answer_table(items, frame([clip("u1")]), answers)
    assert table.columns.tolist() == ["item", "question", "answer", "1", "2", "3"]
    assert table.fillna("").values.tolist()[1:] == [
        ["q2", "Is it blue?", "yes", 0.666667, 0.333333, ""],
        ["q3", "Is it red?", "green", 0.25, 0.25, 0.5],
    ]


def test_what_is_shipped_is_best_on_validation_items():
    validation = {
        "hard": {"seed-0": 0.5, "seed-1": 0.6},
        "layered": {"seed-0": 0.7, "seed-1": 0.9, "seed-2": 0.9},
    }
    assert ask.shipped(validation) == ("layered", 1)
    assert ask.shipped({"kd": {"seed-0": 0.9}} | validation) == ("kd", 0)  # of equals the first


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"parameter_bytes": 128_001}, "=128,001 is above evaluate.limits.parameter_bytes=128,000"),
        ({"macs": 30_000_001}, "=30,000,001 is above evaluate.limits.macs=30,000,000"),
    ],
)
def test_a_student_above_a_limit_is_named(figures, message):
    limits = Limits(parameter_bytes=128_000, macs=30_000_000)
    fits = {"parameter_bytes": 128_000, "macs": 30_000_000}
    cost = {"teacher": {"macs": 10**10}, "hard": {"macs": 10**8}}
    cost |= {"hard_int8": fits, "layered_int8": fits}
    costs.check_limits(cost, limits)
    above = cost | {"layered_int8": fits | figures}
    costs.check_limits(above, None)
    (name,) = figures
    with pytest.raises(costs.LimitError, match=f"^layered_int8: {name}{message}$"):
        costs.check_limits(above, limits)
    assert issubclass(costs.LimitError, ValueError)
