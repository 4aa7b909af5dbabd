"""Optuna chooses the next experiment; hopeless ones end early, by their live validation curves.

A trial is an experiment of `pool`, judged by its accuracy on validation items, the mean over seeds.
Epoch by epoch the mean of the seeds that train side by side is compared with the median of earlier
trials (MedianPruner). The journal in the results' folder is written before anything starts, so that
a killed search continues.
"""

import csv
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earshot.params import Range, Search
from earshot.runtime.files import atomic
from earshot.workbench.experiments.pool import Pool
from earshot.workbench.experiments.session import Task, Tell, pool
from earshot.workbench.experiments.snapshot import command
from earshot.workbench.experiments.sweep import POLL, Watch, there
from earshot.workbench.experiments.trial import Outcome, Overrides, Trial

if TYPE_CHECKING:
    import optuna

JOURNAL = "journal.log"
AGAIN = "again"  # the number of the trial that was killed, whose parameters this one has


@dataclass(frozen=True)
class Plan:
    """What is searched for: `trials` in all, names beginning with `name`; another `digest` is
    another study.
    """

    task: Task
    section: Search
    name: str
    trials: int
    seed: int

    @cached_property
    def digest(self) -> str:
        ranges = {key: value.model_dump() for key, value in self.section.ranges.items()}
        return self.task.digest({"fixed": self.section.fixed, "ranges": ranges})

    @property
    def epochs(self) -> int:
        """How long a trial trains, as far as no range says so."""
        key = f"recipes.{self.task.recipe}.epochs"
        return int(
            self.section.fixed.get(key) or self.task.content["recipes"][self.task.recipe]["epochs"]
        )

    @property
    def seeds(self) -> int:
        """How many students a trial trains."""
        key = f"tracks.{self.task.track}.distill.seeds"
        return int(
            self.section.fixed.get(key)
            or self.task.content["tracks"][self.task.track]["distill"]["seeds"]
        )

    def trial(self, number: int, params: Overrides) -> Trial:
        """Return the experiment of a trial of the study."""
        name = f"{self.name}-{self.digest[:4]}-{number:03d}"
        return Trial(name, self.section.fixed | params, tuple(self.section.ranges))


