"""Pictures of matrices: which class is taken for which, and which teacher layer resembles which
stage of a student.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from earshot.evaluation.figures import COLOURS, FAINT, INK, figure

BLUES = LinearSegmentedColormap.from_list("blues", ["#FFFFFF", "#80B8D9", COLOURS[0], "#00324E"])
Routing = dict[
    str, dict[str, Any]
]  # seed → similarity (S, L) and the layers chosen (S, K), counted from 1


def draw_confusion(
    path: str | Path, labels: Sequence[str], answers: np.ndarray, chosen: np.ndarray, title: str
) -> None:
    """Draw how many percent of each class `(N,)` were taken for which, over all seeds' choices `(S,
    N)`.
    """
    counts = np.zeros((len(labels), len(labels)))
    np.add.at(counts, (answers, chosen), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [str(label).replace("_", " ") for label in labels]
    with figure(path, title, 1.8 + 0.46 * len(labels)) as axes:
        _cells(
            axes,
            shares,
            0,
            1,
            lambda row, column: (
                f"{100 * shares[row, column]:.0f}" if shares[row, column] >= 0.005 else ""
            ),
        )
        axes.set(yticks=range(len(names)), yticklabels=names, xticks=range(len(names)))
        axes.set_xticklabels(names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set(xlabel="answer, % of the clips of a class", ylabel="class")


def draw_routing(path: str | Path, routing: Routing, title: str) -> None:
    """Draw how alike each student stage's and teacher layer's attention is, mean over seeds; rings
    where a layer was chosen.

    Below the figure in a ringed cell stands how many seeds chose the layer, where not all did.
    """
    similarity = np.mean([one["similarity"] for one in routing.values()], axis=0)
    votes = np.zeros(similarity.shape, int)
    for one in routing.values():
        for stage, layers in enumerate(one["chosen"]):
            votes[stage, np.array(layers) - 1] += 1

    def text(stage: int, layer: int) -> str:
        some = 0 < votes[stage, layer] < len(routing)
        return f"{similarity[stage, layer]:.2f}" + (
            f"\n{votes[stage, layer]} of {len(routing)}" if some else ""
        )

    stages, layers = similarity.shape
    with figure(path, title, 1.6 + 0.75 * stages) as axes:
        _cells(axes, similarity, min(0, similarity.min()), max(similarity.max(), 0.01), text)
        for stage, layer in zip(*np.nonzero(votes), strict=True):
            share = votes[stage, layer] / len(routing)
            style = {"markersize": 40, "markerfacecolor": "none", "markeredgecolor": COLOURS[1]}
            axes.plot(layer, stage, "o", markeredgewidth=2.5, alpha=0.25 + 0.75 * share, **style)
        axes.set(
            xticks=range(layers),
            xticklabels=range(1, layers + 1),
            xlabel="teacher layer, 1 is the lowest",
        )
        axes.set(yticks=range(stages), yticklabels=range(1, stages + 1), ylabel="student stage")


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
    axes: Axes, values: np.ndarray, low: float, high: float, text: Callable[[int, int], str]
) -> None:
    """Colour the cells of a matrix from `low` to `high` and write `text(row, column)` into them."""
    axes.imshow(values, cmap=BLUES, vmin=low, vmax=high, aspect="auto")
    for row, column in np.ndindex(values.shape):
        dark = values[row, column] > (low + high) / 2
        shown = {"ha": "center", "va": "center", "color": "white" if dark else INK, "fontsize": 9.5}
        axes.text(column, row, text(row, column), **shown)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(values.shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0, color=FAINT)
