"""Where sweeps and searches begin: what is to be run is looked at, what a killed command left is
removed.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earshot.params import Params
from earshot.runtime import progress
from earshot.workbench.experiments import snapshot
from earshot.workbench.experiments.pool import Pool, alone, clean
from earshot.workbench.experiments.trial import Overrides, check

NOT_READ = ("sweep", "search", "guard")  # by any stage
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """What experiments are about: a recipe of a track, in the repository at `root`, results in
    `folder`.

    `content` is params.yaml as read. `folder` holds what stays, the repository's .dvc/tmp what does
    not.
    """

    root: Path
    folder: Path
    recipe: str
    track: str
    content: dict[str, Any]

    @property
    def stage(self) -> str:
        return f"distill@{self.recipe}"

    @property
    def scores(self) -> str:
        """The file that an experiment is judged by: held-out items that are not the test's."""
        return f"metrics/{self.track}/validation/{self.recipe}.json"

    def digest(self, overrides: Overrides) -> str:
        """Name all that the scores of an experiment depend on."""
        read = {key: value for key, value in self.content.items() if key not in NOT_READ}
        return snapshot.digest(self.root, self.stage, read, overrides)


def task(root: Path, folder: Path, section: str, params: Params, content: dict[str, Any]) -> Task:
    """Return the task of a section of params.yaml (`sweep` or `search`); ValueError when it cannot
    be carried out.
    """
    asked = getattr(params, section)
    if asked is None:
        raise ValueError(f"params.yaml has no {section}: nothing to run")
    recipe = params.recipes[asked.recipe]
    varied = asked.grid if section == "sweep" else asked.ranges
    check([*asked.fixed, *varied], asked.recipe, recipe.track, content, section)
    return Task(root, folder, asked.recipe, recipe.track, content)


def waiting(task: Task) -> list[str]:
    """Return the stages that have to run before experiments can: those not current, and those whose
    data is nowhere.
    """
    return snapshot.stale(task.root, task.stage) or snapshot.absent(task.root, task.stage)


def prepare(task: Task, tell: Tell) -> None:
    """Run what experiments depend on and is not there, in the workspace; ValueError when a stage
    fails.
    """
    if stages := waiting(task):
        tell(f"first, once: dvc repro {' '.join(stages)}")
        if subprocess.run(
            ["dvc", "repro", *stages], cwd=task.root, env=snapshot.environment(task.root)
        ).returncode:
            raise ValueError(f"dvc repro {' '.join(stages)} failed; nothing was tried")


@contextmanager
def pool(task: Task, workers: int, cores: int | None, tell: Tell) -> Iterator[Pool]:
    """Yield a pool of `workers` experiments, with `cores` processes each (None: this machine's,
    shared out).

    ValueError when stages before the experiments' own are not current: every experiment would run
    them.
    """
    temporary = task.root / ".dvc/tmp/earshot"
    with alone(temporary) as lock:
        if left := clean(temporary):
            tell(f"removed what a killed command left: {', '.join(left)}")
        if stages := waiting(task):
            raise ValueError(
                f"not current: {', '.join(stages)}; run `dvc repro {task.stage}` first"
            )
        start = snapshot.take(task.root)
        if start.edits:
            tell("uncommitted changes of tracked files are part of every experiment")
        if files := snapshot.untracked(task.root):
            tell(
                "not part of any experiment, as Git does not know them: "
                f"{', '.join(files[:5])}{' …' * (len(files) > 5)}"
            )
            tell(f"  to include them: git add {' '.join(files[:5])}")
        share = cores or max(1, progress.workers() // workers)
        with Pool(
            start, task.stage, task.scores, temporary, task.folder / "logs", workers, share, lock
        ) as made:
            yield made
