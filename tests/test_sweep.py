"""Sweeps: what they try, what comes of it, and when trials, workers or the command are killed."""

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

from earshot.params import Sweep
from earshot.workbench import git
from earshot.workbench.comparison.figures import changes
from earshot.workbench.experiments import clone, report
from earshot.workbench.experiments.study import Outcome
from earshot.workbench.experiments.task import Task, check, combinations, labels, named
from earshot.workbench.experiments.trial import why

VARIED = [TEMPERATURE, WEIGHT]


def finished(name: str, accuracy: float, **more: object) -> Outcome:
    bounds = {"accuracy_low": accuracy - 0.02, "accuracy_high": accuracy + 0.02}
    overrides = {TEMPERATURE: 2.0, WEIGHT: 0.1} | more
    return Outcome(name, overrides, "done", {"accuracy": accuracy, **bounds}, seconds=3.0)


WRONG = "temperature=-1.0: above 0"
FAILED = Outcome("bad", {TEMPERATURE: -1.0, WEIGHT: 0.1}, "failed", reason=WRONG)


# what is tried


def test_every_combination_is_tried_once_and_named_after_what_it_sets():
    values = {TEMPERATURE: [2.0, 4.0], WEIGHT: [0.1, 0.3], "a.b": [True, True, None]}
    trials = list(combinations("sweep", values).items())
    assert len(trials) == 2 * 2 * 2 and trials[0][0] == "sweep-temperature2.0-weight0.1-bTrue"
    assert trials[-1][1] == {TEMPERATURE: 4.0, WEIGHT: 0.3, "a.b": None}


def test_names_are_such_as_git_takes_and_none_is_given_twice():
    values = ["a b", "a~b", "x..y", "[1]", "e.lock.", "@{", "long" * 40]
    names = list(combinations("s", {"key": values}))
    assert len(names) == len(values) and max(map(len, names)) <= 80
    for name in names:
        subprocess.run(["git", "check-ref-format", f"refs/exps/{name}"], check=True)
    assert named("s", {"key": 0.123456789}) == "s-key0.1235"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["a.kd.weight", "a.ce.weight", "b.hidden"], ["kd.weight", "ce.weight", "hidden"]),
        (["weight", "a.weight"], ["weight", "a.weight"]),
    ],
)
def test_a_label_is_the_shortest_ending_that_tells_keys_apart(keys, expected):
    assert labels(keys) == dict(zip(keys, expected, strict=True))


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("recipes.listening-kd_pool.epochz", "params.yaml has no such parameter"),
        ("recipes.listening-kd_pool.epochs.deep", "params.yaml has no such parameter"),
        ("recipes.listening-kd.epochs", "trains listening-kd_pool alone"),
        ("teachers.listening.epochs", "may change recipes.listening-kd_pool, tracks.listening.st"),
    ],
)
def test_a_key_that_would_do_nothing_or_too_much_is_refused(content, key, why):
    task = Task(Path(), "sweep", Sweep(recipe=RECIPE, grid={key: [1]}), TRACK, content)
    with pytest.raises(ValueError, match=rf"{key}: .*{why}"):
        check([key], task)


# what is shown


def test_the_table_ranks_by_validation_and_says_why_others_failed():
    shown = report.table([FAILED, finished("one", 0.7), finished("two", 0.8)], VARIED)
    lines = shown.splitlines()
    assert [line.split()[0] for line in lines] == ["experiment", "two", "one", "bad"]
    assert lines[1].endswith("80.0 (78.0–82.0)") and lines[3].endswith(f"failed: {WRONG}")
    assert len({line.index(cell) for line, cell in zip(lines[1:3], ("80", "70"), strict=True)}) == 1
    others = [finished("one", 0.79), finished("two", 0.8), finished("three", 0.5), FAILED]
    best = "best on validation items: two"
    assert report.verdict(others) == f"{best}; its interval overlaps with those of 1 of 2 others"
    assert report.verdict([FAILED]) == "" and report.verdict([finished("two", 0.7)]) == best


def test_recognisers_are_shown_by_their_errors_the_fewest_first():
    ends = {"wer": 0.3, "wer_low": 0.25, "wer_high": 0.36}
    worse = finished("worse", 0.4)
    better = finished("better", 0.7)._replace(scores=finished("better", 0.7).scores | ends)
    worse = worse._replace(scores=worse.scores | {name: one + 0.3 for name, one in ends.items()})
    lines = report.table([worse, better], VARIED).splitlines()
    assert lines[0].endswith("validation word error rate, % (95% interval)")
    assert lines[1].startswith("better") and lines[1].endswith("30.0 (25.0–36.0)")
    assert report.verdict([worse, better]).startswith("best on validation items: better")


