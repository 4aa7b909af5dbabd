"""Optuna chooses the next experiment; hopeless ones end early, by their live validation curves.

A trial is judged by its accuracy on validation items, the mean over seeds. Epoch by epoch the mean
of the seeds that train side by side is compared with the median of earlier trials (MedianPruner).
The study is made anew from what became of earlier trials, so a killed search continues.
"""

from typing import TYPE_CHECKING

from earshot.params import Range, Search
from earshot.workbench.experiments.grid import exists
from earshot.workbench.experiments.snapshot import command
from earshot.workbench.experiments.task import Task
from earshot.workbench.experiments.trial import Outcome, Trial

if TYPE_CHECKING:
    import optuna


class Study:
    """A plan of `engine.run`: `total` trials, chosen by Optuna from those before.

    Other ranges, code or data make another study: its digest and its trials' names differ.
    """

    def __init__(self, task: Task, section: Search, name: str, total: int, seed: int):
        self._task, self._seed, self.total = task, seed, total
        ranges = {key: value.model_dump() for key, value in section.ranges.items()}
        self._digest = task.digest({"fixed": task.fixed, "ranges": ranges})
        self._prefix = f"{name}-{self._digest[:4]}-"
        self._ranges = section.ranges
        self._trials: dict[str, optuna.Trial] = {}
        self._known: dict[str, int] = {}  # epochs that Optuna knows of
        self._killed: list[str] = []

    def past(self) -> list[Outcome]:
        """Return what became of the study's trials, in order, those that were killed included."""
        names = sorted(path.stem for path in self._task.trials.glob(f"{self._prefix}*.json"))
        read = [Outcome.read(self._task.trials, name) for name in names]
        return [one for one in read if one and one.digest == self._digest]

    def begin(self) -> list[Outcome]:
        """Make the study from the trials that ended; those that were killed are asked for first."""
        past = self.past()
        ended = [one for one in past if one.state != "running"]
        self._study = _study(self._task.epochs, self.total, self._seed + len(past))
        self._distributions = {key: distribution(one) for key, one in self._ranges.items()}
        for one in ended:
            self._study.add_trial(self._frozen(one))
        for one in past:
            if one.state == "running":
                self._study.enqueue_trial({key: one.overrides[key] for key in self._ranges})
                self._killed.append(one.name)
        self._left = max(0, self.total - len(ended))
        self._number = len(past)
        return ended

    def ask(self) -> Trial | None:
        if self._left == 0:
            return None
        self._left -= 1
        trial = self._study.ask(self._distributions)
        if self._killed:
            name = self._killed.pop(0)
        else:
            name = f"{self._prefix}{self._number:03d}"
            self._number += 1
        self._trials[name] = trial
        return Trial(name, self._task.fixed | trial.params, self._digest)

    def hopeless(self, name: str, curve: list[float]) -> bool:
        """Report a trial's epochs; tell whether it is to end."""
        trial, known = self._trials[name], self._known.get(name, 0)
        for epoch in range(known, len(curve)):
            trial.report(curve[epoch], epoch)
        self._known[name] = max(known, len(curve))
        return len(curve) > known and trial.should_prune()

    def tell(self, outcome: Outcome) -> None:
        if outcome.state == "done":
            self.hopeless(outcome.name, outcome.curve)  # the epochs that were not seen live
        trial = self._trials.pop(outcome.name)
        self._study.tell(trial, outcome.scores.get("accuracy"), _states()[outcome.state])

    def best(self) -> Outcome:
        """Return the best trial whose experiment exists; ValueError when there is none."""
        done = [one for one in self.past() if one.state == "done" and exists(self._task, one)]
        if not done:
            scope = "its ranges, code and data as they are now"
            raise ValueError(f"no finished trial of this search ({scope}): run earshot search")
        return max(done, key=lambda one: one.scores["accuracy"])

    def _frozen(self, outcome: Outcome) -> "optuna.trial.FrozenTrial":
        import optuna

        return optuna.trial.create_trial(
            state=_states()[outcome.state],
            value=outcome.scores.get("accuracy"),
            params={key: outcome.overrides[key] for key in self._ranges},
            distributions=self._distributions,
            intermediate_values=dict(enumerate(outcome.curve)),
        )


def distribution(asked: Range) -> "optuna.distributions.BaseDistribution":
    """Return where Optuna looks: among choices, whole numbers, or any between two others."""
    from optuna import distributions

    if asked.choices is not None:
        return distributions.CategoricalDistribution(asked.choices)
    whole = isinstance(asked.low, int) and isinstance(asked.high, int)
    kind = distributions.IntDistribution if whole else distributions.FloatDistribution
    return kind(asked.low, asked.high, log=asked.log)


def apply(task: Task, outcome: Outcome) -> None:
    """Bring an experiment's parameters, metrics and models into the workspace.

    ValueError when changes would be lost.
    """
    changed = command("git", "diff", "--name-only", "HEAD", cwd=task.root).splitlines()
    differ = ("git", "diff", "--name-only", outcome.commit, "--")
    lost = [name for name in changed if command(*differ, name, cwd=task.root)]
    if lost:
        names = ", ".join(lost[:5])
        raise ValueError(
            f"uncommitted changes that {outcome.name} does not have: {names}; commit or stash them"
        )
    command("dvc", "exp", "apply", outcome.name, cwd=task.root)


def _study(epochs: int | None, total: int, seed: int) -> "optuna.Study":
    """Return an empty study; one seeded alike would repeat, after a restart, what it drew.

    No trial is ended early where its epochs are not known.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=3, n_warmup_steps=max(1, (epochs or 0) // 3), n_min_trials=2
    )
    if epochs is None:
        pruner = optuna.pruners.NopPruner()
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(3, total // 3))
    return optuna.create_study(direction="maximize", pruner=pruner, sampler=sampler)


def _states() -> dict:
    from optuna.trial import TrialState

    return {"done": TrialState.COMPLETE, "failed": TrialState.FAIL, "pruned": TrialState.PRUNED}
