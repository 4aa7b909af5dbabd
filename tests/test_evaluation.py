"""What is said about models, from made-up answers."""

import numpy as np
import pandas as pd
import pytest

from earshot.evaluation import choice, metrics
from earshot.params import Evaluate
from earshot.tables.items import Item

PARAMS = Evaluate(recipes=["hard", "kd"], gains=["kd_vs_hard", "kd_vs_teacher"], resamples=200)
SEED = 3


def make(role: str, number: int) -> list[Item]:
    """Items two to a passage, with balanced answers and nothing in the options that tells."""
    rng = np.random.default_rng([5, *role.encode()])
    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]
    return [
        Item(
            id=f"{role}-{i}",
            role=role,
            skill=("detail", "main_idea", "inference")[i % 3],
            passage=f"{role}-passage-{i // 2}",
            utterances=(f"{role}-{i // 2}",),
            question="Which word?",
            options=tuple(str(word) for word in rng.choice(words, 3, replace=False)),
            answer=int(rng.integers(3)),
            wording="unseen" if i // 2 % 3 == 0 else "seen",
        )
        for i in range(number)
    ]


MANIFEST = pd.DataFrame()  # who recorded a passage is not looked at
TEST, PAPER = make("test", 60), make("paper", 12)
TRAINING = make("teacher", 60) + make("fewshot", 10)


def answering(
    right: float, items: list[Item], seeds: int = 2, sure: float = 0.8
) -> list[metrics.Answers]:
    """Answers of which the first share `right` is right."""
    found: list[metrics.Answers] = []
    for _ in range(seeds):
        one = {}
        for number, item in enumerate(items):
            picked = item.answer if number < right * len(items) else (item.answer + 1) % 3
            one[item.id] = np.where(np.arange(3) == picked, sure, (1 - sure) / 2)
        found.append(one)
    return found


SHARES = {"teacher": 0.9, "hard": 0.5, "hard_int8": 0.45, "kd": 0.8, "kd_int8": 0.75}


def models(items: list[Item]) -> dict[str, list[metrics.Answers]]:
    found = {name: answering(share, items) for name, share in SHARES.items()}
    return found | {"teacher": found["teacher"][:1]}


@pytest.fixture(scope="module")
def quality() -> dict:
    return choice.quality(models(TEST + PAPER), TRAINING, TEST + PAPER, MANIFEST, PARAMS, SEED)


def numbers(content: dict) -> dict[str, float]:
    return pd.json_normalize(content).iloc[0].to_dict()


def test_every_model_and_the_control_are_scored(quality):
    assert set(quality) == {"teacher", "hard", "hard_int8", "kd", "kd_int8", "audio_blind", "gain"}
    for name in set(quality) - {"gain"}:
        scores = quality[name]
        assert scores["accuracy_low"] <= scores["accuracy"] <= scores["accuracy_high"]
        assert set(scores["skill"]) == {"detail", "main_idea", "inference"}
        assert set(scores["wording"]) == {"seen", "unseen"}
        assert {"macro_f1", "ece", "nll"} <= set(scores) and scores["items"] == 60
        assert scores["seeds"] == (1 if name in ("teacher", "audio_blind") else 2)
    assert 0.1 < quality["audio_blind"]["accuracy"] < 0.6


def test_scores_are_those_of_the_test_items_alone():
    only = choice.quality(models(TEST), TRAINING, TEST, MANIFEST, PARAMS, SEED)
    for name, share in SHARES.items():
        assert only[name]["accuracy"] == pytest.approx(share)
    assert not [path for path in numbers(only) if "paper_protocol" in path]


def test_the_papers_protocol_stands_beside_and_not_in_the_score(quality):
    # of the 72 items the first 65 are the teacher's right ones: all 60 of the test, and 5 of the
    # paper's 12
    assert quality["teacher"]["accuracy"] == 1.0
    assert quality["teacher"]["paper_protocol"]["accuracy"] == pytest.approx(5 / 12)
    for name in set(quality) - {"gain"}:
        assert quality[name]["paper_protocol"]["items"] == 12
        assert "skill" not in quality[name]["paper_protocol"]
    alone = choice.quality(models(TEST), TRAINING, TEST, MANIFEST, PARAMS, SEED)
    both = {
        name: [one | other for one, other in zip(answers, models(PAPER)[name], strict=True)]
        for name, answers in models(TEST).items()
    }
    mixed = choice.quality(both, TRAINING, TEST + PAPER, MANIFEST, PARAMS, SEED)
    beside = {path: v for path, v in numbers(mixed).items() if "paper_protocol" not in path}
    assert beside == numbers(alone)


def test_gains_are_differences_of_accuracy(quality):
    pairs = {"kd_vs_hard", "kd_vs_teacher", "hard_int8_vs_hard", "kd_int8_vs_kd"}
    assert set(quality["gain"]) == pairs
    for pair, gain in quality["gain"].items():
        a, b = pair.split("_vs_")
        assert gain["accuracy"] == pytest.approx(quality[a]["accuracy"] - quality[b]["accuracy"])
        assert gain["accuracy_low"] <= gain["accuracy"] <= gain["accuracy_high"]
    gains = {pair: gain["accuracy"] for pair, gain in quality["gain"].items()}
    assert gains["kd_vs_hard"] > 0 > gains["hard_int8_vs_hard"]


def test_a_seed_decides_the_intervals(quality):
    again = choice.quality(models(TEST + PAPER), TRAINING, TEST + PAPER, MANIFEST, PARAMS, SEED)
    assert again == quality
    other = choice.quality(models(TEST + PAPER), TRAINING, TEST + PAPER, MANIFEST, PARAMS, SEED + 1)
    assert other != quality and other["kd"]["accuracy"] == quality["kd"]["accuracy"]


def test_answers_are_stacked_by_seed_then_item_then_option():
    rows = {item.id: np.array([number, 0.5, -number]) for number, item in enumerate(TEST)}
    # the order of a dictionary does not matter
    twice = {name: row + 100 for name, row in reversed(rows.items())}
    stacked = metrics.stack([rows, twice], [TEST[4].id, TEST[0].id, TEST[9].id])
    assert stacked.shape == (2, 3, 3) and stacked.dtype == np.float64
    np.testing.assert_array_equal(stacked[0], [[4, 0.5, -4], [0, 0.5, 0], [9, 0.5, -9]])
    np.testing.assert_array_equal(stacked[1], stacked[0] + 100)
    with pytest.raises(KeyError):
        metrics.stack([rows], ["unknown"])


def test_gains_are_those_asked_for_and_those_of_int8_files():
    models = ["teacher", "hard", "hard_int8", "layered_ptq", "layered", "layered_int8"]
    given = ["layered_vs_hard", "hard_int8_vs_hard"]
    own = ["layered_int8_vs_layered", "layered_int8_vs_layered_ptq"]
    assert metrics.pairs(given, models) == given + own
