"""`earshot sweep` and `earshot search`: experiments beside one another, as DVC experiments."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from earshot.cli.shared import positive

SWEEP = (
    "Run every combination of `sweep.grid` in params.yaml as a DVC experiment, two at a time "
    "unless --workers says otherwise; the workspace is left alone. Compared on validation items, "
    "never on the test. Run again, it continues: what is done is not repeated."
)
SEARCH = (
    "Look through `search.ranges` in params.yaml with Optuna's TPE, every trial a DVC experiment, "
    "so many at a time that all cores are busy unless --workers says otherwise. Judged on "
    "validation items, never on the test; hopeless trials end early. Run again, it continues the "
    "same study."
)


def add(commands: Any) -> None:
    """Add both commands to the parser."""
    sweep = _add(commands, "sweep", "run a grid of experiments", SWEEP)
    sweep.add_argument(
        "--prepare", action="store_true", help="first run what experiments need and is not there"
    )
    sweep.set_defaults(run=run_sweep)
    search = _add(commands, "search", "look for the best parameters of a recipe", SEARCH)
    search.add_argument("--trials", type=positive, help="how many in all (default: search.trials)")
    search.add_argument(
        "--apply", action="store_true", help="run nothing: apply the best trial to the workspace"
    )
    search.set_defaults(run=run_search)


def _add(commands: Any, name: str, help: str, description: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=help, description=description)
    command.add_argument("--workers", type=positive, help="experiments at a time")
    command.add_argument(
        "--name", default=name, help=f"what experiments' names begin with (default: {name})"
    )
    return command


def run_sweep(chosen: argparse.Namespace) -> int:
    """Run the grid; print and write what came out. Return 1 when no experiment succeeded."""
    from earshot.workbench.experiments import study

    params, task = _task("sweep", chosen.name)
    if chosen.prepare:
        _prepare(task)
    total, workers = len(study.points(task)), chosen.workers or 2
    return _conduct(task, params.seed, total, workers, cores=None)


def run_search(chosen: argparse.Namespace) -> int:
    """Search, or apply what a search found. Return 1 when no trial succeeded."""
    from earshot.runtime import progress
    from earshot.workbench.experiments import study

    params, task = _task("search", chosen.name)
    total = chosen.trials or task.settings.trials
    if chosen.apply:
        _apply(task, study.best(task, study.load(task, params.seed, total)))
        return 0
    workers = chosen.workers or max(1, progress.workers() // task.seeds)
    code = _conduct(task, params.seed, total, workers, task.seeds)
    if code == 0:
        print("or: earshot search --apply, which takes the best")
    return code


def _task(section: str, name: str) -> tuple[Any, Any]:
    """Return the parameters and the task of `sweep` or `search`."""
    from earshot.params import parse
    from earshot.runtime import yaml_file
    from earshot.workbench.experiments import task

    content = yaml_file.read("params.yaml")
    params = parse(content)
    return params, task.make(Path().resolve(), name, section, params, content)


def _prepare(task: Any) -> None:
    """Run what experiments need and is not there, in the workspace; ValueError when that fails."""
    from earshot.workbench.experiments import clone

    if stages := clone.waiting(task.root, task.stage):
        command = ["dvc", "repro", *stages]
        log(f"first, once: {' '.join(command)}")
        environment = clone.environment(task.root)
        if subprocess.run(command, cwd=task.root, env=environment).returncode:
            raise ValueError(f"{' '.join(command)} failed; nothing was tried")


def _conduct(task: Any, seed: int, total: int, workers: int, cores: int | None) -> int:
    """Run experiments; print a table, write it as CSV, JSON and PNG. Return 1 when none is done."""
    from earshot.workbench.experiments import report, study

    log(f"{total} experiments of {task.stage}, {workers} at a time")
    with View(total, workers) as view:
        outcomes = study.run(task, seed, total, workers, cores, view.log, view.watch)
    about = {"recipe": task.settings.recipe, "fixed": task.settings.fixed}
    report.write(task.folder, outcomes, task.varied, about)
    title, history = f"{task.settings.recipe}: {report.named(outcomes)}", cores is not None
    report.draw(task.folder / "accuracy.png", outcomes, task.varied, title, history)
    print(f"{report.table(outcomes, task.varied)}\n\n{report.verdict(outcomes)}")
    folder = task.folder.relative_to(task.root)
    print(f"{folder}/: results.csv, results.json, accuracy.png, logs/")
    if not any(one.state == "done" for one in outcomes):
        return 1
    print("next: dvc exp show --only-changed, dvc exp apply NAME, dvc exp remove NAME …")
    return 0


def _apply(task: Any, best: Any) -> None:
    from earshot.runtime import yaml_file
    from earshot.workbench.comparison.figures import changes
    from earshot.workbench.experiments import report, study

    study.apply(task, best)
    after = yaml_file.read("params.yaml")
    print(f"applied {best.name}: {report.named([best])} {report.percent(best.scores)}%")
    changed = changes(task.content, after)
    lines = [f"{key}: {old} → {new}" for key, (old, new) in changed.items()]
    print("\n".join(lines) or "params.yaml says so already")
    fixed = [f"{key}: {old}" for key, (old, _) in changed.items() if key in task.settings.fixed]
    if fixed:
        print("search.fixed made trials short; to train the best in full, put back before")
        print(f"dvc repro: {', '.join(fixed)}")
    print("next: dvc repro, which trains what follows and scores it on the test;")
    print("git checkout . && dvc checkout goes back")


def log(line: str) -> None:
    """Say something beside the results."""
    print(line, file=sys.stderr, flush=True)


class View:
    """A bar with what is done, failed and running and how long the rest takes.

    Where there is no terminal it prints lines.
    """

    def __init__(self, total: int, workers: int):
        self.bar = tqdm(
            total=total,
            desc="experiments",
            unit="",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            bar_format="{desc}: {n_fmt}/{total_fmt} |{bar}| {elapsed}{postfix}",
        )
        self.total, self.workers, self.known = total, workers, set[str]()

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def log(self, line: str) -> None:
        """Say something above the bar."""
        self.bar.clear()
        log(line)

    def watch(self, outcomes: Sequence[Any], running: Sequence[str]) -> None:
        """Show outcomes so far and what runs."""
        from earshot.workbench.experiments import report

        first = not self.known and not running
        for one in outcomes:
            if one.name not in self.known and not first:
                outcome = report.percent(one.scores) if one.state == "done" else one.reason
                self.log(f"{one.state:6} {one.name}  {outcome}  ({one.seconds:.0f} s)")
            self.known.add(one.name)
        self.bar.n = len(outcomes)
        failed = sum(one.state == "failed" for one in outcomes)
        self.bar.set_postfix_str(
            f"{len(running)} running, {failed} failed{self._left(outcomes, running)}"
        )

    def _left(self, outcomes: Sequence[Any], running: Sequence[str]) -> str:
        took = [one.seconds for one in outcomes if one.state == "done"]
        waiting = self.total - len(outcomes)
        if not took or not waiting:
            return ""
        rounds = max(1.0, (waiting - len(running) / 2) / self.workers)
        return f", about {max(1, round(rounds * sum(took) / len(took) / 60))} min left"
