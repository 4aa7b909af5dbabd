"""Sweeps: what they try, what becomes of it when all goes well, and when trials, workers or the
command are killed.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest
import yaml
from toy import RECIPE, TEMPERATURE, TRACK, WEIGHT, Toy, make

from earshot.workbench.comparison.changes import changes
from earshot.workbench.experiments import report, snapshot
from earshot.workbench.experiments.pool import alone, clean, why
from earshot.workbench.experiments.trial import Outcome, check, grid, labels, named, written

GRID = {TEMPERATURE: [2.0, 4.0], WEIGHT: [0.1, 0.3]}


def outcome(name: str, accuracy: float, **more: object) -> Outcome:
    scores = {
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.02,
        "accuracy_high": accuracy + 0.02,
    }
    return Outcome(name, {TEMPERATURE: 2.0, WEIGHT: 0.1} | more, "done", scores, seconds=3.0)


FAILED = Outcome(
    "bad", {TEMPERATURE: -1.0, WEIGHT: 0.1}, "failed", reason="temperature=-1.0: above 0"
)


# what is tried


def test_every_combination_is_tried_once_and_named_after_what_it_sets():
    trials = grid("sweep", {"seed": 1}, {**GRID, "a.b": [True, True, None]})
    assert len({trial.name for trial in trials}) == len(trials) == 2 * 2 * 2
    assert trials[0].name == "sweep-temperature2.0-weight0.1-bTrue"
    assert trials[-1].overrides == {"seed": 1, TEMPERATURE: 4.0, WEIGHT: 0.3, "a.b": None}


def test_names_are_such_as_git_takes_and_none_is_given_twice():
    values = ["a b", "a~b", "x..y", "[1]", "e.lock.", "@{", "long" * 40]
    names = [trial.name for trial in grid("s", {}, {"key": values})]
    assert len(set(names)) == len(values) and max(map(len, names)) <= 80
    for name in names:
        subprocess.run(["git", "check-ref-format", f"refs/exps/{name}"], check=True)
    assert named("s", {"key": 0.123456789}) == "s-key0.1235"


def test_a_label_is_the_shortest_ending_that_tells_keys_apart():
    assert labels(["a.kd.weight", "a.ce.weight", "b.hidden"]) == {
        "a.kd.weight": "kd.weight",
        "a.ce.weight": "ce.weight",
        "b.hidden": "hidden",
    }
    assert labels(["weight", "a.weight"]) == {"weight": "weight", "a.weight": "a.weight"}


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("recipes.listening-kd_pool.epochz", "params.yaml has no such parameter"),
        ("recipes.listening-kd_pool.epochs.deep", "params.yaml has no such parameter"),
        ("recipes.listening-kd.epochs", "trains listening-kd_pool alone"),
        (
            "tracks.listening.teacher.epochs",
            "may change recipes.listening-kd_pool, tracks.listening.student",
        ),
        ("seed", "trains listening-kd_pool alone"),
    ],
)
def test_a_key_that_would_do_nothing_or_too_much_is_refused(content, key, told):
    with pytest.raises(ValueError, match=rf"sweep: {key}: .*{told}"):
        check([key], RECIPE, TRACK, content, "sweep")


def test_values_are_written_as_dvc_reads_them():
    assert [written(value) for value in (1.5, 3, True, None, "a,b")] == [
        "1.5",
        "3",
        "true",
        "null",
        '"a,b"',
    ]


# what is shown


def test_the_table_ranks_by_validation_and_says_why_others_failed():
    lines = report.table(
        [FAILED, outcome("one", 0.7), outcome("two", 0.8)], [TEMPERATURE, WEIGHT]
    ).splitlines()
    assert [line.split()[0] for line in lines] == ["experiment", "two", "one", "bad"]
    assert lines[1].endswith("80.0 (78.0–82.0)") and lines[3].endswith(
        "failed: temperature=-1.0: above 0"
    )
    told = report.verdict(
        [outcome("one", 0.79), outcome("two", 0.8), outcome("three", 0.5), FAILED]
    )
    assert (
        told == "best on validation items: two; its interval overlaps with those of 1 of 2 others"
    )
    assert report.verdict([FAILED]) == "" and report.verdict([outcome("one", 0.7)]).endswith("one")


def test_results_are_written_as_csv_json_and_a_picture(tmp_path):
    all_of_them = [
        FAILED,
        outcome("one", 0.7),
        outcome("two", 0.8, **{TEMPERATURE: 8.0, WEIGHT: "x"}),
    ]
    report.write(tmp_path, all_of_them, [TEMPERATURE, WEIGHT], {"recipe": RECIPE})
    table = pd.read_csv(tmp_path / "results.csv")
    assert (
        list(table["experiment"]) == ["two", "one", "bad"]
        and table["validation_accuracy"].isna().sum() == 1
    )
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["recipe"] == RECIPE and stored["experiments"][0][TEMPERATURE] == 8.0
    for history in (False, True):
        report.draw(tmp_path / "a.png", all_of_them, [TEMPERATURE, WEIGHT], "title", history)
        assert matplotlib.image.imread(tmp_path / "a.png").std() > 0.01
    report.draw(tmp_path / "none.png", [FAILED], [TEMPERATURE], "title")
    assert not (tmp_path / "none.png").exists()


def test_the_reason_of_a_failure_is_the_stages_own_line(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "Running stage 'd':\n> python\nd: weight=-1: at least 0\nERROR: failed to reproduce "
        "'d': exited with 1\n"
    )
    assert why(log) == "d: weight=-1: at least 0"
    log.write_text("ERROR: failed to reproduce 'd'\n")
    assert why(log) == "ERROR: failed to reproduce 'd'"
    log.write_text("")
    assert why(log) == "it said nothing"


def test_half_written_outcomes_count_as_none(tmp_path):
    one = outcome("one", 0.7)
    one.write(tmp_path)
    assert Outcome.read(tmp_path, "one") == one
    for text in ("{", "[]", '{"unknown": 1}'):
        (tmp_path / "one.json").write_text(text)
        assert Outcome.read(tmp_path, "one") is None


def test_only_one_command_runs_experiments_and_it_removes_what_others_left(tmp_path):
    (tmp_path / "left/deep").mkdir(parents=True)
    with alone(tmp_path):
        assert clean(tmp_path) == ["left"] and clean(tmp_path) == []
        with pytest.raises(OSError, match="another sweep or search"), alone(tmp_path):
            pass
    with alone(tmp_path):
        pass


def test_a_clone_has_the_changes_whatever_git_is_told_to_show(tmp_path, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org")
    (root / "dvc.lock").write_text("stages: {}\n")
    (root / "gone").write_text("1")
    (root / ".dvc").mkdir()
    (root / ".dvc/config").touch()
    for words in (
        ("init", "--quiet"),
        ("add", "."),
        ("commit", "--quiet", "-m", "start"),
        ("config", "diff.noprefix", "true"),
    ):
        snapshot.command(*git, *words, cwd=root)
    snapshot.command("git", "config", "color.ui", "always", cwd=root)
    (root / "bytes").write_bytes(bytes(range(256)))
    snapshot.command("git", "add", "bytes", cwd=root)
    (root / "gone").unlink()
    (root / "unknown").touch()
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setattr(snapshot, "dependencies", lambda root, stage: [{"path": "dvc.lock"}])
    head = snapshot.command("git", "rev-parse", "HEAD", cwd=root).strip()
    taken = snapshot.Snapshot(root, head, snapshot._output(*snapshot.DIFF, cwd=root), tmp_path)
    clone = tmp_path / "clone"
    taken.clone(clone, "distill")
    assert f"dir = {tmp_path}" in (clone / ".dvc/config.local").read_text()
    assert (clone / "bytes").read_bytes() == bytes(range(256)) and not (clone / "gone").exists()
    assert not (clone / "unknown").exists() and snapshot.untracked(root) == ["unknown"]


# the command, in a toy repository


@pytest.fixture
def toy(tmp_path) -> Toy:
    return make(tmp_path)


def until(true: Callable[[], object], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def training(toy: Toy) -> list[Path]:
    """Return the live curves of the trials that train now; those that a clone begins with have all
    six epochs.
    """
    tables = [
        table
        for clone in toy.clones()
        for table in clone.glob(f"plots/*/curves/{RECIPE}/seed-0.csv")
    ]
    return [table for table in tables if table.exists() and len(table.read_text().splitlines()) < 7]


def state(toy: Toy) -> tuple[bytes, str, str, str]:
    git = ("git", "-c", "core.quotepath=off")
    head = toy.run("git", "symbolic-ref", "HEAD") + toy.run("git", "rev-parse", "HEAD")
    stash = toy.run(*git, "stash", "list")
    return (
        (toy.root / "params.yaml").read_bytes(),
        head,
        toy.run(*git, "status", "--porcelain"),
        stash,
    )


@pytest.mark.slow
def test_a_grid_becomes_experiments_and_the_workspace_stays_as_it_was(toy):
    """Uncommitted code and grid are part of them; one value is impossible, one file is unknown to
    Git.
    """
    toy.section(
        "sweep", {"recipe": RECIPE, "fixed": {WEIGHT: 0.1}, "grid": {TEMPERATURE: [4.0, 2.0]}}
    )
    toy.write("src/own/code.py", "FACTOR = 0.5\n")
    toy.write("src/new.py", "")
    toy.run(
        "dvc",
        "exp",
        "run",
        "--queue",
        "--name",
        "queued",
        "-S",
        f"{WEIGHT}=-1",
        f"distill@{RECIPE}",
    )
    before = state(toy)
    printed = toy.earshot("sweep", "--name", "mine")
    assert state(toy) == before and toy.clones() == [] and toy.processes() == []
    assert (
        "uncommitted changes of tracked files are part" in printed
        and "git add src/new.py" in printed
    )
    assert toy.experiments() == [
        "mine-temperature2.0",
        "mine-temperature4.0",
        "stash",
    ]  # the queue is not ours to start
    stored = json.loads((toy.root / "experiments/mine/results.json").read_text())["experiments"]
    assert [one["validation_accuracy"] for one in stored] == pytest.approx([0.5 * 0.88, 0.5 * 0.78])
    reference = toy.run(
        "git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/mine-temperature2.0"
    ).strip()
    own = yaml.safe_load(toy.run("git", "show", f"{reference}:params.yaml"))
    ours = yaml.safe_load((toy.root / "params.yaml").read_text())
    assert changes(ours, own).changed == {WEIGHT: (0.3, 0.1)}  # the workspace's temperature is 2.0
    shown = toy.run("dvc", "exp", "show", "--csv")
    assert "mine-temperature4.0" in shown and "0.44" in shown

    toy.section(
        "sweep", {"recipe": RECIPE, "fixed": {TEMPERATURE: 4.0}, "grid": {WEIGHT: [-1.0, 0.3]}}
    )
    printed = toy.earshot("sweep", "--name", "other", "--workers", "1")
    assert "failed: distill@listening-kd_pool: weight=-1.0: at least 0" in printed
    assert "other-weight0.3" in toy.experiments() and "other-weight-1.0" not in toy.experiments()
    printed = toy.earshot("sweep", "--name", "other")
    assert (
        "1 of 2 experiments are there already" in printed and "failed other-weight-1.0" in printed
    )

    toy.run("git", "add", "src/new.py")
    toy.run("dvc", "exp", "apply", "mine-temperature4.0")
    assert float(
        (toy.root / f"models/{TRACK}/students/{RECIPE}/seed-0").read_text()
    ) == pytest.approx(0.44)


@pytest.mark.slow
def test_killed_trials_and_killed_commands_leave_nothing_that_the_next_does_not_mend(toy):
    before = state(toy)
    for sign, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        command = toy.begin("sweep", TOY_SECONDS="60")
        until(lambda: len(training(toy)) == 2)
        command.send_signal(sign)
        assert command.wait() == code
        until(lambda: toy.processes() == [])
        assert state(toy) == before
        assert len(toy.clones()) == (2 if sign == signal.SIGKILL else 0)

    command = toy.begin("sweep", TOY_SECONDS="4")
    until(
        lambda: (
            "removed what a killed command left" in (toy.root / ".dvc/tmp/earshot.log").read_text()
        )
    )
    until(lambda: len(training(toy)) == 2)
    name = toy.clones()[0].name
    os.kill(worker(name), signal.SIGKILL)
    assert command.wait() == 0
    said = (toy.root / ".dvc/tmp/earshot.log").read_text()
    assert f"failed {name}  killed by signal 9" in said and len(toy.experiments()) == 3
    assert toy.clones() == [] and toy.processes() == [] and state(toy) == before
    printed = toy.earshot("sweep")
    assert "3 of 4 experiments are there already" in printed and f"done   {name}" in printed
    assert len(toy.experiments()) == 4


def worker(name: str) -> int:
    """Return the process that runs a trial."""
    for entry in Path("/proc").glob("[0-9]*"):
        words = (
            (entry / "cmdline").read_bytes().split(b"\0") if (entry / "cmdline").exists() else []
        )
        if b"exp" in words and b"run" in words and name.encode() in words:
            return int(entry.name)
    raise AssertionError(f"nobody runs {name}")


@pytest.mark.slow
def test_a_sweep_is_refused_where_it_would_run_more_than_students(toy):
    stage = f"distill@{RECIPE}"
    first = snapshot.digest(toy.root, stage, {}, {})
    toy.write("src/own/code.py", "FACTOR = 2.0\n")
    assert (
        snapshot.digest(toy.root, stage, {}, {})
        != first
        != snapshot.digest(toy.root, stage, {}, {"a": 1})
    )
    toy.write("stages/cache.py", (toy.root / "stages/cache.py").read_text() + "\n")
    printed = toy.earshot("sweep", code=2)
    assert f"not current: cache@{TRACK}; run `dvc repro {stage}` first" in printed
    assert toy.experiments() == [] and toy.clones() == []
    for section, told in (
        ({"recipe": RECIPE, "grid": {"seed": [1]}}, "sweep: seed: "),
        (None, "no sweep: nothing to run"),
    ):
        toy.section("sweep", section)
        assert told in toy.earshot("sweep", code=2)
    assert "--name a/b: letters" in toy.earshot("sweep", "--name", "a/b", code=2)
    assert "a whole number of at least 1" in toy.earshot("sweep", "--workers", "0", code=2)


@pytest.mark.slow
def test_a_fresh_clone_makes_its_data_first(toy):
    before = (toy.root / "params.yaml").read_bytes()
    for folder in ("data", "models", ".dvc/cache"):
        shutil.rmtree(toy.root / folder)
    assert f"not current: cache@{TRACK}" in toy.earshot("sweep", code=2)
    printed = toy.earshot("sweep", "--prepare")
    assert f"first, once: dvc repro cache@{TRACK}" in printed
    assert len(toy.experiments()) == 4 and (toy.root / "params.yaml").read_bytes() == before
    assert "first, once" not in toy.earshot("sweep", "--prepare")
