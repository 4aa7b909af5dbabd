"""Pictures of matrices: which class is taken for which, and which teacher layer resembles which
stage of a student.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from earshot.evaluation.figures import FAINT, HALF, HEAT, INK, SMALL, canvas, text_width

DARKEST = 0.62  # so that ink can be read on every cell, on light paper and on dark
Routing = dict[str, dict[str, list]]  # seed → similarity (S, L), chosen layers (S, K) from 1


def confusion(table: pd.DataFrame, width: int, names: dict[str, str], corner: str) -> Figure:
    """Draw how many percent of each class `actual` were answered as which, `predicted`.

    `names` says what is written for a class, in the order of rows and columns.
    """
    counts = pd.crosstab(table["actual"], table["predicted"], normalize="index")
    shares = counts.reindex(index=names, columns=names, fill_value=0).to_numpy()
    rows = list(names.values())
    heads = rows
    if len(names) > 5 and width < HALF:  # no room for slanted names
        heads = [str(number) for number in range(1, len(rows) + 1)]
        rows = [f"{name} {head}" for name, head in zip(rows, heads, strict=True)]
    label = max(map(text_width, rows)) * 0.93
    slanted = heads is rows and label > 40
    right = label * 0.62 if slanted else 0
    cell = min((width - label - 12 - right) / len(names), 56)
    top = label * 0.72 + 34 if slanted else 44
    figure, axes = _cells(width, shares.shape, (cell, max(cell, 22)), (label + 12, top), corner)
    turned = {"rotation": 45, "ha": "left", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(range(len(heads)), heads, **turned)
    axes.set_yticks(range(len(rows)), rows)
    for (row, column), share in np.ndenumerate(shares):
        shown = f"{100 * share:.0f}" if share >= 0.005 else ""
        _fill(axes, row, column, share, shown, framed=row == column)
    correct = zip(names.values(), shares.diagonal(), strict=True)
    figure.set_label(f"{corner}: {', '.join(f'{name} {share:.0%}' for name, share in correct)}")
    return figure


def class_names(table: pd.DataFrame, option: str) -> dict[str, str]:
    """Return what is written for each class of a table of confusions, in order.

    Options that have numbers only, from 0, are called `option`, as in "option {number}".
    """
    found = set(table["actual"]) | set(table["predicted"])
    classes = sorted(found, key=lambda one: (len(one) if one.isdigit() else 0, one))
    return {
        one: option.format(number=int(one) + 1) if one.isdigit() else one.replace("_", " ")
        for one in classes
    }


def routing(table: pd.DataFrame, width: int, corner: str) -> Figure:
    """Draw how alike each `stage` and `layer` are, mean over seeds, and how many chose it."""
    by = table.groupby(["stage", "layer"])
    similarity = by["similarity"].mean().unstack()
    votes, seeds = by["chosen"].sum().unstack(), table["seed"].nunique()
    stages, layers = similarity.shape
    figure, axes = _cells(
        width, similarity.shape, (min((width - 30) / layers, 64), 44), (30, 48), corner
    )
    axes.set_xticks(range(layers), similarity.columns)
    axes.set_yticks(range(stages), similarity.index)
    low, high = similarity.min().min(), similarity.max().max()
    for (row, column), value in np.ndenumerate(similarity.to_numpy()):
        chosen = int(votes.iloc[row, column])
        shown = f"{value:.2f}" + (f"\n{chosen}/{seeds}" if chosen else "")
        _fill(axes, row, column, (value - low) / ((high - low) or 1), shown, framed=chosen > 0)
    found = [
        f"{stage} → {layer} ({n}/{seeds})" for (stage, layer), n in by["chosen"].sum().items() if n
    ]
    figure.set_label(f"{corner}: {', '.join(found)}")
    return figure


def routing_table(routing: dict[str, Routing]) -> pd.DataFrame:
    """Return a row per recipe, seed, student stage and teacher layer: similarity, and whether the
    layer was chosen.
    """
    rows = [
        (recipe, seed, stage + 1, layer + 1, value, int(layer + 1 in one["chosen"][stage]))
        for recipe, seeds in routing.items()
        for seed, one in seeds.items()
        for stage, values in enumerate(one["similarity"])
        for layer, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["recipe", "seed", "stage", "layer", "similarity", "chosen"])


def _cells(
    width: int,
    shape: tuple[int, int],
    cell: tuple[float, float],
    place: tuple[float, float],
    corner: str,
) -> tuple[Figure, Axes]:
    """Return axes of `shape` cells, each of so many pixels, whose upper left is at `place`."""
    rows, columns = shape
    left, top = place
    right = width - left - cell[0] * columns
    figure, axes = canvas(width, top + cell[1] * rows + 8, left, right, top, 8)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axes.tick_params(labelcolor=INK, top=True, labeltop=True, labelbottom=False)
    axes.grid(visible=False)
    figure.text(0, 1 - 14 / figure.bbox.height, corner, **SMALL)
    return figure, axes


def _fill(axes: Axes, row: int, column: int, share: float, text: str, framed: bool) -> None:
    """Colour a cell by a share 0..1 and write into it."""
    inner = axes.transData.inverted().transform([(0, 0), (1, -1)])
    dx, dy = inner[1] - inner[0]  # a pixel between the cells
    face = (*to_rgb(HEAT), 0.04 + (DARKEST - 0.04) * share)
    edge = {"edgecolor": FAINT, "linewidth": 1.4} if framed else {"linewidth": 0}
    corner = (column - 0.5 + dx, row - 0.5 + dy)
    axes.add_patch(Rectangle(corner, 1 - 2 * dx, 1 - 2 * dy, facecolor=face, **edge))
    if text:
        middle = {"ha": "center", "va": "center", "color": INK, "fontsize": 12}
        axes.text(column, row, text, **middle)
