"""A little of the drill for sounds, students and teachers; `make drill` goes on for longer."""

import pytest
from drill import sounds


def test_good_files_are_used(tmp_path):
    found = [(case, sounds.check(case, tmp_path)) for case in sounds.cases(1, len(sounds.seeds()))]
    assert [case.name for case, outcome in found if outcome.state != "used"] == []


@pytest.mark.slow
def test_changed_files_are_used_rightly_or_refused_by_name(tmp_path):
    outcomes = {case.name: sounds.check(case, tmp_path) for case in sounds.cases(1, 120)}
    faults = {name: text for name, (state, text) in outcomes.items() if state == "fault"}
    assert faults == {}
    assert sum(outcome.state == "refused" for outcome in outcomes.values()) > 30
