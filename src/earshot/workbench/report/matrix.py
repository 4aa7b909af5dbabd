"""Matrices: which class is taken for which, and which teacher layer resembles which stage of a
student.
"""

from collections.abc import Callable, Sequence

import pandas as pd

from earshot.workbench.report.charts import NARROW
from earshot.workbench.report.svg import Drawing, text_width

_DARKEST = 0.62  # so that text in ink can be read on every cell, on light paper and on dark


def confusion(
    table: pd.DataFrame, names: Callable[[str], str], width: int, axes: tuple[str, str]
) -> Drawing:
    """Draw how many percent of each class were answered as which; rows `actual`, columns
    `predicted`.
    """
    classes = sorted(set(table["actual"]) | set(table["predicted"]))
    shares = pd.crosstab(table["actual"], table["predicted"], normalize="index").reindex(
        index=classes, columns=classes, fill_value=0.0
    )
    labels = [names(one) for one in classes]
    heads = labels
    if len(classes) > 5 and width < NARROW:  # no room for slanted names
        heads = [str(number) for number in range(1, 1 + len(labels))]
        labels = [f"{name} {number}" for name, number in zip(labels, heads, strict=True)]
    label = max(map(text_width, labels)) * 0.93
    slanted = heads is labels and label > 40
    top, left = (label * 0.72 + 34 if slanted else 44), label + 12
    cell = min((width - left - (label * 0.62 if slanted else 0)) / len(classes), 56.0)
    height = max(cell, 22)
    drawing = Drawing(width, top + height * len(classes) + 8)
    drawing.text(0, 14, f"{axes[0]} ↓  {axes[1]} →", "muted")
    for column, name in enumerate(heads):
        x = left + cell * (column + 0.5)
        if slanted:
            drawing.text(x, top - 8, name, turn=-45)
        else:
            drawing.text(x, top - 8, name, anchor="middle")
    for row, actual in enumerate(classes):
        drawing.text(left - 8, top + height * (row + 0.5) + 4, labels[row], anchor="end")
        for column, predicted in enumerate(classes):
            share = float(shares.loc[actual, predicted])
            text = f"{100 * share:.0f}" if share >= 0.005 else ""
            _cell(drawing, left + cell * column, top + height * row, cell, height, share, text)
            if row == column:
                _frame(drawing, left + cell * column, top + height * row, cell, height)
    return drawing


def routing(table: pd.DataFrame, width: int, axes: tuple[str, str]) -> Drawing:
    """Draw one recipe's mean similarity of each student stage and teacher layer, and how many seeds
    chose it.
    """
    similarity = table.pivot_table(
        index="stage", columns="layer", values="similarity", aggfunc="mean"
    )
    chosen = table.pivot_table(index="stage", columns="layer", values="chosen", aggfunc="sum")
    seeds = table["seed"].nunique()
    left, top, height = 30.0, 48.0, 44.0
    cell = min((width - left) / len(similarity.columns), 64.0)
    drawing = Drawing(width, top + height * len(similarity) + 8)
    drawing.text(0, 14, f"{axes[0]} ↓  {axes[1]} →", "muted")
    low, high = float(similarity.min().min()), float(similarity.max().max())
    for column, layer in enumerate(similarity.columns):
        drawing.text(left + cell * (column + 0.5), top - 8, str(layer), anchor="middle")
    for row, stage in enumerate(similarity.index):
        drawing.text(left - 12, top + height * (row + 0.5) + 4, str(stage), anchor="end")
        for column, layer in enumerate(similarity.columns):
            value, votes = float(similarity.loc[stage, layer]), int(chosen.loc[stage, layer])
            x, y = left + cell * column, top + height * row
            _cell(
                drawing,
                x,
                y,
                cell,
                height,
                (value - low) / ((high - low) or 1),
                f"{value:.2f}",
                votes and -5,
            )
            if votes:
                drawing.text(
                    x + cell / 2, y + height / 2 + 13, f"{votes}/{seeds}", "ink strong", "middle"
                )
                _frame(drawing, x, y, cell, height)
    return drawing


def _cell(
    drawing: Drawing,
    x: float,
    y: float,
    width: float,
    height: float,
    share: float,
    text: str,
    shift: float = 0,
) -> None:
    drawing.rect(x + 1, y + 1, width - 2, height - 2, "heat", 0.04 + (_DARKEST - 0.04) * share)
    if text:
        drawing.text(x + width / 2, y + height / 2 + 4 + shift, text, anchor="middle")


def _frame(drawing: Drawing, x: float, y: float, width: float, height: float) -> None:
    corners: Sequence[tuple[float, float]] = [
        (x + 1, y + 1),
        (x + width - 1, y + 1),
        (x + width - 1, y + height - 1),
    ]
    drawing.path([*corners, (x + 1, y + height - 1), (x + 1, y + 1)], "muted", 1.4)
