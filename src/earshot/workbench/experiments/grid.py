"""Every combination of some values, each tried once."""

from itertools import product

from earshot.workbench.experiments.snapshot import CommandError, command
from earshot.workbench.experiments.task import Task
from earshot.workbench.experiments.trial import Outcome, Overrides, Trial, Value, named

LONGEST = 80  # characters of a name


class Grid:
    """A plan of `engine.run`: the trials of a grid, without those done before under what holds."""

    def __init__(self, task: Task, values: dict[str, list[Value]], name: str):
        self._task, self._name = task, name
        self._all = combinations(name, task.fixed, values)
        self.total = len(self._all)
        self._waiting: list[Trial] = []

    def begin(self) -> list[Outcome]:
        """Return what earlier commands found and still holds; the others wait."""
        trials = [Trial(name, one, self._task.digest(one)) for name, one in self._all.items()]
        found = {one.name: one for trial in trials if (one := self._before(trial))}
        self._waiting = [trial for trial in trials if trial.name not in found]
        return list(found.values())

    def ask(self) -> Trial | None:
        return self._waiting.pop(0) if self._waiting else None

    def hopeless(self, name: str, curve: list[float]) -> bool:
        return False  # a grid is there to be filled

    def tell(self, outcome: Outcome) -> None:
        pass

    def _before(self, trial: Trial) -> Outcome | None:
        outcome = Outcome.read(self._task.trials, trial.name)
        if outcome is None or outcome.state != "done":
            return None
        same = (outcome.digest, outcome.overrides) == (trial.digest, trial.overrides)
        return outcome if same and exists(self._task, outcome) else None


def combinations(name: str, fixed: Overrides, values: dict[str, list[Value]]) -> dict:
    """Return {name: overrides} of every combination of `values`, named after it."""
    found: dict[str, Overrides] = {}
    for combination in product(*(dict.fromkeys(choices) for choices in values.values())):
        varied = dict(zip(values, combination, strict=True))
        called = named(name, varied)
        if len(called) > LONGEST or called in found:
            called = f"{name}-{len(found) + 1:03d}"
        found[called] = fixed | varied
    return found


def exists(task: Task, outcome: Outcome) -> bool:
    """Tell whether an outcome's experiment has not been removed."""
    words = ("git", "for-each-ref", "--points-at", outcome.commit, "--format=%(refname)")
    try:
        names = command(*words, "refs/exps", cwd=task.root)
    except CommandError:
        return False
    return any(name.endswith(f"/{outcome.name}") for name in names.splitlines())
