"""The search: where it looks, what it prunes, how it continues after a kill, and how its best is
applied.
"""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import optuna
import pytest
import yaml
from test_sweep import state, training, until
from toy import RECIPE, TEMPERATURE, TRACK, Toy, make

from earshot.params import Range
from earshot.workbench.experiments import search
from earshot.workbench.experiments.pool import Pool, Running
from earshot.workbench.experiments.session import Task
from earshot.workbench.experiments.trial import Trial

LINES = "epoch,loss,validation\n1,0.9,0.5\n2,0.8,0.75\n"


def test_whole_numbers_stay_whole_and_choices_are_choices():
    assert search.distribution(Range(low=1, high=8)) == optuna.distributions.IntDistribution(1, 8)
    found = search.distribution(Range(low=1.0, high=8.0, log=True))
    assert found == optuna.distributions.FloatDistribution(1.0, 8.0, log=True)
    assert search.distribution(
        Range(choices=[64, None])
    ) == optuna.distributions.CategoricalDistribution([64, None])


def test_the_live_curve_is_the_mean_of_the_seeds_that_train_side_by_side(tmp_path):
    def table(seed: int, text: str) -> None:
        file = tmp_path / f"seed-{seed}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    assert search.curve(tmp_path, 2) == []
    table(0, LINES)
    assert search.curve(tmp_path, 2) == [] and search.curve(tmp_path, 1) == [0.5, 0.75]
    table(1, LINES.replace("0.5", "0.25") + "3,0.7,0.9\n")
    assert search.curve(tmp_path, 2) == [0.375, 0.75]
    table(2, "")
    assert search.curve(tmp_path, 2) == [0.375, 0.75] and search.curve(tmp_path, 3) == []
    os.utime(tmp_path / "seed-1.csv", (1000, 1000))  # the last commit's
    assert search.curve(tmp_path, 1, 2000) == [0.5, 0.75] and search.curve(tmp_path, 3, 2000) == []
    assert search.curve(tmp_path, 2, time.time() + 10) == []


def test_a_journal_that_a_kill_cut_short_is_mended(tmp_path):
    journal = tmp_path / search.JOURNAL
    search._mend(journal)
    assert not journal.exists()
    journal.write_text('{"a": 1}\n{"b"')
    (tmp_path / f"{search.JOURNAL}.lock").touch()
    search._mend(journal)
    assert journal.read_text() == '{"a": 1}\n' and [path.name for path in tmp_path.iterdir()] == [
        search.JOURNAL
    ]


def finished(study: optuna.Study, scores: list[float]) -> None:
    trial = study.ask()
    for epoch, score in enumerate(scores):
        trial.report(score, epoch)
    study.tell(trial, scores[-1])


@pytest.mark.parametrize(("rows", "pruned"), [(1, False), (2, False), (3, True)])
def test_a_hopeless_trial_is_ended_with_its_processes_once_it_has_warmed_up(tmp_path, rows, pruned):
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(3, 2))
    for best in (0.7, 0.8, 0.9):
        finished(study, [best - 0.2, best - 0.1, best])
    clone, log = tmp_path / "clones/one", tmp_path / "one.log"
    table = clone / f"plots/{TRACK}/curves/{RECIPE}/seed-0.csv"
    table.parent.mkdir(parents=True)
    table.write_text("epoch,validation\n" + "".join(f"{step + 1},0.4\n" for step in range(rows)))
    process = subprocess.Popen(
        "sleep 60 & echo $!; wait", shell=True, start_new_session=True, stdout=subprocess.PIPE
    )
    child = int(process.stdout.readline())
    with open(tmp_path / "lock", "w") as lock:
        pool = Pool(None, "distill", "scores.json", tmp_path / "clones", tmp_path, 1, 1, lock)
        with pool:
            pool.running["one"] = Running(
                Trial("one", {}), process, clone, log, time.monotonic(), 0.0
            )
            plan = search.Plan(Task(tmp_path, tmp_path, RECIPE, TRACK, {}), None, "search", 4, 1)
            trial, reported = study.ask(), {}
            ended = search._pruned(plan, pool, {"one": trial}, reported, 1)
            assert reported == {"one": rows} and study.trials[
                trial.number
            ].intermediate_values == dict.fromkeys(range(rows), 0.4)
            assert [one.state for one in ended] == ["pruned"] * pruned
            assert (process.poll() is not None) == pruned == (not clone.exists())
            if pruned:
                assert ended[0].reason == "40.0% after epoch 3" and pool.free == 1
    assert (
        process.poll() is not None and not clone.exists()
    )  # leaving the block ends what still runs
    until(
        lambda: (
            not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text()
        )
    )


# the command, in a toy repository


@pytest.fixture
def toy(tmp_path) -> Toy:
    made = make(tmp_path)
    made.section(
        "search",
        {
            "recipe": RECIPE,
            "trials": 3,
            "ranges": {TEMPERATURE: {"low": 1.0, "high": 64.0, "log": True}},
        },
    )
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
    assert (
        "run again, as they were killed: 0" in printed
        and f"removed what a killed command left: {killed.name}" in printed
    )
    assert state(toy) == before and toy.clones() == [] and toy.processes() == []
    stored = json.loads((toy.root / "experiments/search/results.json").read_text())["experiments"]
    states = [one["state"] for one in stored]
    assert len(stored) == 3 and set(states) <= {"done", "pruned"} and "done" in states
    kd = overridden["recipes"][RECIPE]["terms"]["kd"]
    assert kd["temperature"] in [one[TEMPERATURE] for one in stored]  # the killed one's, run again
    assert toy.experiments() == sorted(
        one["experiment"] for one in stored if one["state"] == "done"
    )
    assert (toy.root / "experiments/search/accuracy.png").exists()

    journal = optuna.storages.journal.JournalFileBackend(
        str(toy.root / "experiments/search/journal.log")
    )
    for trial in optuna.load_study(
        study_name=None, storage=optuna.storages.JournalStorage(journal)
    ).trials:
        if trial.state.name == "COMPLETE":  # its own curve, not the last commit's
            assert trial.intermediate_values[5] == pytest.approx(trial.value)

    printed = toy.earshot("search")
    assert "3 of 3 trials are there already" in printed and len(toy.experiments()) == states.count(
        "done"
    )
    toy.write("src/own/code.py", "FACTOR = 1.0  # changed\n")
    toy.run("git", "stash", "--quiet")
    printed = toy.earshot("search", "--apply")
    best = stored[0]
    assert (
        f"applied {best['experiment']}" in printed
        and f"{TEMPERATURE}: 2.0 → {best[TEMPERATURE]}" in printed
    )
    applied = float((toy.root / f"models/{TRACK}/students/{RECIPE}/seed-0").read_text())
    assert (
        applied
        == pytest.approx(best["validation_accuracy"])
        == max(o["validation_accuracy"] for o in stored if o["state"] == "done")
    )
