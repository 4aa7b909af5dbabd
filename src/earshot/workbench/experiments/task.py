"""What experiments are about: a recipe, trained in one repository, under parameters it may have."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earshot.params import Params
from earshot.workbench.experiments import snapshot
from earshot.workbench.experiments.trial import Overrides

NOT_READ = ("sweep", "search", "guard")  # by any stage


@dataclass(frozen=True)
class Task:
    """A recipe of a track in the repository at `root`, all trials with the overrides of `fixed`.

    `content` is params.yaml as read. `folder` holds results, the repository's .dvc/tmp clones.
    """

    root: Path
    folder: Path
    recipe: str
    track: str
    content: dict[str, Any]
    fixed: Overrides

    @property
    def stage(self) -> str:
        return f"distill@{self.recipe}"

    @property
    def scores(self) -> str:
        """The file that an experiment is judged by: held-out items that are not the test's."""
        return f"metrics/{self.track}/validation/{self.recipe}.json"

    @property
    def curves(self) -> str:
        """The folder of the live validation curves, a file a seed."""
        return f"plots/{self.track}/curves/{self.recipe}"

    @property
    def epochs(self) -> int | None:
        """How long a trial trains, as far as nothing that varies says so; None where its steps are
        given.
        """
        key = f"recipes.{self.recipe}.epochs"
        epochs = self.fixed.get(key) or self.content["recipes"][self.recipe].get("epochs")
        return epochs and int(epochs)

    @property
    def seeds(self) -> int:
        """How many students a trial trains."""
        key = f"tracks.{self.track}.distill.seeds"
        return int(self.fixed.get(key) or self.content["tracks"][self.track]["distill"]["seeds"])

    @property
    def trials(self) -> Path:
        """The folder of what became of each trial."""
        return self.folder / "trials"

    def digest(self, overrides: Any) -> str:
        """Name all that the scores of an experiment depend on."""
        read = {key: value for key, value in self.content.items() if key not in NOT_READ}
        return snapshot.digest(self.root, self.stage, read, overrides)


def make(root: Path, folder: Path, section: str, params: Params, content: dict[str, Any]) -> Task:
    """Return the task of a section of params.yaml (`sweep` or `search`).

    ValueError when there is no such section, or when it sets what would do nothing or too much.
    """
    asked = getattr(params, section)
    if asked is None:
        raise ValueError(f"params.yaml has no {section}: nothing to run")
    track = params.recipes[asked.recipe].track
    varied = asked.grid if section == "sweep" else asked.ranges
    check([*asked.fixed, *varied], asked.recipe, track, content, section)
    return Task(root, folder, asked.recipe, track, content, asked.fixed)


def check(
    keys: Iterable[str], recipe: str, track: str, content: dict[str, Any], section: str
) -> None:
    """Raise ValueError for a key that params.yaml lacks, or that concerns more than a recipe."""
    allowed = (f"recipes.{recipe}", f"tracks.{track}.student", f"tracks.{track}.distill")
    for key in keys:
        if not key.startswith(tuple(f"{one}." for one in allowed)):
            raise ValueError(
                f"{section}: {key}: an experiment trains {recipe} alone, and may change "
                + ", ".join(allowed)
            )
        part: Any = content
        for name in key.split("."):
            if not isinstance(part, dict) or name not in part:
                raise ValueError(
                    f"{section}: {key}: params.yaml has no such parameter; write it there first"
                )
            part = part[name]
