"""A grid of experiments, continued where a killed command left it."""

import time
from collections.abc import Callable
from dataclasses import replace

from earshot.workbench.experiments.session import Task, Tell, pool
from earshot.workbench.experiments.snapshot import CommandError, command
from earshot.workbench.experiments.trial import Outcome, Trial

POLL = 0.2  # seconds
Watch = Callable[[list[Outcome], list[str]], None]


def run(task: Task, trials: list[Trial], workers: int, tell: Tell, watch: Watch) -> list[Outcome]:
    """Run trials and return what became of each, in their order; those done before, under what
    holds now, are not repeated.

    `watch` is told of all outcomes so far and the names that run, whenever that changes.
    """
    kept = task.folder / "trials"
    digests = {trial.name: task.digest(trial.overrides) for trial in trials}
    found = {
        one.name: one for trial in trials if (one := _before(task, trial, digests[trial.name]))
    }
    todo = [trial for trial in trials if trial.name not in found]
    if found:
        tell(f"{len(found)} of {len(trials)} experiments are there already")
    watch(list(found.values()), [])
    if todo:
        with pool(task, workers, None, tell) as running:
            while todo or running.running:
                while todo and running.free:
                    running.start(todo.pop(0))
                    watch(list(found.values()), list(running.running))
                ended = running.ended()
                for outcome in ended:
                    found[outcome.name] = replace(outcome, digest=digests[outcome.name])
                    found[outcome.name].write(kept)
                if ended:
                    watch(list(found.values()), list(running.running))
                else:
                    time.sleep(POLL)
    return [found[trial.name] for trial in trials]


def _before(task: Task, trial: Trial, digest: str) -> Outcome | None:
    """Return what an earlier command found, if that still holds and the experiment has not been
    removed.
    """
    outcome = Outcome.read(task.folder / "trials", trial.name)
    if (
        outcome is None
        or outcome.state != "done"
        or outcome.digest != digest
        or outcome.overrides != trial.overrides
    ):
        return None
    return outcome if there(task, outcome) else None


def there(task: Task, outcome: Outcome) -> bool:
    """Tell whether an outcome's experiment exists."""
    try:
        names = command(
            "git",
            "for-each-ref",
            "--points-at",
            outcome.commit,
            "--format=%(refname)",
            "refs/exps",
            cwd=task.root,
        )
    except CommandError:
        return False
    return any(name.endswith(f"/{outcome.name}") for name in names.splitlines())
