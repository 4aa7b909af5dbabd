"""Scores against hand-computed values, and intervals against known truths."""

import math

import numpy as np
import pytest
from scenes import certain
from sklearn.metrics import f1_score

from earshot.evaluation import metrics


def simulated(rng, passages=60, each=5, seeds=3, right=0.6):
    """Answers, clusters and a model whose passages differ in difficulty."""
    items = passages * each
    answers = rng.integers(3, size=items)
    clusters = np.repeat(np.arange(passages), each)
    share = np.clip(right + rng.normal(0, 0.2, passages)[clusters], 0, 1)
    hits = rng.random((seeds, items)) < share
    return certain(np.where(hits, answers, (answers + 1) % 3)), answers, clusters


def test_scores_by_hand():
    answers = np.array([0, 0, 1, 2])
    model = certain([[0, 1, 1, 0], [0, 0, 1, 2]])
    assert metrics.accuracy(model, answers) == pytest.approx((2 / 4 + 4 / 4) / 2)
    # seed 0: F1 = 2·1/(2+1+1) = 1/2, 2·1/(2+1) = 2/3, 0; seed 1 is perfect
    assert metrics.macro_f1(model, answers) == pytest.approx(((1 / 2 + 2 / 3 + 0) / 3 + 1) / 2)
    expected = -(6 * math.log(0.8) + 2 * math.log(0.1)) / 8
    assert metrics.negative_log_likelihood(model, answers) == pytest.approx(expected)


def test_macro_f1_is_scikit_learns():
    rng = np.random.default_rng(1)
    answers = rng.integers(3, size=50)
    predictions = rng.integers(4, size=(5, 50))
    expected = np.mean(
        [f1_score(answers, one, average="macro", zero_division=0) for one in predictions]
    )
    assert metrics.macro_f1(certain(predictions, options=6), answers) == pytest.approx(expected)


def test_calibration_error_by_hand():
    # confidences 0.4 (upper end of bin 5: (5/15, 6/15]), 0.8 (of bin 11) twice, 0.9 (bin 13:
    # (13/15, 14/15])
    model = np.array([[[0.4, 0.3, 0.3], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9]]])
    answers = np.array([1, 0, 0, 2])
    confidence, right, count = metrics.calibration(model, answers)
    assert {bin: n for bin, n in enumerate(count) if n} == {5: 1, 11: 2, 13: 1}
    assert confidence[[5, 11, 13]] == pytest.approx([0.4, 0.8, 0.9])
    assert right[[5, 11, 13]].tolist() == [0, 0.5, 1]
    assert metrics.calibration_error(model, answers) == pytest.approx(
        (1 * 0.4 + 2 * 0.3 + 1 * 0.1) / 4
    )


def test_calibration_error_is_of_each_seed():
    """One seed too sure and one too unsure do not cancel."""
    answers = np.zeros(10, int)
    hits = np.arange(10) < 8
    sure, unsure = (
        certain([np.where(hits == right, 0, 1)], options=2, top=0.79) for right in (True, False)
    )
    both = np.concatenate([sure, unsure])
    single = [metrics.calibration_error(one, answers) for one in (sure, unsure)]
    assert single == pytest.approx([0.01, 0.59])
    assert metrics.calibration_error(both, answers) == pytest.approx(0.30)


def test_score_by_hand():
    answers = np.array([0, 1, 2, 0, 1, 2])
    model = certain([[0, 1, 2, 0, 0, 0]])
    skills = np.array(["detail", "detail", "detail", "main_idea", "main_idea", "inference"])
    scores = metrics.score(model, answers, np.array(list("aabbcc")), {"skill": skills}, 500, 7)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    # passages hold 2, 2, 0 right of 2: all ends are shares of 3 draws
    assert (scores["accuracy_low"], scores["accuracy_high"]) == (0, 1)
    ends = ("accuracy", "accuracy_low", "accuracy_high")
    assert scores["skill"]["detail"] == dict.fromkeys(ends, 1) | {"items": 3}
    assert scores["skill"]["main_idea"]["accuracy"] == 0.5
    assert scores["skill"]["inference"] == dict.fromkeys(ends, 0) | {"items": 1}
    assert (scores["seeds"], scores["items"]) == (1, 6)