def test_results_are_written_as_csv_json_and_a_picture(tmp_path):
    odd = finished("two", 0.8, **{TEMPERATURE: 8.0, WEIGHT: "x"})
    outcomes = [FAILED, finished("one", 0.7), odd]
    report.write(tmp_path, outcomes, VARIED, {"recipe": RECIPE})
    table = pd.read_csv(tmp_path / "results.csv")
    assert list(table["experiment"]) == ["two", "one", "bad"]
    assert table["validation_accuracy"].isna().sum() == 1
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["recipe"] == RECIPE and stored["experiments"][0][TEMPERATURE] == 8.0
    for history in (False, True):
        report.draw(tmp_path / "a.png", outcomes, VARIED, "title", history)
        assert matplotlib.image.imread(tmp_path / "a.png").std() > 0.01
    report.draw(tmp_path / "none.png", [FAILED], VARIED, "title", False)
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("> python\nd: weight=-1: at least 0\nERROR: failed to reproduce 'd': exited\n", "d: w"),
        ("ERROR: failed to reproduce 'd'\n", "ERROR: failed to reproduce 'd'"),
        ("Stage 'c' didn't change\nERROR: failed to reproduce 'd': missing x\n", "ERROR: failed"),
        ("", "it said nothing"),
    ],
)
def test_the_reason_of_a_failure_is_the_stages_own_line(tmp_path, log, line):
    (tmp_path / "log").write_text(log)
    assert why(tmp_path / "log").startswith(line)


def test_only_one_command_runs_experiments_and_it_removes_what_others_left(tmp_path):
    (tmp_path / "left/deep").mkdir(parents=True)
    with clone.alone(tmp_path) as left:
        assert left == ["left"] and not (tmp_path / "left").exists()
        with pytest.raises(OSError, match="another sweep or search"), clone.alone(tmp_path):
            pass
    with clone.alone(tmp_path) as left:
        assert left == []


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
    """Return the live curves of the trials that train now: not those of all six epochs."""
    tables = [
        table
        for clone in toy.clones()
        for table in clone.glob(f"plots/*/curves/{RECIPE}/seed-0.csv")
    ]
    return [table for table in tables if table.exists() and len(table.read_text().splitlines()) < 7]


def state(toy: Toy) -> tuple[bytes, str, str, str]:
    git = ("git", "-c", "core.quotepath=off")
    head = toy.run("git", "symbolic-ref", "HEAD") + toy.run("git", "rev-parse", "HEAD")
    changed, stash = toy.run(*git, "status", "--porcelain"), toy.run(*git, "stash", "list")
    return (toy.root / "params.yaml").read_bytes(), head, changed, stash


@pytest.mark.slow
def test_a_clone_has_the_changes_whatever_git_is_told_to_show(toy, tmp_path, monkeypatch):
    content = bytes(range(256))
    toy.run("git", "config", "diff.noprefix", "true")
    toy.run("git", "config", "color.ui", "always")
    (toy.root / "bytes").write_bytes(content[::-1])
    toy.write("gone", "1")
    toy.commit("more")
    (toy.root / "bytes").write_bytes(content)
    (toy.root / "gone").unlink()
    (toy.root / "unknown").touch()
    for name, value in (toy.environment | {"GIT_DIR": "/nowhere"}).items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / ".dvc/tmp/clone"
    source = clone.take(toy.root)
    clone.make(source, folder, f"distill@{RECIPE}")
    assert f"dir = {source.cache}" in (folder / ".dvc/config.local").read_text()
    assert (folder / "bytes").read_bytes() == content and not (folder / "gone").exists()
    assert not (folder / "unknown").exists()
    assert git.text(folder, "rev-parse", "HEAD") == source.head != source.edited
    assert (folder / f"data/{TRACK}/cache/english/part").is_file()
    assert toy.run("git", "stash", "list") == ""


