"""The search: where it looks, what it prunes, how it continues after a kill, and how its best is applied."""

import json
import signal

import optuna
import pytest
import yaml
from test_sweep import state, training, until
from toy import RECIPE, TEMPERATURE, TRACK, Toy, make

from earshot.experiments import search
from earshot.params import Range

LINES = "timestamp\tstep\tvalidation\n0\t1\t0.5\n0\t2\t0.75\n"


def test_whole_numbers_stay_whole_and_choices_are_choices():
    assert search.distribution(Range(low=1, high=8)) == optuna.distributions.IntDistribution(1, 8)
    found = search.distribution(Range(low=1.0, high=8.0, log=True))
    assert found == optuna.distributions.FloatDistribution(1.0, 8.0, log=True)
    assert search.distribution(Range(choices=[64, None])) == optuna.distributions.CategoricalDistribution([64, None])


def test_the_live_curve_is_the_mean_of_the_seeds_that_train_side_by_side(tmp_path):
    def table(seed: int, text: str) -> None:
        file = tmp_path / f"seed-{seed}/plots/metrics/validation.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    assert search.curve(tmp_path, 2) == []
    table(0, LINES)
    assert search.curve(tmp_path, 2) == [] and search.curve(tmp_path, 1) == [0.5, 0.75]
    table(1, LINES.replace("0.5", "0.25") + "0\t3\t0.9")  # the third line is being written
    assert search.curve(tmp_path, 2) == [0.375, 0.75]
    table(2, "")
    assert search.curve(tmp_path, 2) == [0.375, 0.75] and search.curve(tmp_path, 3) == []


def test_a_journal_that_a_kill_cut_short_is_mended(tmp_path):
    journal = tmp_path / search.JOURNAL
    search._mend(journal)
    assert not journal.exists()
    journal.write_text('{"a": 1}\n{"b"')
    (tmp_path / f"{search.JOURNAL}.lock").touch()
    search._mend(journal)
    assert journal.read_text() == '{"a": 1}\n' and [path.name for path in tmp_path.iterdir()] == [search.JOURNAL]


def test_changes_of_parameters_are_told_key_by_key():
    before = {"a": {"b": 1, "c": [1]}, "d": None}
    assert search.changes(before, {"a": {"b": 2.5, "c": [1]}, "e": True}) == ["a.b: 1 → 2.5", "e: null → true"]
    assert search.changes(before, before) == []


# the command, in a toy repository


@pytest.fixture
def toy(tmp_path) -> Toy:
    made = make(tmp_path)
    made.section("search", {"recipe": RECIPE, "trials": 6, "ranges": {TEMPERATURE: {"low": 1.0, "high": 64.0, "log": True}}})
    made.commit("search")
    return made


@pytest.mark.slow
def test_a_search_prunes_continues_after_a_kill_and_applies_its_best(toy):
    before = state(toy)
    assert "no finished trial of this search" in toy.earshot("search", "--apply", code=2)
    command = toy.begin("search", "--workers", "1", TOY_SECONDS="60")
    until(lambda: training(toy))
    (killed,) = toy.clones()
    overridden = yaml.safe_load((killed / "params.yaml").read_text())
    command.send_signal(signal.SIGKILL)
    command.wait()
    until(lambda: toy.processes() == [])

    printed = toy.earshot("search", "--workers", "1", TOY_SECONDS="3")
    assert "run again, as they were killed: 0" in printed and f"removed what a killed command left: {killed.name}" in printed
    assert state(toy) == before and toy.clones() == [] and toy.processes() == []
    stored = json.loads((toy.root / "experiments/search/results.json").read_text())["experiments"]
    states = [one["state"] for one in stored]
    assert len(stored) == 6 and states.count("done") >= 3 and "pruned" in states
    kd = overridden["recipes"][RECIPE]["terms"]["kd"]
    assert kd["temperature"] in [one[TEMPERATURE] for one in stored]  # the killed one's, run again
    assert toy.experiments() == sorted(one["experiment"] for one in stored if one["state"] == "done")
    assert (toy.root / "experiments/search/accuracy.png").exists()

    printed = toy.earshot("search")
    assert "6 of 6 trials are there already" in printed and len(toy.experiments()) == states.count("done")
    toy.write("src/own.py", "FACTOR = 1.0  # changed\n")
    toy.run("git", "stash", "--quiet")
    printed = toy.earshot("search", "--apply")
    best = stored[0]
    assert f"applied {best['experiment']}" in printed and f"{TEMPERATURE}: 2.0 → {best[TEMPERATURE]}" in printed
    applied = float((toy.root / f"models/{TRACK}/students/{RECIPE}/seed-0").read_text())
    assert (
        applied
        == pytest.approx(best["validation_accuracy"])
        == max(o["validation_accuracy"] for o in stored if o["state"] == "done")
    )
