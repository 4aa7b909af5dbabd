"""`earshot search`: Optuna looks for a recipe's best parameters, every trial a DVC experiment."""

import argparse
from typing import Any

from earshot.cli import experiments
from earshot.cli.shared import positive


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = experiments.add(
        commands,
        "search",
        help="look for the best parameters of a recipe",
        description="Look through `search.ranges` in params.yaml with Optuna's TPE, every trial a "
        "DVC experiment, so many at a time that all cores are busy unless --workers says "
        "otherwise. Judged on validation items, never on the test; hopeless trials end early. Run "
        "again, it continues the same study.",
    )
    command.add_argument("--trials", type=positive, help="how many in all (default: search.trials)")
    command.add_argument(
        "--apply", action="store_true", help="run nothing: apply the best trial to the workspace"
    )
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Search, or apply what a search found. Return 1 when no trial succeeded."""
    from importlib.util import find_spec

    from earshot.runtime import progress
    from earshot.workbench.experiments import search

    if find_spec("optuna") is None:
        raise ValueError("search needs Optuna: pip install 'earshot[search]'")
    params, task = experiments.task("search", chosen.name)
    section = params.search
    total = chosen.trials or section.trials
    study = search.Study(task, section, chosen.name, total, params.seed)
    if chosen.apply:
        _apply(task, study.best())
        return 0
    workers = chosen.workers or max(1, progress.workers() // task.seeds)
    varied = tuple(section.ranges)
    code = experiments.conduct(task, study, varied, workers, task.seeds, history=True)
    if code == 0:
        print("or: earshot search --apply, which takes the best")
    return code


def _apply(task: Any, best: Any) -> None:
    from earshot.runtime import yaml_file
    from earshot.workbench.comparison.changes import changes
    from earshot.workbench.experiments import report, search

    search.apply(task, best)
    after = yaml_file.read("params.yaml")
    print(f"applied {best.name}: validation accuracy {report.percent(best.scores)}%")
    changed = changes(task.content, after).changed
    lines = [f"{key}: {old} → {new}" for key, (old, new) in changed.items()]
    print("\n".join(lines) or "params.yaml says so already")
    if fixed := [f"{key}: {old}" for key, (old, _) in changed.items() if key in task.fixed]:
        print("search.fixed made trials short; to train the best in full, put back before")
        print(f"dvc repro: {', '.join(fixed)}")
    print("next: dvc repro, which trains what follows and scores it on the test;")
    print("git checkout . && dvc checkout goes back")
