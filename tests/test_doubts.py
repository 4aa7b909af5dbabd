"""What evaluate says loudly: by hand, and nothing of what is merely not perfect."""

import numpy as np
import pytest
from learning import item

from earshot.evaluation.doubts import doubts, faults

RIGHT = np.array([0, 0, 1, 2])


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ([0, 0, 0, 0], ["answers 'bus' to everything"]),
        (
            [2, 2, 2, 2],
            [
                "answers 'park' to everything",
                "0.250 right, fewer than the 0.500 of always answering 'bus'",
            ],
        ),
        ([0, 0, 2, 1], []),  # half right, as the prior
        ([0, 0, 2, 2], ["never answers 'metro'"]),
        ([1, 2, 1, 0], ["0.250 right, fewer than the 0.500 of always answering 'bus'"]),
    ],
)
def test_faults_by_hand(chosen, found):
    assert faults(np.array(chosen), RIGHT, ["bus", "metro", "park"]) == found


def test_a_class_that_nothing_is_of_need_not_be_answered():
    assert faults(np.array([0, 1, 0]), np.array([0, 1, 0]), ["bus", "metro", "park"]) == []
    assert faults(np.array([0, 0]), np.array([0, 0]), ["bus", "metro"]) == []


def test_each_seed_is_named_and_options_that_differ_by_their_place():
    asked = [
        item("one", ["u"], 0, options=("in", "out")),
        item("two", ["u"], 1, options=("up", "down")),
    ]
    perfect = {"one": np.array([1, 0]), "two": np.array([0, 1])}
    constant = {"one": np.array([0.9, 0.1]), "two": np.array([0.6, 0.4])}
    models = {"hard": [perfect, constant], "kd": [perfect]}
    assert doubts(models, asked) == ["hard, seed 1: answers 'option 1' to everything"]
