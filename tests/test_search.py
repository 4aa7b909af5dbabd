"""The search: where it looks, what it prunes, how it continues and how its best is applied."""

import json
import os
import signal
from concurrent.futures import Future
from pathlib import Path
from threading import Event

import optuna
import pytest
import yaml
from test_sweep import state, training, until
from toy import RECIPE, TEMPERATURE, TRACK, Toy, make

from earshot.params import Range, Search
from earshot.workbench.experiments import clone, study, trial
from earshot.workbench.experiments.task import Task
from earshot.workbench.experiments.trial import Runner, Stopped, curve

LINES = "epoch,loss,validation\n1,0.9,0.5\n2,0.8,0.75\n"
RANGES = {TEMPERATURE: Range(low=1.0, high=64.0, log=True)}


def test_whole_numbers_stay_whole_and_choices_are_choices():
    kinds = optuna.distributions
    assert study.distribution(Range(low=1, high=8)) == kinds.IntDistribution(1, 8)
    logarithmic = kinds.FloatDistribution(1.0, 8.0, log=True)
    assert study.distribution(Range(low=1.0, high=8.0, log=True)) == logarithmic
    choices = kinds.CategoricalDistribution([64, None])
    assert study.distribution(Range(choices=[64, None])) == choices


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
    monkeypatch.setattr(Task, "digest", lambda self: "0123456789abcdef")
    content["recipes"][RECIPE]["epochs"] = 6
    content["tracks"][TRACK]["distill"]["seeds"] = 1
    return Task(tmp_path, "search", Search(recipe=RECIPE, ranges=RANGES), TRACK, content)


def load(task: Task) -> optuna.Study:
    return study.load(task, seed=1, total=5)


def begun(task: Task, made: optuna.Study, **more: object) -> optuna.Trial:
    """Ask for a trial, and note what it learns while it runs."""
    one = study._next(task, made, [])
    for key, value in more.items():
        one.set_user_attr(key, value)
    return one


def ended(task: Task, made: optuna.Study, state: str, best: float = 0.5) -> str:
    """Write what became of an earlier trial; return its name."""
    one = begun(task, made, seconds=1.0)
    for epoch, score in enumerate((best - 0.2, best - 0.1, best)):
        one.report(score, epoch)
    future = Future()
    why = {"failed": ValueError("it fell"), "pruned": optuna.TrialPruned("low")}
    if state == "done":
        one.set_user_attr("scores", {"accuracy": best})
        future.set_result(best)
    else:
        future.set_exception(why[state])
    assert study._end(made, one, future).state == state
    return one.user_attrs["name"]


def test_a_study_goes_on_where_a_kill_left_it(task):
    made = load(task)
    past = [ended(task, made, state) for state in ("done", "failed", "pruned")]
    cut = begun(task, made)
    made = load(task)
    found = study.outcomes(made)
    assert list(found) == past == [f"search-0123-{number:03d}" for number in range(3)]
    assert [one.state for one in found.values()] == ["done", "failed", "pruned"]
    assert found[past[1]].reason == "it fell" and made.best_value == 0.5
    (point,) = waiting = study.killed(made)
    assert point == ("search-0123-003", cut.user_attrs["overrides"])
    again, other = (study._next(task, made, waiting) for _ in range(2))
    assert again.user_attrs == cut.user_attrs and again.params == cut.params
    assert other.user_attrs["name"] == "search-0123-005" and other.params != cut.params


def test_what_a_kill_left_half_begun_comes_in_nobodys_place(task):
    made = load(task)
    cut = begun(task, made)
    made.enqueue_trial(cut.params)  # killed before it was asked for
    made.ask()  # killed before it had a name
    made.enqueue_trial({key: 2 * value for key, value in cut.params.items()})
    made = load(task)
    study.forget_waiting(made)
    assert study.outcomes(made) == {}
    again = study._next(task, made, study.killed(made))
    assert again.user_attrs == cut.user_attrs and again.params == cut.params


@pytest.mark.parametrize(("rows", "end"), [(2, Stopped), (3, optuna.TrialPruned), (0, ValueError)])
def test_a_trial_ends_with_its_processes_when_hopeless_stopped_or_failed(
    task, monkeypatch, rows, end
):
    made = load(task)
    for best in (0.7, 0.8, 0.9):
        ended(task, made, "done", best)
    one, stop = begun(task, made), Event()
    folder = task.root / "clones" / one.user_attrs["name"]
    table = folder / task.curves / "seed-0.csv"
    text = "epoch,validation\n" + "".join(f"{row + 1},0.4\n-,\n" for row in range(rows))
    # The toy of `dvc exp run` writes a curve and goes on, or fails at once.
    script = f"cat > {table} <<< '{text}'; sleep 60 & echo $!; wait" if rows else "echo bad; exit 1"
    program = "import os, sys; os.execvp('bash', ['bash', '-c', " + repr(script) + "])"
    monkeypatch.setattr(trial, "_DVC", program)
    monkeypatch.setattr(clone, "make", lambda *_: table.parent.mkdir(parents=True))
    known = trial.curve

    def seen(*arguments):
        found = known(*arguments)
        if end is Stopped and found:
            stop.set()
        return found

    monkeypatch.setattr(trial, "curve", seen)
    runner = Runner(task, clone.Source(task.root, "", "", task.root), folder.parent, 1, stop)
    with pytest.raises(end) as raised:
        runner.run(one)
    if end is not Stopped:
        assert f"{raised.value}" == ("bad" if end is ValueError else "40.0% at validation 3")
    assert not folder.exists() and one.user_attrs["seconds"] >= 0
    if rows:
        child = int((task.folder / f"logs/{folder.name}.log").read_text())
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
    (summary,) = optuna.get_all_study_summaries(storage := f"sqlite:///{folder}/study.db")
    trials = optuna.load_study(study_name=summary.study_name, storage=storage).trials
    for one in done:  # its own curve, not the last commit's
        name = one["experiment"]
        values = [past for past in trials if past.user_attrs["name"] == name and past.value]
        assert values[0].intermediate_values[5] == pytest.approx(one["validation_accuracy"])

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
