"""How pictures look: 1200 pixels wide, readable at 800, in Okabe and Ito's colours, told apart by
every colour vision.

The same numbers give the same bytes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from earshot.runtime.files import atomic

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
INK, FAINT = "#222222", "#767676"


@contextmanager
def figure(path: str | Path, title: str, height: float) -> Iterator[Axes]:
    """Yield the axes of a figure 8 inches wide and `height` high, saved as PNG when the block ends."""
    drawn = Figure(figsize=(8, height), dpi=150, layout="constrained", facecolor="white")
    axes = drawn.add_subplot()
    axes.set_title(title, loc="left", color=INK, fontsize=13, fontweight="bold", pad=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK, labelsize=10.5)
    axes.grid(color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    yield axes
    with atomic(path) as partial:
        drawn.savefig(partial, format="png", metadata={"Software": None})
