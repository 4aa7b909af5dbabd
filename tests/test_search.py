"""The search: where it looks, what it prunes, how it continues and how its best is applied."""

import json
import os
import signal
import subprocess
from pathlib import Path

import optuna
import pytest
import yaml
from test_sweep import finished, state, training, until
from toy import RECIPE, TEMPERATURE, TRACK, Toy, make

from earshot.params import Range, Search
from earshot.workbench.experiments import engine, search
from earshot.workbench.experiments.pool import Pool, Running, curve
from earshot.workbench.experiments.task import Task
from earshot.workbench.experiments.trial import Outcome, Trial

LINES = "epoch,loss,validation\n1,0.9,0.5\n2,0.8,0.75\n"
RANGES = {TEMPERATURE: Range(low=1.0, high=64.0, log=True)}


def test_whole_numbers_stay_whole_and_choices_are_choices():
    kinds = optuna.distributions
    assert search.distribution(Range(low=1, high=8)) == kinds.IntDistribution(1, 8)
    logarithmic = kinds.FloatDistribution(1.0, 8.0, log=True)
    assert search.distribution(Range(low=1.0, high=8.0, log=True)) == logarithmic
    choices = kinds.CategoricalDistribution([64, None])
    assert search.distribution(Range(choices=[64, None])) == choices


def test_the_live_curve_is_the_mean_of_the_seeds_that_train_side_by_side(tmp_path):
    def table(seed: int, text: str) -> None:
        (tmp_path / f"seed-{seed}.csv").write_text(text)

    assert curve(tmp_path, 2) == []
    table(0, LINES)
    assert curve(tmp_path, 2) == [] and curve(tmp_path, 1) == [0.5, 0.75]
    table(1, LINES.replace("0.5", "0.25") + "3,0.7,0.9\n")
    assert curve(tmp_path, 2) == [0.375, 0.75]
    table(2, "")
    assert curve(tmp_path, 2) == [0.375, 0.75] and curve(tmp_path, 3) == []
    os.utime(tmp_path / "seed-1.csv", (1000, 1000))  # the last commit's
    assert curve(tmp_path, 1, 2000) == [0.5, 0.75] and curve(tmp_path, 2, 2000) == []


@pytest.fixture
def task(tmp_path, content, monkeypatch) -> Task:
    monkeypatch.setattr(Task, "digest", lambda self, overrides: "0123456789abcdef")
    content["recipes"][RECIPE]["epochs"] = 6
    content["tracks"][TRACK]["distill"]["seeds"] = 1
    return Task(tmp_path, tmp_path, RECIPE, TRACK, content, {})


def study(task: Task, total: int = 5) -> search.Study:
    return search.Study(task, Search(recipe=RECIPE, ranges=RANGES), "search", total, 1)


def ended(task: Task, number: int, state: str, best: float = 0.5) -> Outcome:
    """Write what became of an earlier trial."""
    scores = {"accuracy": best} if state == "done" else {}
    rising = [best - 0.2, best - 0.1, best] if state != "running" else []
    overrides = {TEMPERATURE: 2.0 + number}
    name, digest = f"search-0123-{number:03d}", "0123456789abcdef"
    one = Outcome(name, overrides, state, scores, digest=digest, curve=rising)
    one.write(task.trials)
    return one


def test_a_study_goes_on_where_a_kill_left_it(task):
    assert study(task).begin() == []
    past = [ended(task, 0, "done"), ended(task, 2, "failed"), ended(task, 3, "pruned")]
    killed = ended(task, 1, "running")
    (task.trials / "search-0123-009.json").write_text("{")  # half of one counts as none
    plan = study(task)
    assert plan.begin() == past
    first, second, none = plan.ask(), plan.ask(), plan.ask()
    assert (first.name, first.overrides) == (killed.name, killed.overrides) and none is None
    assert second.name == "search-0123-004" and second.overrides != killed.overrides
    plan.tell(finished(first.name, 0.8))
    assert plan._study.best_value == 0.8


@pytest.mark.parametrize(("rows", "pruned"), [(1, False), (2, False), (3, True)])
def test_a_hopeless_trial_is_ended_with_its_processes_once_it_has_warmed_up(task, rows, pruned):
    for number, best in enumerate((0.7, 0.8, 0.9)):
        ended(task, number, "done", best)
    plan = study(task)
    plan.begin()
    name = plan.ask().name
    clone = task.root / "clones/one"
    table = clone / task.curves / "seed-0.csv"
    table.parent.mkdir(parents=True)
    table.write_text("epoch,validation\n" + "".join(f"{row + 1},0.4\n" for row in range(rows)))
    process = subprocess.Popen(
        "sleep 60 & echo $!; wait", shell=True, start_new_session=True, stdout=subprocess.PIPE
    )
    child = int(process.stdout.readline())
    with Pool(task, None, task.root / "clones", 1, 1, None) as pool:
        log = task.root / "one.log"
        pool.running[name] = Running(Trial(name, {}), process, clone, log, 0.0)
        found = engine._pruned(plan, pool)
        assert [one.state for one in found] == ["pruned"] * pruned
        assert (process.poll() is not None) == pruned == (not clone.exists())
        if pruned:
            assert found[0].reason == "40.0% after epoch 3" and pool.free == 1
            assert found[0].curve == [0.4] * 3
    assert process.poll() is not None and not clone.exists()  # leaving the block ends the rest
    stat = Path(f"/proc/{child}/stat")
    until(lambda: not stat.exists() or "Z" in stat.read_text())


# the command, in a toy repository


@pytest.fixture
def toy(tmp_path) -> Toy:
    made = make(tmp_path)
    ranges = {TEMPERATURE: {"low": 1.0, "high": 64.0, "log": True}}
    made.section("search", {"recipe": RECIPE, "trials": 3, "ranges": ranges})
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

    printed = toy.earshot("search", "--workers", "1", TOY_SECONDS="1")
    assert f"run again, as it was killed: {killed.name}" in printed
    assert f"removed what a killed command left: {killed.name}" in printed
    assert state(toy) == before and toy.clones() == [] and toy.processes() == []
    folder = toy.root / "experiments/search"
    stored = json.loads((folder / "results.json").read_text())["experiments"]
    done = [one for one in stored if one["state"] == "done"]
    assert len({one[TEMPERATURE] for one in stored}) == len(stored) == 3  # none drawn twice
    assert {one["state"] for one in stored} <= {"done", "pruned"} and done
    kd = overridden["recipes"][RECIPE]["terms"]["kd"]
    assert {one["experiment"]: one[TEMPERATURE] for one in stored}[killed.name] == kd["temperature"]
    assert toy.experiments() == sorted(one["experiment"] for one in done)
    assert (folder / "accuracy.png").exists()
    for one in done:  # its own curve, not the last commit's
        outcome = Outcome.read(folder / "trials", one["experiment"])
        assert outcome.curve[5] == pytest.approx(one["validation_accuracy"])

    printed = toy.earshot("search")
    assert "3 of 3 experiments are there already" in printed
    assert len(toy.experiments()) == len(done)
    toy.write("src/own/code.py", "FACTOR = 1.0  # changed\n")
    toy.run("git", "stash", "--quiet")
    printed = toy.earshot("search", "--apply")
    best = stored[0]
    assert f"applied {best['experiment']}" in printed
    assert f"{TEMPERATURE}: 2.0 → {best[TEMPERATURE]}" in printed
    applied = float((toy.root / f"models/{TRACK}/students/{RECIPE}/seed-0").read_text())
    highest = max(one["validation_accuracy"] for one in done)
    assert applied == pytest.approx(best["validation_accuracy"]) == highest
