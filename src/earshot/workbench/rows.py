"""Rows of cells as text: a table in Markdown, or in aligned columns."""

from collections.abc import Iterable, Sequence


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [_row(heads), "|---" * len(heads) + "|", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def aligned(rows: Sequence[Sequence[str]], right: Iterable[int] = (), indent: int = 0) -> list[str]:
    """Return rows as lines with aligned columns, those of `right` to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        sides = [str.rjust if place in right else str.ljust for place in range(len(row))]
        cells = [side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)]
        lines.append(" " * indent + "  ".join(cells).rstrip())
    return lines
