"""Charts of scores: estimates with intervals, breakdowns, learning curves, calibration.

Each is drawn for a width in pixels, names beside the marks on a desk and above them on a phone;
upwards, rows are placed in pixels from the top. A figure's label says what it shows.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from earshot.evaluation.figures import (
    COLOURS,
    FAINT,
    HALF,
    INK,
    MARKERS,
    MONO,
    PAPER,
    RULE,
    SMALL,
    canvas,
    text_width,
)

TOP, BOTTOM = 26, 40  # pixels above and below the rows
DASHED = {"color": FAINT, "linewidth": 1.4, "linestyle": (0, (3, 2)), "zorder": 1.5}
STEPS = [1, 2, 2.5, 5, 10]  # between the ticks of an axis
FORMS = ("_int8", "_ptq")


class Estimate(NamedTuple):
    """A score with its interval, in the colour and shape of a `series`; maybe hollow."""

    name: str
    middle: float
    low: float
    high: float
    series: int = 0
    hollow: bool = False


def base(model: str) -> str:
    """Return the student whose quantized form `model` is, or `model` itself."""
    return next((model.removesuffix(form) for form in FORMS if model.endswith(form)), model)


def shortlist(models: Sequence[str]) -> list[str]:
    """Return the models for charts with little room: teachers, what is shipped, the control."""
    floats = {base(model) for model in models if model.endswith("_int8")}
    return [model for model in models if model not in floats and not model.endswith("_ptq")]


def series(names: Iterable[str], models: Sequence[str]) -> dict[str, int]:
    """Return a series for each name, in the series' order: a student's place among `models`.

    Its quantized forms share it; names that are no model's come after.
    """
    bases = list(dict.fromkeys(map(base, [*models, *names])))
    found = {name: bases.index(base(name)) for name in names}
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def estimate(
    model: str, scores: dict[str, Any], metric: str, models: Sequence[str] = ()
) -> Estimate:
    """Return a model's score, in its series among `models`, hollow where it is quantized.

    Without an interval it is a point.
    """
    middle = scores[metric]
    low, high = (scores.get(f"{metric}_{end}", middle) for end in ("low", "high"))
    number = series([model], models)[model]
    return Estimate(model, middle, low, high, number, base(model) != model)


def by_condition(table: pd.DataFrame, models: Sequence[str]) -> dict[str, list[Estimate]]:
    """Return a block for each condition of a table of robustness, an estimate per model.

    The column behind condition and model is the metric.
    """
    metric = table.columns[2]
    names = {"low": f"{metric}_low", "high": f"{metric}_high"}
    return {
        condition.replace("_", " "): [
            estimate(row["model"], row, metric, models)
            for row in part.rename(columns=names).to_dict("records")
        ]
        for condition, part in table.groupby("condition", sort=False)
    }


def paired(gains: dict[str, dict[str, float]], metric: str) -> list[Estimate]:
    """Return the gains `a_vs_b` that are measured in `metric`; hollow where zero is inside."""
    found = []
    for pair, gain in gains.items():
        if metric in gain:
            low, high = gain[f"{metric}_low"], gain[f"{metric}_high"]
            name = pair.replace("_vs_", " − ")
            found.append(Estimate(name, gain[metric], low, high, 0, low <= 0 <= high))
    return found


def percent(share: float) -> str:
    """Return a share as percent without the sign."""
    return f"{100 * share:.1f}"


def points(share: float) -> str:
    """Return a difference of shares in points, signed."""
    return f"{100 * share:+z.1f}".replace("-", "−")


def signed(share: float) -> str:
    """Return a tick of an axis of differences, in points."""
    return f"{100 * share:+.3g}".replace("-", "−") if share else "0"


def intervals(
    rows: Sequence[Estimate],
    width: int,
    axis: str,
    reference: tuple[float, str] | None = None,
    differences: bool = False,
) -> Figure:
    """Draw a row per estimate, its numbers beside it, against a dashed line with its name.

    Shares are shown in percent, `differences` of them in signed points.
    """
    number = points if differences else percent
    form = "{} ({} … {})" if differences else "{} ({}–{})"
    numbers = [form.format(*map(number, row[1:4])) for row in rows]
    names = [row.name for row in rows]
    left, right, step, second = 8, 8, 44, 0
    narrow = width < HALF
    if not narrow:
        left, right, step = _widest(names) + 18, _widest(numbers) + 18, 28
    elif _widest([name + shown for name, shown in zip(names, numbers, strict=True)]) + 16 > width:
        second, step = 16, 60  # the numbers take a line of their own below the names
    figure, axes = canvas(width, TOP + step * len(rows) + BOTTOM, left, right, TOP, BOTTOM)
    _across(axes, rows, axis, narrow)
    axes.set(ylim=(step * len(rows), 0), yticks=[])
    axes.grid(visible=False)
    if differences:
        axes.xaxis.set_major_formatter(lambda share, _: signed(share))
    for place, (row, shown) in enumerate(zip(rows, numbers, strict=True)):
        middle = step * place + (32 + second if narrow else step / 2)
        ends = (middle - 8, middle + 8) if narrow else (step * place, step * (place + 1))
        _lines(axes, *ends, None if reference is None else reference[0])
        _mark(axes, row, middle, 2.4, 8)
        if narrow:
            _beside(axes, 0, middle - 18 - second, row.name, -8, "left", **MONO)
            _beside(axes, 1, middle - 18, shown, 8, "right", **MONO)
        else:
            _beside(axes, 0, middle, row.name, -12, "right", **MONO)
            _beside(axes, 1, middle, shown, right, "right", **MONO)
    if reference:
        x, _ = axes.transData.transform((reference[0], 0))
        room = text_width(reference[1]) / 2
        place = (min(max(x, room), width - room) / width, 1 - 16 / figure.bbox.height)
        figure.text(*place, reference[1], ha="center", **SMALL)
    texts = (f"{row.name} {shown}" for row, shown in zip(rows, numbers, strict=True))
    figure.set_label(f"{axis}: {'; '.join(texts)}")
    return figure


def breakdown(
    groups: dict[str, list[Estimate]], width: int, axis: str, chance: float | None = None
) -> Figure:
    """Draw a block per group with a thin row per model; the models are named once, above."""
    narrow = width < HALF
    head = 24 if narrow else 5
    heights = {name: 11 * len(rows) + head + 9 for name, rows in groups.items()}
    left, right = (8, 8) if narrow else (_widest(groups) + 18, 10)
    named = list({row.name: row for rows in groups.values() for row in rows}.values())
    places = legend(named, width)
    top = places[-1][1] + 30
    total = sum(heights.values())
    figure, axes = canvas(width, top + total + BOTTOM, left, right, top, BOTTOM)
    _draw_legend(figure, named, places)
    _across(axes, [row for rows in groups.values() for row in rows], axis, narrow)
    axes.set(ylim=(total, 0), yticks=[])
    axes.grid(visible=False)
    edges = (-left / (width - left - right), 1 + right / (width - left - right))
    begin = 0
    for name, rows in groups.items():
        axes.axhline(begin, *edges, color=RULE, linewidth=1, clip_on=False)
        _lines(axes, begin + (head - 4 if narrow else 0), begin + heights[name], chance)
        place = (begin + 12, -8, "left") if narrow else (begin + heights[name] / 2, -12, "right")
        _beside(axes, 0, place[0], name, *place[1:], fontsize=12)
        for line, row in enumerate(rows):
            _mark(axes, row, begin + head + 7.5 + 11 * line, 1.8, 6.4)
        begin += heights[name]
    axes.axhline(begin, *edges, color=RULE, linewidth=1, clip_on=False)
    texts = (
        f"{name}: " + ", ".join(f"{row.name} {percent(row.middle)}" for row in rows)
        for name, rows in groups.items()
    )
    figure.set_label(f"{axis}: {'; '.join(texts)}")
    return figure


def curves(
    table: pd.DataFrame,
    column: str,
    models: dict[str, int],
    width: int,
    names: tuple[str, str],
    share: bool,
) -> Figure:
    """Draw `column` over `epoch`: each `seed` of a `model` thin, their mean thick.

    `models` gives its series to each model; `names` are those of the axes.
    """
    named = [Estimate(name, 0, 0, 0, number) for name, number in models.items()]
    places = legend(named, width)
    top = places[-1][1] + 22 + TOP
    height = 230 if width < HALF else 300
    figure, axes = canvas(width, top + height + BOTTOM, 46, 10, top, BOTTOM)
    _draw_legend(figure, named, places)
    texts = []
    for name, number in models.items():
        rows = table[table["model"] == name]
        seeds = rows.pivot(index="epoch", columns="seed", values=column).dropna(how="all")
        colour, marker = style(number)
        if seeds.shape[1] > 1:
            axes.plot(seeds.index, seeds, color=colour, linewidth=1, alpha=0.45)
        mean = seeds.dropna().mean(axis=1)  # where every seed has arrived
        if len(mean):
            marks = {"marker": marker, "markersize": 7, "markevery": -(-len(mean) // 8)}
            axes.plot(mean.index, mean, color=colour, linewidth=2.4, **marks)
            texts.append(f"{name} {mean.iloc[-1]:.3g}")
    axes.margins(x=0.01, y=0.06)
    axes.xaxis.set_major_locator(
        MaxNLocator(5 if width < HALF else 10, steps=[1, 2, 5, 10], integer=True)
    )
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    if share:
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.grid(axis="x", visible=False)
    name_axes(axes, *names)
    figure.set_label(f"{names[1]}: {', '.join(texts)}")
    return figure


def reliability(
    table: pd.DataFrame, number: int, width: int, names: tuple[str, str], perfect: str
) -> Figure:
    """Draw accuracy against confidence, bin by bin, against the diagonal.

    Marks grow with a bin's share of the answers. `names` are those of the axes.
    """
    inner = width - 46 - 20
    figure, axes = canvas(width, TOP + inner + BOTTOM, 46, 20, TOP, BOTTOM)
    x, y, count = (table[name].to_numpy() for name in ("confidence", "accuracy", "count"))
    colour, marker = style(number)
    axes.plot([0, 1], [0, 1], **DASHED)
    axes.annotate(perfect, (0.1, 0.1), (0, -16), textcoords="offset points", **SMALL)
    axes.plot(x, y, color=colour, linewidth=1.6)
    sizes = (5 + 17 * np.sqrt(count / count.sum())) ** 2
    marks = {"color": colour, "marker": marker, "alpha": 0.85, "linewidths": 0, "zorder": 3}
    axes.scatter(x, y, sizes, clip_on=False, **marks)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.grid(axis="x", visible=False)
    for one in (axes.xaxis, axes.yaxis):
        one.set_major_formatter(PercentFormatter(1, 0))
    name_axes(axes, *names)
    texts = (f"{a:.2f} → {b:.2f}" for a, b in zip(x, y, strict=True))
    figure.set_label(f"{names[0]} → {names[1]}: {', '.join(texts)}")
    return figure


def _widest(texts: Iterable[str]) -> float:
    """Return about how many pixels the longest text is wide."""
    return max(map(text_width, texts))


def legend(rows: Sequence[Estimate], width: int) -> list[tuple[float, float]]:
    """Return where the entry of each series begins: pixels from the left, and from the top."""
    places, x, y = list[tuple[float, float]](), 0.0, 0.0
    for row in rows:
        if x and x + 17 + text_width(row.name) > width:
            x, y = 0.0, y + 22
        places.append((x, y))
        x += 17 + text_width(row.name) + 16
    return places


def _draw_legend(
    figure: Figure, rows: Sequence[Estimate], places: list[tuple[float, float]]
) -> None:
    """Draw mark and name of each series at its place."""
    width, height = figure.bbox.size
    for row, (x, y) in zip(rows, places, strict=True):
        middle = 1 - (y + 10) / height
        figure.add_artist(Line2D([(x + 6) / width], [middle], **face(row, 8)))
        name = {"va": "center_baseline", "color": INK}
        figure.text((x + 17) / width, middle, row.name, **name, **MONO)


def face(row: Estimate, size: float) -> dict[str, Any]:
    """Return the colour and shape of a row's mark."""
    colour, marker = style(row.series)
    face = PAPER if row.hollow else colour
    return {
        "marker": marker,
        "markersize": size,
        "markeredgecolor": colour,
        "markerfacecolor": face,
        "markeredgewidth": 1.8,
        "linestyle": "",
    }


