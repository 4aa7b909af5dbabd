"""Learning curves: a row per epoch in a CSV that is whole at every moment."""

import csv
from pathlib import Path

from earshot.runtime.files import atomic


class Curves:
    """Collects a row of figures a call and rewrites the file; a resumed run begins it anew.

    `index` names the first column: what a row is about.
    """

    def __init__(self, path: Path, index: str = "epoch"):
        self._path, self._index = path, index
        self._rows: list[dict[str, float]] = []

    def __call__(self, number: int, figures: dict[str, float]) -> None:
        """Add the figures of an epoch or step."""
        self._rows.append({self._index: number, **figures})
        names = dict.fromkeys(name for row in self._rows for name in row)
        with atomic(self._path) as partial, open(partial, "w", newline="") as file:
            writer = csv.DictWriter(file, list(names), restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows)