def test_score_holds_finite_plain_numbers_and_intervals_hold_estimates():
    model, answers, clusters = simulated(np.random.default_rng(2))
    model[0, 0] = [1, 0, 0]  # ln 0 must not leak out
    answers[0] = 1
    scores = metrics.score(
        model, answers, clusters, {"wording": np.where(clusters % 4 == 0, "unseen", "seen")}, 300
    )

    def check(node):
        for key, value in node.items():
            if isinstance(value, dict):
                check(value)
            else:
                assert type(value) in (int, float) and math.isfinite(value), key
            if f"{key}_low" in node:
                assert node[f"{key}_low"] < value < node[f"{key}_high"]

    check(scores)
    assert set(scores["wording"]) == {"seen", "unseen"}


def test_order_of_items_and_names_of_passages_change_nothing():
    rng = np.random.default_rng(3)
    model, answers, clusters = simulated(rng)
    skills = np.array(["detail", "main_idea", "inference"])[np.arange(len(answers)) % 3]
    order = rng.permutation(len(answers))
    before = metrics.score(model, answers, clusters, {"skill": skills}, 300)
    after = metrics.score(
        model[:, order], answers[order], clusters[order], {"skill": skills[order]}, 300
    )
    assert before["skill"] == after["skill"]
    exact = [key for key in before if key not in ("skill", "nll", "ece")]
    assert [before[key] for key in exact] == [after[key] for key in exact]
    assert (before["nll"], before["ece"]) == pytest.approx((after["nll"], after["ece"]))
    named = np.array([f"p{cluster:03}" for cluster in clusters])
    assert metrics.score(model, answers, named, {"skill": skills}, 300) == before


def test_seeds_that_differ_widen_the_interval_and_one_seed_cannot():
    answers, clusters = np.zeros(100, int), np.arange(100)
    one = np.where(np.arange(100) < 50, 0, 1)
    steady = metrics.score(certain([one] * 4), answers, clusters, {}, 1000)
    alone = metrics.score(certain([one]), answers, clusters, {}, 1000)
    spread = [np.where(np.arange(100) < right, 0, 1) for right in (20, 40, 60, 80)]
    differing = metrics.score(certain(spread), answers, clusters, {}, 1000)
    for end in ("accuracy_low", "accuracy_high"):
        assert steady[end] == pytest.approx(alone[end])
    assert differing["accuracy"] == steady["accuracy"] == 0.5
    width, narrow = (s["accuracy_high"] - s["accuracy_low"] for s in (differing, steady))
    assert width > 1.5 * narrow


def test_one_seed_fewer_is_drawn():
    """Of four seeds, one right and three wrong, three are drawn: all right in 1/64, two or more in
    10/64.
    """
    answers, clusters = np.zeros(8, int), np.arange(8)
    scores = metrics.score(
        certain([[int(wrong)] * 8 for wrong in (0, 1, 1, 1)]), answers, clusters, {}, 4000
    )
    assert (scores["accuracy"], scores["accuracy_low"]) == (0.25, 0)
    assert scores["accuracy_high"] == pytest.approx(2 / 3)


def test_gain_over_itself_is_exactly_zero():
    model, answers, clusters = simulated(np.random.default_rng(6))
    nothing = {"accuracy": 0.0, "accuracy_low": 0.0, "accuracy_high": 0.0, "p_value": 1.0}
    assert metrics.paired_gain(model, model, answers, clusters, 300) == nothing


def test_gain_by_hand_and_its_opposite():
    answers, clusters = np.zeros(4, int), np.arange(4)
    a, b = certain([[0, 0, 0, 1], [0, 0, 1, 1]]), certain([[0, 1, 1, 1], [0, 0, 1, 1]])
    gain = metrics.paired_gain(a, b, answers, clusters, 500)
    loss = metrics.paired_gain(b, a, answers, clusters, 500)
    assert gain["accuracy"] == pytest.approx((2 / 4 + 0) / 2)
    assert gain["accuracy_low"] == pytest.approx(-loss["accuracy_high"])
    assert gain["accuracy_high"] == pytest.approx(-loss["accuracy_low"])
    assert gain["p_value"] == loss["p_value"]


def test_p_value_is_twice_the_smaller_tail():
    """Seeds gain 1, 2, -3 and 6 of ten items; three are drawn: 10 of 64 sums are below zero, 9 are
    zero, 45 above.
    """
    answers, items = np.zeros(10, int), np.arange(10)
    a, b = (
        certain([np.where(items < right, 0, 1) for right in runs])
        for runs in ([1, 2, 0, 8], [0, 0, 3, 2])
    )
    gain = metrics.paired_gain(a, b, answers, np.zeros(10), 20_000)
    assert gain["p_value"] == pytest.approx(2 * 19 / 64, abs=0.02)