def style(number: int) -> tuple[str, str]:
    """Return colour and marker of a series; no two of the first 49 share both."""
    again = number // len(COLOURS)
    return COLOURS[number % len(COLOURS)], MARKERS[(number + again) % len(MARKERS)]


def _across(axes: Axes, rows: Sequence[Estimate], axis: str, narrow: bool) -> None:
    """Let the axis hold all intervals and zero, in percent."""
    low = min(0.0, *(row.low for row in rows))
    high = max(0.0, *(row.high for row in rows))
    room = 0.03 * (high - low or 1)
    axes.set_xlim(low - room * (low < 0), high + room * (high > 0 or low == high))
    axes.xaxis.set_major_locator(MaxNLocator(4 if narrow else 6, steps=STEPS))
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}")
    axes.set_xlabel(axis, **SMALL)


def _lines(axes: Axes, begin: float, end: float, reference: float | None) -> None:
    """Draw the grid of one row, and the dashed line of a reference."""
    low, high = axes.get_xlim()
    ticks = axes.xaxis.get_majorticklocs()
    axes.vlines(
        ticks[(ticks >= low) & (ticks <= high)], begin, end, color=RULE, linewidth=1, zorder=1
    )
    if reference is not None:
        axes.plot([reference, reference], [begin, end], **DASHED)


def _mark(axes: Axes, row: Estimate, y: float, width: float, size: float) -> None:
    """Draw an estimate on its interval."""
    colour, _ = style(row.series)
    axes.plot([row.low, row.high], [y, y], color=colour, linewidth=width, clip_on=False)
    axes.plot([row.middle], [y], clip_on=False, zorder=3, **face(row, size))


def _beside(
    axes: Axes, side: float, y: float, text: str, shift: float, align: str, **font: Any
) -> None:
    """Write a text `shift` pixels from the left (0) or right (1) side of the axes."""
    place = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
    look = {"va": "center_baseline", "color": INK, **font}
    axes.annotate(text, (side, y), (shift, 0), **place, ha=align, **look)


def name_axes(axes: Axes, across: str, up: str) -> None:
    """Write the names of both axes: below, and above the upper left corner."""
    axes.set_xlabel(across, **SMALL)
    above = axes.get_position().y1 + 10 / axes.figure.bbox.height
    axes.figure.text(0, above, up, **SMALL)
