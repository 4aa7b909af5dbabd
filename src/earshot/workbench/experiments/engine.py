"""Carries out a plan of experiments: starts them, ends hopeless ones, keeps what became of each.

Every outcome is written as it comes, and a trial before it starts: the same command, given again
after a kill, goes on.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from earshot.runtime import progress
from earshot.workbench.experiments import snapshot
from earshot.workbench.experiments.pool import Pool, alone, clean
from earshot.workbench.experiments.task import Task
from earshot.workbench.experiments.trial import Outcome, Trial

POLL = 0.2  # seconds
Tell = Callable[[str], None]
Watch = Callable[[list[Outcome], list[str]], None]


class Plan(Protocol):
    """Which trials are run, `total` of them."""

    total: int

    def begin(self) -> list[Outcome]:
        """Return what became of trials before this command."""

    def ask(self) -> Trial | None:
        """Return the next trial; None when none waits."""

    def hopeless(self, name: str, curve: list[float]) -> bool:
        """Tell whether a trial with this validation curve is to end now."""

    def tell(self, outcome: Outcome) -> None:
        """Learn what became of a trial."""


def run(
    task: Task, plan: Plan, workers: int, cores: int | None, tell: Tell, watch: Watch
) -> list[Outcome]:
    """Run what is missing of a plan; return what became of every trial, by name.

    `cores` is how many seeds of a trial train at a time (None: this machine's, shared out). `watch`
    gets all outcomes so far and the names of what runs, whenever that changes.
    """
    with _pool(task, workers, cores, tell) as pool:
        found = {one.name: one for one in plan.begin()}
        watch(list(found.values()), [])
        if found:
            tell(f"{len(found)} of {plan.total} experiments are there already")
        while True:
            while pool.free and (trial := plan.ask()):
                if (left := Outcome.read(task.trials, trial.name)) and left.state == "running":
                    tell(f"run again, as it was killed: {trial.name}")
                waiting = Outcome(trial.name, trial.overrides, "running", digest=trial.digest)
                waiting.write(task.trials)
                pool.start(trial)
                watch(list(found.values()), list(pool.running))
            if not pool.running:
                return [found[name] for name in sorted(found)]
            ended = pool.ended() + _pruned(plan, pool)
            for outcome in ended:
                outcome.write(task.trials)
                plan.tell(outcome)
                found[outcome.name] = outcome
                watch(list(found.values()), list(pool.running))
            if not ended:
                time.sleep(POLL)


def _pruned(plan: Plan, pool: Pool) -> list[Outcome]:
    """End the trials that the plan holds for hopeless."""
    ended = []
    for name, curve in pool.curves().items():
        if plan.hopeless(name, curve):
            ended.append(pool.end(name, f"{curve[-1]:.1%} after epoch {len(curve)}", "pruned"))
    return ended


def waiting(task: Task) -> list[str]:
    """Return the stages that have to run before experiments can.

    They are not current, or their data is nowhere.
    """
    return snapshot.stale(task.root, task.stage) or snapshot.absent(task.root, task.stage)


def prepare(task: Task, tell: Tell) -> None:
    """Run what experiments need and is not there, in the workspace; ValueError when that fails."""
    if stages := waiting(task):
        command = ["dvc", "repro", *stages]
        tell(f"first, once: {' '.join(command)}")
        environment = snapshot.environment(task.root)
        if subprocess.run(command, cwd=task.root, env=environment).returncode:
            raise ValueError(f"{' '.join(command)} failed; nothing was tried")


@contextmanager
def _pool(task: Task, workers: int, cores: int | None, tell: Tell) -> Iterator[Pool]:
    """Yield a pool of `workers` experiments, after removing what a killed command left.

    ValueError when stages before the experiments' own are not current: every experiment would run
    them.
    """
    clones = task.root / ".dvc/tmp/earshot"
    with alone(clones) as lock:
        if left := clean(clones):
            tell(f"removed what a killed command left: {', '.join(left)}")
        if stages := waiting(task):
            raise ValueError(
                f"not current: {', '.join(stages)}; run `dvc repro {task.stage}` first"
            )
        start = snapshot.take(task.root)
        if start.edits:
            tell("uncommitted changes of tracked files are part of every experiment")
        if files := snapshot.untracked(task.root):
            names = " ".join(files[:5])
            more = " …" if len(files) > 5 else ""
            tell(f"not part of any experiment, as Git does not know them: {names}{more}")
            tell(f"  to include them: git add {names}")
        share = cores or max(1, progress.workers() // workers)
        with Pool(task, start, clones, workers, share, lock) as pool:
            yield pool
