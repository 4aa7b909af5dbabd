"""`earshot sweep`: every combination of `sweep.grid` in params.yaml, as DVC experiments."""

import argparse
from pathlib import Path
from typing import Any

from earshot.cli.shared import positive


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "sweep",
        help="run a grid of experiments",
        description="Run every combination of `sweep.grid` in params.yaml as a DVC "
        "experiment; the workspace is left "
        "alone. Compared on validation items, never on the test. Run again, it "
        "continues: what is done is not repeated.",
    )
    command.add_argument(
        "--workers", type=positive, default=2, help="experiments at a time (default: 2)"
    )
    command.add_argument(
        "--name", default="sweep", help="what experiments' names begin with (default: sweep)"
    )
    command.add_argument(
        "--prepare", action="store_true", help="first run what experiments need and is not there"
    )
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Run the grid; print a table, write it as CSV, JSON and PNG. Return 1 when no experiment
    succeeded.
    """
    from earshot.cli import experiments
    from earshot.workbench.experiments import report, session, sweep, trial

    params, content, folder = experiments.prepare(chosen.name)
    task = session.task(Path().resolve(), folder, "sweep", params, content)
    if chosen.prepare:
        session.prepare(task, experiments.tell)
    asked = params.sweep
    varied, trials = tuple(asked.grid), trial.grid(chosen.name, asked.fixed, asked.grid)
    experiments.tell(f"{len(trials)} experiments of {task.stage}, {chosen.workers} at a time")
    with experiments.View(len(trials), chosen.workers) as view:
        outcomes = sweep.run(task, trials, chosen.workers, view.tell, view.watch)
    report.write(folder, outcomes, varied, {"recipe": task.recipe, "fixed": asked.fixed})
    report.draw(folder / "accuracy.png", outcomes, varied, f"{task.recipe}: validation accuracy")
    print(f"{report.table(outcomes, varied)}\n\n{report.verdict(outcomes)}")
    return experiments.end(folder, outcomes)
