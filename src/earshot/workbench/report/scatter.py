"""What models cost against what they are worth, with labels that do not lie on one another."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from earshot.evaluation.charts import Estimate, face, name_axes, percent, style
from earshot.evaluation.figures import FAINT, INK, MONO, canvas, text_width

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 42, 14, 26, 40  # pixels
SHIFTS = np.arange(-144, 145, 4)  # pixels that a label may stand above its mark


def scatter(
    rows: Sequence[Estimate],
    costs: Sequence[float],
    width: int,
    names: tuple[str, str],
    unit: Callable[[float], str],
) -> Figure:
    """Draw scores over costs on a logarithmic axis; `names` are those of the axes."""
    figure, axes = canvas(width, HEIGHT, LEFT, RIGHT, TOP, BOTTOM)
    low, high = np.log10(min(costs)), np.log10(max(costs))
    label = max(text_width(row.name) for row in rows) + 20
    before = min(label / (width - LEFT - RIGHT), 0.35)
    span = max(high - low, 0.5) / (0.88 - before)  # room for names on both sides
    low -= before * span
    worst, best = min(row.low for row in rows), max(row.high for row in rows)
    room = 0.06 * (best - worst or 1)
    axes.set(xscale="log", xlim=10 ** np.array([low, low + span]), ylim=(worst - room, best + room))
    factors = (1,) if span > 3 else (1, 3) if span > 1.5 else (1, 2, 5)
    axes.xaxis.set_major_locator(LogLocator(subs=factors, numticks=20))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda cost, _: unit(cost))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}")
    axes.grid(axis="x", visible=False)
    axes.spines["bottom"].set(visible=True, color=FAINT)
    name_axes(axes, *names)
    for row, cost in zip(rows, costs, strict=True):
        axes.plot([cost, cost], [row.low, row.high], color=style(row.series)[0], linewidth=1.6)
        axes.plot([cost], [row.middle], zorder=3, **face(row, 8))
    to_pixels = axes.transData.transform
    marks = to_pixels([(cost, row.middle) for row, cost in zip(rows, costs, strict=True)])
    feet = to_pixels([(cost, row.low) for row, cost in zip(rows, costs, strict=True)])
    heads = to_pixels([(cost, row.high) for row, cost in zip(rows, costs, strict=True)])
    bars = np.hstack([feet, heads]) + np.array([-2, 0, 2, 0])
    places = labels([row.name for row in rows], marks, bars, axes.bbox.extents)
    for row, mark, (left, bottom, right, top) in zip(rows, marks, places, strict=True):
        middle = (bottom + top) / 2
        place = {"xycoords": "figure pixels", "va": "center_baseline"}
        axes.annotate(row.name, (left, middle), color=INK, **place, **MONO)
        if abs(middle - mark[1]) > 9:
            near = left - 2 if left > mark[0] else right + 2
            x, y = np.array([mark, (near, middle)]).T
            figure.add_artist(Line2D(x, y, transform=None, color=FAINT, linewidth=0.8))
    texts = (
        f"{r.name} {unit(cost)}, {percent(r.middle)}" for r, cost in zip(rows, costs, strict=True)
    )
    figure.set_label(f"{names[0]}, {names[1]}: {'; '.join(texts)}")
    return figure


def labels(
    names: Sequence[str], marks: np.ndarray, bars: np.ndarray, frame: np.ndarray
) -> np.ndarray:
    """Return a box `(N, 4)` for each label: beside its mark `(N, 2)` or as near as it can, inside
    the frame `(4,)`, off other labels, marks and bars `(N, 4)`.

    Boxes are left, bottom, right, top in pixels.
    """
    taken = np.concatenate([bars, np.hstack([marks - 6, marks + 6])])
    found = np.zeros((len(names), 4))
    for index in sorted(range(len(names)), key=lambda one: (-marks[one][1], marks[one][0])):
        (x, y), width = marks[index], text_width(names[index])
        sides = np.array([(x + 11, 0), (x - 11 - width, 4), (x + 24, 6), (x - 24 - width, 10)])
        left, bottom = (grid.ravel() for grid in np.meshgrid(sides[:, 0], y + SHIFTS - 7))
        boxes = np.stack([left, bottom, left + width, bottom + 15], axis=1)  # (candidates, 4)
        outside = 15 * width - _common(boxes, frame[None])
        distance = np.add.outer(abs(SHIFTS), sides[:, 1]).ravel()
        price = 20 * (_common(boxes, taken) + outside) + distance
        found[index] = boxes[price.argmin()]
        taken = np.vstack([taken, found[index]])
    return found


def _common(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the area `(B,)` that each of boxes `(B, 4)` shares with others `(O, 4)`, summed."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    return np.maximum(high - low, 0).prod(axis=2).sum(axis=1)
