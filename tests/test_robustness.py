"""The table of robustness: gains paired with clean by hand, and the sounds of its conditions."""

import numpy as np
import pytest
from learning import item

from earshot.evaluation import robustness
from earshot.features import conditions

RATE = 16_000
ITEMS = [item(f"q{n}", [f"u{n // 2}"], answer=0) for n in range(8)]  # four passages of two


def answers(right: set[int]) -> dict[str, np.ndarray]:
    return {
        one.id: np.array([0.9, 0.1] if number in right else [0.1, 0.9])
        for number, one in enumerate(ITEMS)
    }


def test_what_a_condition_costs_is_paired_with_clean():
    clean = {"teacher": answers({0, 1, 2, 3, 4, 5}), "kd": answers({0, 1})}
    hall = {"teacher": answers({0, 1, 4}), "kd": answers({0, 1, 2})}
    table = robustness.table(clean, {"hall": hall}, ITEMS, 200, 0)
    assert (table["items"], table["passages"]) == (8, 4)
    teacher, student = table["teacher"], table["kd"]
    assert (teacher["clean"]["accuracy"], teacher["hall"]["accuracy"]) == (6 / 8, 3 / 8)
    assert teacher["hall"]["gain"]["accuracy"] == pytest.approx(-3 / 8)
    assert student["hall"]["gain"]["accuracy"] == pytest.approx(1 / 8)
    assert teacher["hall"]["gain"]["accuracy_low"] < teacher["hall"]["gain"]["accuracy_high"] <= 0


def test_passages_are_drawn_whole_and_by_the_seed():
    drawn = robustness.some(ITEMS, 2, seed=1)
    assert len(drawn) == 4 and len({one.utterances for one in drawn}) == 2
    assert robustness.some(ITEMS, 2, seed=1) == drawn
    assert robustness.some(ITEMS, None, seed=1) == ITEMS == robustness.some(ITEMS, 4, seed=1)


@pytest.mark.parametrize("name", robustness.TESTS)
def test_a_condition_is_the_same_each_time_and_stays_in_range(name):
    clip = (0.5 * np.sin(np.arange(RATE) * 0.2)).astype(np.float32)
    one, two = (robustness.TESTS[name](clip, RATE, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one, two) and np.abs(one).max() <= 1 and one.dtype == np.float32
    assert len(one) >= RATE and not np.array_equal(one[:RATE], clip)


def test_the_machine_is_as_loud_as_is_said_and_comes_in_gusts():
    """Steady noise, as training has it, has as much power in every tenth of a second."""
    clip = (0.1 * np.sin(np.arange(4 * RATE) * 0.2)).astype(np.float32)
    rng = np.random.default_rng(0)
    added = robustness.TESTS["noise_20db"](clip, RATE, rng) - clip
    assert conditions.power(clip) / conditions.power(added) == pytest.approx(100, rel=0.01)
    steady = conditions.coloured(4 * RATE, 1.0, rng)
    varies = [
        np.std([conditions.power(part) for part in np.array_split(sound, 40)])
        / conditions.power(sound)
        for sound in (added, steady)
    ]
    assert varies[0] > 2 * varies[1]
