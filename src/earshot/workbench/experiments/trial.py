"""One experiment to be run, and what became of it."""

import json
import re
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

from earshot.runtime.files import write_json

Value = bool | int | float | str | None
Overrides = dict[str, Value]  # dotted key → value
State = Literal["done", "failed", "pruned"]
_LONGEST = 80  # characters of a name


@dataclass(frozen=True)
class Trial:
    """An experiment's name and what it sets. `varied` are the keys that tell it from its
    neighbours.
    """

    name: str
    overrides: Overrides
    varied: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: `scores` as in metrics/<track>/validation/, or a `reason` why there
    are none.

    `digest` names all that the scores depend on, `commit` is the experiment's (both empty unless it
    is done).
    """

    name: str
    overrides: Overrides
    state: State
    scores: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0
    digest: str = ""
    commit: str = ""

    def write(self, folder: Path) -> None:
        """Write it to `folder`, atomically."""
        write_json(folder / f"{self.name}.json", asdict(self))

    @classmethod
    def read(cls, folder: Path, name: str) -> "Outcome | None":
        """Return what was written about a trial; None when nothing was, or nothing that can be
        read.
        """
        try:
            return cls(**json.loads((folder / f"{name}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None


def grid(name: str, fixed: Overrides, values: dict[str, list[Value]]) -> list[Trial]:
    """Return a trial for every combination of `values`, named after it:
    `sweep-temperature2.0-weight0.1`.
    """
    made: dict[str, Trial] = {}
    for combination in product(*(dict.fromkeys(choices) for choices in values.values())):
        varied = dict(zip(values, combination, strict=True))
        called = named(name, varied)
        if len(called) > _LONGEST or called in made:
            called = f"{name}-{len(made) + 1:03d}"
        made[called] = Trial(called, fixed | varied, tuple(values))
    return list(made.values())


def named(name: str, varied: Overrides) -> str:
    """Return a name that Git allows and a reader understands."""
    parts = [f"{label}{_plain(varied[key])}" for key, label in labels(varied).items()]
    return re.sub(r"\.{2,}|\.$", "_", re.sub(r"[^\w.+-]", "_", "-".join([name, *parts])))


def _plain(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) and len(f"{value}") > 6 else f"{value}"


def labels(keys: Any) -> dict[str, str]:
    """Return each dotted key's shortest ending that no other key has."""
    found = {}
    for key in keys:
        parts = key.split(".")
        endings = [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]
        others = [other for other in keys if other != key]
        own = (
            end for end in endings if not any(f".{other}".endswith(f".{end}") for other in others)
        )
        found[key] = next(own, key)
    return found


def check(overrides: Any, recipe: str, track: str, content: dict[str, Any], section: str) -> None:
    """Raise ValueError for a key that params.yaml lacks, or that concerns more than the stage
    `distill`.
    """
    own = (f"recipes.{recipe}", f"tracks.{track}.student", f"tracks.{track}.distill")
    for key in overrides:
        if not key.startswith(tuple(f"{one}." for one in own)):
            raise ValueError(
                f"{section}: {key}: an experiment trains {recipe} alone, and may "
                f"change {', '.join(own)}"
            )
        part: Any = content
        for name in key.split("."):
            if not isinstance(part, dict) or name not in part:
                raise ValueError(
                    f"{section}: {key}: params.yaml has no such parameter; write it there first"
                )
            part = part[name]


def written(value: Value) -> str:
    """Return a value as `dvc exp run --set-param` reads it."""
    return json.dumps(value, ensure_ascii=False)