def run(plan: Plan, workers: int, cores: int, tell: Tell, watch: Watch) -> list[Outcome]:
    """Run what is missing of the plan's trials; return what became of every trial of the study, in
    order.

    A trial that was running when an earlier command was killed is run again with the same
    parameters. `watch` is as for `sweep.run`; `cores` is how many seeds of a trial train at a time.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = plan.task.folder / JOURNAL
    with pool(plan.task, workers, cores, tell) as running:
        _mend(journal)
        study = _study(plan, journal)
        if again := _requeue(study):
            tell(f"run again, as they were killed: {', '.join(map(str, again))}")
        past = outcomes(plan, study)
        watch(past, [])
        if past:
            tell(f"{len(past)} of {plan.trials} trials are there already")
        asked: dict[str, optuna.Trial] = {}
        reported: dict[str, int] = {}
        found = {one.name: one for one in past}
        left = plan.trials - len(past)
        while left > 0 or asked:
            while left > 0 and running.free:
                trial = study.ask(
                    {key: distribution(one) for key, one in plan.section.ranges.items()}
                )
                experiment = plan.trial(trial.number, trial.params)
                running.start(experiment)
                asked[experiment.name] = trial
                left -= 1
                watch(list(found.values()), list(asked))
            ended = running.ended() + _pruned(
                plan, running, asked, reported, min(plan.seeds, cores)
            )
            for outcome in ended:
                found[outcome.name] = replace(outcome, digest=plan.digest)
                found[outcome.name].write(plan.task.folder / "trials")
                _tell_study(study, asked.pop(outcome.name), outcome)
                watch(list(found.values()), list(asked))
            if not ended:
                time.sleep(POLL)
    return outcomes(plan, study)


def distribution(asked: Range) -> "optuna.distributions.BaseDistribution":
    """Return where Optuna looks: whole numbers between whole numbers, any number, or one of some
    choices.
    """
    from optuna import distributions

    if asked.choices is not None:
        return distributions.CategoricalDistribution(asked.choices)
    whole = isinstance(asked.low, int) and isinstance(asked.high, int)
    kind = distributions.IntDistribution if whole else distributions.FloatDistribution
    return kind(asked.low, asked.high, log=asked.log)


def outcomes(plan: Plan, study: "optuna.Study") -> list[Outcome]:
    """Return what became of the study's trials, those left out that were killed and run again, in
    order.
    """
    again = {trial.user_attrs.get(AGAIN) for trial in study.trials}
    names = [
        plan.trial(t.number, {}).name
        for t in study.trials
        if t.state.is_finished() and t.number not in again
    ]
    return [one for name in names if (one := Outcome.read(plan.task.folder / "trials", name))]


def best(plan: Plan) -> Outcome:
    """Return the best trial of the plan's study whose experiment exists; ValueError when there is
    none.
    """
    journal = plan.task.folder / JOURNAL
    done: list[Outcome] = []
    if journal.is_file():
        done = [
            one
            for one in outcomes(plan, _study(plan, journal))
            if one.state == "done" and there(plan.task, one)
        ]
    if not done:
        raise ValueError(
            "no finished trial of this search (its ranges, code and data as they are "
            "now): run earshot search"
        )
    return max(done, key=lambda one: one.scores["accuracy"])


def apply(task: Task, outcome: Outcome) -> None:
    """Bring an experiment's parameters, metrics and models into the workspace; ValueError when
    changes would be lost.
    """
    changed = command("git", "diff", "--name-only", "HEAD", cwd=task.root).splitlines()
    lost = [
        name
        for name in changed
        if command("git", "diff", "--name-only", outcome.commit, "--", name, cwd=task.root)
    ]
    if lost:
        raise ValueError(
            f"uncommitted changes that {outcome.name} does not have: "
            f"{', '.join(lost[:5])}; commit or stash them"
        )
    command("dvc", "exp", "apply", outcome.name, cwd=task.root)


def curve(folder: Path, seeds: int, since: float = 0.0) -> list[float]:
    """Return the mean validation score of each epoch that `seeds` students have behind them.

    Files not written since `since` (`time.time`) are of an earlier run, which a clone begins with.
    """
    files = [file for file in folder.glob("seed-*.csv") if _changed(file) > since]
    scores = sorted((_column(file) for file in files), key=len, reverse=True)[:seeds]
    if len(scores) < seeds:
        return []
    return [sum(epoch) / seeds for epoch in zip(*scores, strict=False)]


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # DVC removes outputs before a stage runs
        return 0.0


def _column(file: Path) -> list[float]:
    try:
        with open(file, newline="") as lines:
            return [float(row["validation"]) for row in csv.DictReader(lines)]
    except FileNotFoundError:
        return []


def _pruned(
    plan: Plan, running: Pool, asked: dict[str, Any], reported: dict[str, int], seeds: int
) -> list[Outcome]:
    """Report new epochs (`reported` so many before) to the study, end the trials that it holds for
    hopeless.
    """
    ended = []
    for name, one in list(running.running.items()):
        trial, known = asked[name], reported.get(name, 0)
        curves = one.clone / f"plots/{plan.task.track}/curves/{plan.task.recipe}"
        epochs = curve(curves, seeds, one.began)
        for epoch in range(known, len(epochs)):
            trial.report(epochs[epoch], epoch)
        reported[name] = max(known, len(epochs))
        if len(epochs) > known and one.process.poll() is None and trial.should_prune():
            ended.append(running.end(name, f"{epochs[-1]:.1%} after epoch {len(epochs)}", "pruned"))
    return ended


def _study(plan: Plan, journal: Path) -> "optuna.Study":
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=f"{plan.name}-{plan.digest}",
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=3, n_warmup_steps=max(1, plan.epochs // 3), n_min_trials=2
        ),
        load_if_exists=True,
    )
    # a sampler that was seeded alike would repeat, after a restart, what it drew before
    startup = max(3, plan.trials // 3)
    study.sampler = optuna.samplers.TPESampler(
        seed=plan.seed + len(study.trials), n_startup_trials=startup
    )
    return study


def _requeue(study: "optuna.Study") -> list[int]:
    """Mark trials that an earlier command left running as failed, and queue their parameters;
    return their numbers.
    """
    import optuna

    left = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.RUNNING]
    for trial in left:
        study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return [trial.number for trial in left]


def _tell_study(study: "optuna.Study", trial: "optuna.Trial", outcome: Outcome) -> None:
    import optuna

    states = {"failed": optuna.trial.TrialState.FAIL, "pruned": optuna.trial.TrialState.PRUNED}
    if outcome.state == "done":
        study.tell(trial, outcome.scores["accuracy"])
    else:
        study.tell(trial, state=states[outcome.state])


def _mend(journal: Path) -> None:
    """Take away what a kill may leave: a lock, half a line at the end."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.is_file():
        content = journal.read_bytes()
        if not content.endswith(b"\n"):
            with atomic(journal) as partial:
                partial.write_bytes(content[: content.rfind(b"\n") + 1])