def test_gain_is_paired():
    """Items that both models miss add nothing to the interval; unpaired intervals of the two would
    overlap.
    """
    answers, clusters = np.zeros(200, int), np.arange(200)
    a, b = (certain([np.where(np.arange(200) < right, 0, 1)]) for right in (110, 100))
    gain = metrics.paired_gain(a, b, answers, clusters)
    assert gain["accuracy"] == pytest.approx(0.05)
    assert 0.01 < gain["accuracy_low"] < 0.05 < gain["accuracy_high"] < 0.09
    assert gain["p_value"] < 0.01
    alone = [metrics.score(model, answers, clusters, {}) for model in (a, b)]
    assert alone[0]["accuracy_low"] < alone[1]["accuracy_high"]


def test_gain_pairs_seeds_by_index_and_spreads_a_single_one():
    answers, clusters = np.zeros(60, int), np.arange(60)
    runs = [np.where(np.arange(60) < right, 0, 1) for right in (10, 30, 50)]
    better = [np.where(np.arange(60) < right, 0, 1) for right in (16, 36, 56)]
    paired = metrics.paired_gain(certain(better), certain(runs), answers, clusters)
    crossed = metrics.paired_gain(certain(better), certain(runs[::-1]), answers, clusters)
    assert paired["accuracy"] == pytest.approx(0.1) == crossed["accuracy"]
    assert paired["accuracy_low"] > 0 > crossed["accuracy_low"]
    single = metrics.paired_gain(certain(better), certain(runs[:1]), answers, clusters)
    assert single["accuracy"] == pytest.approx((36 - 10) / 60)
    with pytest.raises(ValueError, match="cannot pair 3 seeds with 2"):
        metrics.paired_gain(certain(better), certain(runs[:2]), answers, clusters)


def coverage(rng, clustered, repeats=200, passages=80, each=8, seeds=4):
    """Share of intervals that hold the known accuracy; passages are right or wrong as a whole."""
    held, answers = 0, np.zeros(passages * each, int)
    clusters = np.repeat(np.arange(passages), each)
    for _ in range(repeats):
        right = np.repeat(rng.random(passages) < 0.7, each)
        model = certain(np.tile(np.where(right, 0, 1), (seeds, 1)))
        scores = metrics.score(
            model, answers, clusters if clustered else np.arange(answers.size), {}, 200
        )
        held += scores["accuracy_low"] <= 0.7 <= scores["accuracy_high"]
    return held / repeats


def test_intervals_cover_95_percent_and_ignoring_passages_does_not():
    assert 0.90 <= coverage(np.random.default_rng(7), clustered=True) <= 0.985
    # eight equal items count as one: the interval is √8 too narrow, P(|z| < 1.96/√8) = 51%
    assert 0.40 <= coverage(np.random.default_rng(8), clustered=False, repeats=100) <= 0.62


def test_intervals_cover_seeds_and_passages_together():
    rng, held, passages, each, seeds = np.random.default_rng(9), 0, 60, 5, 5
    answers, clusters = np.zeros(passages * each, int), np.repeat(np.arange(passages), each)
    for _ in range(200):
        # both effects are centred, and 0.7 ± 0.3 is never cut: the true accuracy is 0.7
        share = (
            0.7
            + rng.uniform(-0.25, 0.25, passages)[clusters]
            + rng.uniform(-0.05, 0.05, (seeds, 1))
        )
        model = certain(np.where(rng.random((seeds, answers.size)) < share, 0, 1))
        scores = metrics.score(model, answers, clusters, {}, 200)
        held += scores["accuracy_low"] <= 0.7 <= scores["accuracy_high"]
    assert 0.90 <= held / 200 <= 0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, a, c: (m[0], a, c), "must be"),
        (lambda m, a, c: (m[:, :0], a[:0], c[:0]), "not empty"),
        (lambda m, a, c: (m, a[:-1], c), "must be"),
        (lambda m, a, c: (m, a, c[:-1]), "clusters for 300 items"),
        (lambda m, a, c: (m * 2, a, c), "sum to 1"),
        (lambda m, a, c: (m * np.nan, a, c), "finite"),
        (lambda m, a, c: (m, a - 1, c), "answers must be 0..2, found -1..1"),
        (lambda m, a, c: (m, a + 1, c), "answers must be 0..2, found 1..3"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        metrics.score(*change(*simulated(np.random.default_rng(11))), {}, 100)


def test_a_group_of_another_length_is_named():
    model, answers, clusters = simulated(np.random.default_rng(12))
    with pytest.raises(ValueError, match="group skill has 1 values for 300 items"):
        metrics.score(model, answers, clusters, {"skill": np.array(["detail"])}, 100)
