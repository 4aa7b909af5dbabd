"""`earshot sweep`: every combination of `sweep.grid` in params.yaml, as DVC experiments."""

import argparse
from typing import Any

from earshot.cli import experiments


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = experiments.add(
        commands,
        "sweep",
        help="run a grid of experiments",
        description="Run every combination of `sweep.grid` in params.yaml as a DVC experiment, two "
        "at a time unless --workers says otherwise; the workspace is left alone. Compared on "
        "validation items, never on the test. Run again, it continues: what is done is not "
        "repeated.",
    )
    command.add_argument(
        "--prepare", action="store_true", help="first run what experiments need and is not there"
    )
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Run the grid; print and write what came out. Return 1 when no experiment succeeded."""
    from earshot.workbench.experiments import engine, grid

    params, task = experiments.task("sweep", chosen.name)
    if chosen.prepare:
        engine.prepare(task, experiments.tell)
    values = params.sweep.grid
    plan = grid.Grid(task, values, chosen.name)
    workers = chosen.workers or 2
    return experiments.conduct(task, plan, tuple(values), workers, cores=None, history=False)
