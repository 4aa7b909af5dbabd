"""What a row of the page sets in params.yaml, and which recordings it needs."""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parent / "rows"


class Row(NamedTuple):
    """A run: a profile first, maybe, and then values by dotted key, as `dvc exp run -S` has them.

    `cascade` is the recogniser of a control without a student.
    """

    name: str
    track: str
    needs: list[str]
    values: dict[str, Any]
    profile: str | None = None
    cascade: str | None = None


def read() -> dict[str, Row]:
    """Return every row by name. A row with `base` is that row, but for what it sets itself."""
    files = sorted(FOLDER.glob("*.yaml"))
    written = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}
    return {name: _row(name, written) for name in written}


def _row(name: str, written: dict[str, Any]) -> Row:
    content = dict(written[name])
    values = content.pop("set")
    if base := content.pop("base", None):
        above = _row(base, written)
        return above._replace(name=name, values=above.values | values, **content)
    return Row(name, values=values, **content)
