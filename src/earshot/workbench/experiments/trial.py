"""One experiment to be run, and what became of it."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from earshot.runtime.files import write_json

Value = bool | int | float | str | None
Overrides = dict[str, Value]  # dotted key → value
State = Literal["running", "done", "failed", "pruned"]


@dataclass(frozen=True)
class Trial:
    """An experiment's name, what it sets, and the digest of all that its scores depend on."""

    name: str
    overrides: Overrides
    digest: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: `scores` as in metrics/<track>/validation/, or a `reason` for none.

    `curve` is the validation score of each epoch, the mean over seeds. `commit` is the experiment's
    (empty unless it is done). One that is `running` was killed, where no command runs.
    """

    name: str
    overrides: Overrides
    state: State
    scores: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0
    digest: str = ""
    commit: str = ""
    curve: list[float] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write it to `folder`, atomically."""
        write_json(folder / f"{self.name}.json", asdict(self))

    @classmethod
    def read(cls, folder: Path, name: str) -> "Outcome | None":
        """Return what was written about a trial; None when nothing was that can be read."""
        try:
            return cls(**json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


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
