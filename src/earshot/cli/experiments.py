"""What `sweep` and `search` share: options, results, and the view of what runs."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from earshot.cli.shared import positive

FOLDER = Path("experiments")


def add(commands: Any, name: str, help: str, description: str) -> argparse.ArgumentParser:
    """Add a command of experiments to the parser, with the options that all have."""
    command = commands.add_parser(name, help=help, description=description)
    command.add_argument("--workers", type=positive, help="experiments at a time")
    command.add_argument(
        "--name", default=name, help=f"what experiments' names begin with (default: {name})"
    )
    return command


def task(section: str, name: str) -> tuple[Any, Any]:
    """Return the parameters and the task of `sweep` or `search`.

    ValueError for a name that Git would not take, and where there is nothing to run.
    """
    from earshot.params import parse
    from earshot.runtime import yaml_file
    from earshot.workbench.experiments import task

    if not re.fullmatch(r"\w[\w-]*", name):
        raise ValueError(f"--name {name}: letters, digits, _ and - only")
    content = yaml_file.read("params.yaml")
    params, root = parse(content), Path().resolve()
    return params, task.make(root, root / FOLDER / name, section, params, content)


def tell(line: str) -> None:
    """Say something beside the results."""
    print(line, file=sys.stderr, flush=True)


def conduct(
    task: Any, plan: Any, varied: Sequence[str], workers: int, cores: int | None, history: bool
) -> int:
    """Run a plan; print a table, write it as CSV, JSON and PNG. Return 1 when nothing succeeded."""
    from earshot.workbench.experiments import engine, report

    tell(f"{plan.total} experiments of {task.stage}, {workers} at a time")
    with View(plan.total, workers) as view:
        outcomes = engine.run(task, plan, workers, cores, view.tell, view.watch)
    report.write(task.folder, outcomes, varied, {"recipe": task.recipe, "fixed": task.fixed})
    title = f"{task.recipe}: validation accuracy"
    report.draw(task.folder / "accuracy.png", outcomes, varied, title, history)
    print(f"{report.table(outcomes, varied)}\n\n{report.verdict(outcomes)}")
    folder = task.folder.relative_to(task.root)
    print(f"{folder}/: results.csv, results.json, accuracy.png, logs/")
    if not any(one.state == "done" for one in outcomes):
        return 1
    print("next: dvc exp show --only-changed, dvc exp apply NAME, dvc exp remove NAME …")
    return 0


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

    def tell(self, line: str) -> None:
        """Say something above the bar."""
        self.bar.clear()
        tell(line)

    def watch(self, outcomes: Sequence[Any], running: Sequence[str]) -> None:
        """Show outcomes so far and what runs."""
        from earshot.workbench.experiments import report

        first = not self.known and not running
        for one in outcomes:
            if one.name not in self.known and not first:
                outcome = report.percent(one.scores) if one.state == "done" else one.reason
                self.tell(f"{one.state:6} {one.name}  {outcome}  ({one.seconds:.0f} s)")
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
