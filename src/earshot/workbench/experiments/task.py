"""What experiments are about: a recipe, trained in one repository, under parameters it may have."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from earshot.params import Params, Search, Sweep
from earshot.runtime.files import sha256
from earshot.workbench.experiments.clone import outputs_at
from earshot.workbench.lockfile import dependencies

Value = bool | int | float | str | None
Overrides = dict[str, Value]  # dotted key → value
NOT_READ = ("sweep", "search", "guard")  # by any stage
LONGEST = 80  # characters of an experiment's name


@dataclass(frozen=True)
class Task:
    """A recipe of a track in the repository at `root`, and the `sweep` or `search` of it.

    `name` begins the experiments' names; `content` is params.yaml as read.
    """

    root: Path
    name: str
    settings: Sweep | Search
    track: str
    content: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where results go."""
        return self.root / "experiments" / self.name

    @property
    def stage(self) -> str:
        return f"distill@{self.settings.recipe}"

    @property
    def scores(self) -> str:
        """The file that an experiment is judged by: held-out items that are not the test's."""
        return f"metrics/{self.track}/validation/{self.settings.recipe}.json"

    @property
    def curves(self) -> str:
        """The folder of the live validation curves, a file a seed."""
        return f"plots/{self.track}/curves/{self.settings.recipe}"

    @property
    def varied(self) -> tuple[str, ...]:
        """The keys that differ between experiments."""
        settings = self.settings
        return tuple(settings.grid if isinstance(settings, Sweep) else settings.ranges)

    @property
    def epochs(self) -> int | None:
        """How long a trial trains, as far as nothing that varies says so; None where its steps are
        given.
        """
        recipe = self.settings.recipe
        usual = self.content["recipes"][recipe].get("epochs")
        epochs = self.settings.fixed.get(f"recipes.{recipe}.epochs", usual)
        return epochs and int(epochs)

    @property
    def seeds(self) -> int:
        """How many students a trial trains."""
        usual = self.content["tracks"][self.track]["distill"]["seeds"]
        return int(self.settings.fixed.get(f"tracks.{self.track}.distill.seeds") or usual)

    def digest(self) -> str:
        """Name all that scores depend on but a grid's values: code as it is, data as locked."""
        settings = self.settings.model_dump(include={"recipe", "fixed", "ranges"})
        params = {key: value for key, value in self.content.items() if key not in NOT_READ}
        things: list[Any] = [settings, params]
        for dependency in dependencies(self.root, self.stage):
            path = dependency["path"]
            if outputs_at(self.root, [path]):
                things.append([path, dependency.get("md5")])
                continue
            whole = self.root / path
            code = [whole] if whole.is_file() else sorted(whole.rglob("*.py"))
            things += [[str(file.relative_to(self.root)), sha256(file)] for file in code]
        text = json.dumps(things, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make(root: Path, name: str, section: str, params: Params, content: dict[str, Any]) -> Task:
    """Return the task of a section of params.yaml (`sweep` or `search`).

    ValueError for a name that Git would not take, when there is no such section, or when it sets
    what would do nothing or too much.
    """
    if not re.fullmatch(r"\w[\w-]*", name):
        raise ValueError(f"--name {name}: letters, digits, _ and - only")
    settings = getattr(params, section)
    if settings is None:
        raise ValueError(f"params.yaml has no {section}: nothing to run")
    task = Task(root, name, settings, params.recipes[settings.recipe].track, content)
    try:
        check([*settings.fixed, *task.varied], task)
    except ValueError as error:
        raise ValueError(f"{section}: {error}") from None
    return task


def check(keys: Iterable[str], task: Task) -> None:
    """Raise ValueError for a key that params.yaml lacks, or that concerns more than a recipe."""
    recipe, track = task.settings.recipe, task.track
    allowed = (f"recipes.{recipe}", f"tracks.{track}.student", f"tracks.{track}.distill")
    for key in keys:
        if not key.startswith(tuple(f"{one}." for one in allowed)):
            may = f"trains {recipe} alone, and may change {', '.join(allowed)}"
            raise ValueError(f"{key}: an experiment {may}")
        part: Any = task.content
        for name in key.split("."):
            if not isinstance(part, dict) or name not in part:
                raise ValueError(f"{key}: params.yaml has no such parameter; write it there first")
            part = part[name]


def combinations(name: str, grid: dict[str, list[Value]]) -> dict[str, Overrides]:
    """Return {name: values} of every combination of a grid, named after it."""
    found: dict[str, Overrides] = {}
    for combination in product(*(dict.fromkeys(choices) for choices in grid.values())):
        values = dict(zip(grid, combination, strict=True))
        called = named(name, values)
        if len(called) > LONGEST or called in found:
            called = f"{name}-{len(found) + 1:03d}"
        found[called] = values
    return found


def named(name: str, varied: Overrides) -> str:
    """Return a name that Git allows and a reader understands: `sweep-temperature2.0-weight0.1`."""
    parts = [f"{label}{_plain(varied[key])}" for key, label in labels(varied).items()]
    return re.sub(r"\.{2,}|\.$", "_", re.sub(r"[^\w.+-]", "_", "-".join([name, *parts])))


def _plain(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) and len(f"{value}") > 6 else f"{value}"


def labels(keys: Iterable[str]) -> dict[str, str]:
    """Return each dotted key's shortest ending that no other key has."""
    found = {}
    for key in keys:
        parts = key.split(".")
        endings = [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]
        others = [f".{other}" for other in keys if other != key]
        free = [end for end in endings if not any(one.endswith(f".{end}") for one in others)]
        found[key] = free[0] if free else key
    return found
