"""Which experiments are tried, side by side, and what came of them: an Optuna study a task.

A grid's points are given to Optuna, a search's it chooses (TPE). Accuracy on validation items, the
mean over seeds, judges both; a search ends a trial whose live curve is below the median of earlier
ones (MedianPruner). The study lies in SQLite beside the results, so that the same command goes on
after a kill. Other code, data or ranges make another study in it.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import NamedTuple

import optuna
from optuna import distributions
from optuna.trial import TrialState

from earshot.params import Range, Search, Sweep
from earshot.runtime import progress
from earshot.workbench import git
from earshot.workbench.experiments import clone
from earshot.workbench.experiments.task import Overrides, Task, combinations
from earshot.workbench.experiments.trial import Runner

Log = Callable[[str], None]
Watch = Callable[[list["Outcome"], list[str]], None]
Point = tuple[str, Overrides]  # an experiment's name and what it varies
STATES = {TrialState.COMPLETE: "done", TrialState.FAIL: "failed", TrialState.PRUNED: "pruned"}


class Outcome(NamedTuple):
    """What became of an experiment: `scores` as in metrics/<track>/validation/, or a `reason`.

    `state` is done, failed or pruned; `commit` is the experiment's, empty unless it is done.
    """

    name: str
    overrides: Overrides
    state: str
    scores: dict[str, float] = {}
    reason: str = ""
    seconds: float = 0.0
    commit: str = ""


def load(task: Task, seed: int, total: int) -> optuna.Study:
    """Return the study of a task as earlier commands left it; `total` trials are planned."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    task.folder.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{task.folder / 'study.db'}", engine_kwargs={"connect_args": {"timeout": 60}}
    )
    study = optuna.create_study(
        storage=storage, study_name=task.digest(), load_if_exists=True, direction="maximize"
    )
    # One seeded alike would repeat, after a restart, what it drew.
    study.sampler = optuna.samplers.TPESampler(
        seed=seed + len(study.trials), n_startup_trials=max(3, total // 3)
    )
    # A grid is there to be filled, and where steps are given, epochs may differ.
    study.pruner = optuna.pruners.NopPruner()
    if isinstance(task.settings, Search) and task.epochs:
        study.pruner = optuna.pruners.MedianPruner(
            n_startup_trials=3, n_warmup_steps=max(1, task.epochs // 3), n_min_trials=2
        )
    return study


def outcomes(study: optuna.Study) -> dict[str, Outcome]:
    """Return what became of the trials that ended, by name; the last of those tried again."""
    found = {}
    for one in study.get_trials(states=tuple(STATES)):
        if "name" in one.user_attrs:
            outcome = Outcome(state=STATES[one.state], **one.user_attrs)
            found[outcome.name] = outcome
    return found


def killed(study: optuna.Study) -> list[Point]:
    """Return what no command saw the end of; call it where none runs."""
    ended, found = outcomes(study), dict[str, Overrides]()
    for one in study.get_trials(states=(TrialState.RUNNING,)):
        name = one.user_attrs.get("name")
        if name and name not in ended:
            found[name] = one.user_attrs["overrides"]
    return list(found.items())


def forget_waiting(study: optuna.Study) -> None:
    """End what a kill left in the queue: it would come in another's place."""
    for _ in study.get_trials(states=(TrialState.WAITING,)):
        study.tell(study.ask(), state=TrialState.FAIL)


def run(
    task: Task, seed: int, total: int, workers: int, cores: int | None, log: Log, watch: Watch
) -> list[Outcome]:
    """Try what is missing, `workers` at a time; return what became of every experiment, by name.

    `cores` is how many seeds of a trial train at a time (None: this machine's, shared out).
    `watch` gets all outcomes so far and the names of what runs, whenever that changes. ValueError
    when stages before the experiments' own are not current: every experiment would run them.
    """
    clones = task.root / ".dvc/tmp/earshot"
    with clone.alone(clones) as left:
        if left:
            log(f"removed what a killed command left: {', '.join(left)}")
        if stages := clone.waiting(task.root, task.stage):
            raise ValueError(
                f"not current: {', '.join(stages)}; run `dvc repro {task.stage}` first"
            )
        source = clone.take(task.root)
        _log_what_is_part(source, log)
        study = load(task, seed, total)
        forget_waiting(study)
        for name, _ in killed(study):
            log(f"run again, as it was killed: {name}")
        share = cores or max(1, progress.workers() // workers)
        runner = Runner(task, source, clones, share, Event())
        return _carry_out(study, runner, total, workers, log, watch)


def _carry_out(
    study: optuna.Study, runner: Runner, total: int, workers: int, log: Log, watch: Watch
) -> list[Outcome]:
    task, running = runner.task, dict[Future, optuna.Trial]()
    found, waiting = _before(task, study)
    missing = len(waiting) if isinstance(task.settings, Sweep) else total - len(found)
    if found:
        log(f"{len(found)} of {total} experiments are there already")

    def show() -> None:
        watch(list(found.values()), [one.user_attrs["name"] for one in running.values()])

    show()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while missing > 0 or running:
                while missing > 0 and len(running) < workers:
                    missing -= 1
                    trial = _next(task, study, waiting)
                    running[pool.submit(runner.run, trial)] = trial
                    show()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    outcome = _end(study, running.pop(future), future)
                    found[outcome.name] = outcome
                    show()
        except BaseException:
            runner.stop.set()  # what runs stays unfinished in the study
            raise
    return [found[name] for name in sorted(found)]


def _log_what_is_part(source: clone.Source, log: Log) -> None:
    if source.edited != source.head:
        log("uncommitted changes of tracked files are part of every experiment")
    others = git.text(source.root, "ls-files", "--others", "--exclude-standard").splitlines()
    if others:
        names = " ".join(others[:5])
        more = " …" if len(others) > 5 else ""
        log(f"not part of any experiment, as Git does not know them: {names}{more}")
        log(f"  to include them: git add {names}")


def _before(task: Task, study: optuna.Study) -> tuple[dict[str, Outcome], list[Point]]:
    """Return what earlier commands found and still holds, and what is to be tried in any case."""
    found = outcomes(study)
    if isinstance(task.settings, Search):
        return found, killed(study)
    every = {name: task.settings.fixed | one for name, one in points(task).items()}
    found = {name: found[name] for name in every if _holds(task, found.get(name), every[name])}
    return found, [(name, one) for name, one in every.items() if name not in found]


def points(task: Task) -> dict[str, Overrides]:
    """Return the points of a sweep's grid by name."""
    return combinations(task.name, task.settings.grid)


def _holds(task: Task, outcome: Outcome | None, overrides: Overrides) -> bool:
    """Tell whether an experiment is done, of these overrides, and has not been removed."""
    if outcome is None or outcome.state != "done" or outcome.overrides != overrides:
        return False
    return exists(task, outcome)


def exists(task: Task, outcome: Outcome) -> bool:
    """Tell whether an outcome's experiment has not been removed."""
    names = ("for-each-ref", "--points-at", outcome.commit, "--format=%(refname)", "refs/exps")
    try:
        references = git.text(task.root, *names).splitlines()
    except ValueError:
        return False
    return any(one.endswith(f"/{outcome.name}") for one in references)


def _next(task: Task, study: optuna.Study, points: list[Point]) -> optuna.Trial:
    """Return the next trial: of a point that waits, or as Optuna chooses."""
    settings = task.settings
    places = {} if isinstance(settings, Sweep) else settings.ranges
    places = {key: distribution(one) for key, one in places.items()}
    name, overrides = points.pop(0) if points else (None, None)
    if overrides:
        study.enqueue_trial({key: overrides[key] for key in task.varied})
    trial = study.ask(places)
    # The name comes last: a trial that has one is whole, wherever a kill came.
    trial.set_user_attr("overrides", overrides or settings.fixed | trial.params)
    trial.set_user_attr("name", name or f"{task.name}-{study.study_name[:4]}-{trial.number:03d}")
    return trial


def distribution(range_: Range) -> distributions.BaseDistribution:
    """Return where Optuna looks: among choices, whole numbers, or any between two others."""
    if range_.choices is not None:
        return distributions.CategoricalDistribution(range_.choices)
    whole = isinstance(range_.low, int) and isinstance(range_.high, int)
    kind = distributions.IntDistribution if whole else distributions.FloatDistribution
    return kind(range_.low, range_.high, log=range_.log)


def _end(study: optuna.Study, trial: optuna.Trial, future: Future) -> Outcome:
    """Tell the study what became of a trial, and return it."""
    try:
        ended = study.tell(trial, future.result())
    except optuna.TrialPruned as reason:
        trial.set_user_attr("reason", f"{reason}")
        ended = study.tell(trial, state=TrialState.PRUNED)
    except (ValueError, OSError) as reason:
        trial.set_user_attr("reason", f"{reason}")
        ended = study.tell(trial, state=TrialState.FAIL)
    return Outcome(state=STATES[ended.state], **ended.user_attrs)


def best(task: Task, study: optuna.Study) -> Outcome:
    """Return the best experiment that exists; ValueError when there is none."""
    done = [one for one in outcomes(study).values() if one.state == "done" and exists(task, one)]
    if not done:
        scope = "its ranges, code and data as they are now"
        raise ValueError(f"no finished trial of this search ({scope}): run earshot search")
    return max(done, key=lambda one: one.scores["accuracy"])


def apply(task: Task, outcome: Outcome) -> None:
    """Bring an experiment's parameters, metrics and models into the workspace.

    ValueError when changes would be lost.
    """
    changed = git.text(task.root, "diff", "--name-only", "HEAD").splitlines()
    differ = ("diff", "--name-only", outcome.commit, "--")
    lost = [name for name in changed if git.text(task.root, *differ, name)]
    if lost:
        names = ", ".join(lost[:5])
        raise ValueError(
            f"uncommitted changes that {outcome.name} does not have: {names}; commit or stash them"
        )
    clone.dvc(task.root, "exp", "apply", outcome.name)
