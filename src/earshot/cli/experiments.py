"""What `sweep` and `search` share: where results lie, and the view of what runs."""

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

FOLDER = Path("experiments")


def prepare(name: str) -> tuple[Any, dict[str, Any], Path]:
    """Return parameters, params.yaml as read and the folder of results; ValueError for a name that
    Git would not take.
    """
    import yaml

    from earshot.params import parse

    if not re.fullmatch(r"\w[\w-]*", name):
        raise ValueError(f"--name {name}: letters, digits, _ and - only")
    content = yaml.safe_load(Path("params.yaml").read_text())
    return parse(content), content, FOLDER.resolve() / name


def tell(line: str) -> None:
    """Say something beside the results."""
    print(line, file=sys.stderr, flush=True)


def end(folder: Path, outcomes: Sequence[Any]) -> int:
    """Say where results lie and what can be done with them; return the exit code."""
    print(
        f"{folder.relative_to(Path().resolve())}/: results.csv, results.json, accuracy.png, logs/"
    )
    if any(one.state == "done" for one in outcomes):
        print("next: dvc exp show --only-changed, dvc exp apply NAME, dvc exp remove NAME …")
        return 0
    return 1


class View:
    """A bar with how many are done, failed and running and how long the rest takes; lines where
    there is no terminal.
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
        self.total, self.workers, self.known, self.begun = (
            total,
            workers,
            set[str](),
            time.monotonic(),
        )

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
                said = report.percent(one.scores) if one.state == "done" else one.reason
                self.tell(f"{one.state:6} {one.name}  {said}  ({one.seconds:.0f} s)")
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