@pytest.mark.slow
def test_a_grid_becomes_experiments_and_the_workspace_stays_as_it_was(toy):
    """Uncommitted code and grid are part of them; a value is impossible, a file unknown to Git."""
    grid = {"recipe": RECIPE, "fixed": {WEIGHT: 0.1}, "grid": {TEMPERATURE: [4.0, 2.0]}}
    toy.section("sweep", grid)
    toy.write("src/own/code.py", "FACTOR = 0.5\n")
    toy.write("src/new.py", "")
    queue = ("dvc", "exp", "run", "--queue", "--name", "queued", "-S", f"{WEIGHT}=-1")
    toy.run(*queue, f"distill@{RECIPE}")
    before = state(toy)
    printed = toy.earshot("sweep", "--name", "mine")
    assert state(toy) == before and toy.clones() == [] and toy.processes() == []
    assert "uncommitted changes of tracked files are part" in printed
    assert "git add src/new.py" in printed
    names = ["mine-temperature2.0", "mine-temperature4.0"]
    assert toy.experiments() == [*names, "stash"]  # the queue is not ours to start
    stored = json.loads((toy.root / "experiments/mine/results.json").read_text())["experiments"]
    assert [one["validation_accuracy"] for one in stored] == pytest.approx([0.5 * 0.88, 0.5 * 0.78])
    refs = ("git", "for-each-ref", "--format=%(refname)")
    reference = toy.run(*refs, f"refs/exps/*/*/{names[0]}").strip()
    trained = yaml.safe_load(toy.run("git", "show", f"{reference}:params.yaml"))
    ours = yaml.safe_load((toy.root / "params.yaml").read_text())
    assert changes(ours, trained) == {WEIGHT: (0.3, 0.1)}  # our temperature is 2.0
    shown = toy.run("dvc", "exp", "show", "--csv")
    assert names[1] in shown and "0.44" in shown

    grid = {"recipe": RECIPE, "fixed": {TEMPERATURE: 4.0}, "grid": {WEIGHT: [-1.0, 0.3]}}
    toy.section("sweep", grid)
    printed = toy.earshot("sweep", "--name", "other", "--workers", "1")
    assert "failed: distill@listening-kd_pool: weight=-1.0: at least 0" in printed
    assert "other-weight0.3" in toy.experiments() and "other-weight-1.0" not in toy.experiments()
    printed = toy.earshot("sweep", "--name", "other")
    assert "1 of 2 experiments are there already" in printed
    assert "failed other-weight-1.0" in printed

    toy.run("git", "add", "src/new.py")
    toy.run("dvc", "exp", "apply", names[1])
    student = toy.root / f"models/{TRACK}/students/{RECIPE}/seed-0"
    assert float(student.read_text()) == pytest.approx(0.44)


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
    log = toy.root / ".dvc/tmp/earshot.log"
    until(lambda: "removed what a killed command left" in log.read_text())
    until(lambda: len(training(toy)) == 2)
    name = toy.clones()[0].name
    os.kill(worker(name), signal.SIGKILL)
    assert command.wait() == 0
    assert f"failed {name}  killed by signal 9" in log.read_text()
    assert len(toy.experiments()) == 3
    assert toy.clones() == [] and toy.processes() == [] and state(toy) == before
    printed = toy.earshot("sweep")
    assert "3 of 4 experiments are there already" in printed and f"done   {name}" in printed
    assert len(toy.experiments()) == 4


def worker(name: str) -> int:
    """Return the process that runs a trial."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it ended
            continue
        if {b"exp", b"run", name.encode()} <= set(words):
            return int(entry.name)
    raise AssertionError(f"nobody runs {name}")


@pytest.mark.slow
def test_a_sweep_is_refused_where_it_would_run_more_than_students(toy):
    stage = f"distill@{RECIPE}"

    def digest(**fixed: object) -> str:
        asked = Sweep(recipe=RECIPE, fixed=fixed, grid={WEIGHT: [0.1]})
        return Task(toy.root, "sweep", asked, TRACK, {}).digest()

    first = digest()
    toy.write("src/own/code.py", "FACTOR = 2.0\n")
    assert first != digest() != digest(a=1)
    toy.write("stages/cache.py", (toy.root / "stages/cache.py").read_text() + "\n")
    printed = toy.earshot("sweep", code=2)
    assert f"not current: cache@{TRACK}; run `dvc repro {stage}` first" in printed
    assert toy.experiments() == [] and toy.clones() == []
    for section, complaint in (
        ({"recipe": RECIPE, "grid": {"seed": [1]}}, "sweep: seed: "),
        (None, "no sweep: nothing to run"),
    ):
        toy.section("sweep", section)
        assert complaint in toy.earshot("sweep", code=2)
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
