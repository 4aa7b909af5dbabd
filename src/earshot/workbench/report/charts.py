"""Charts of scores: estimates with intervals, breakdowns, learning curves, calibration.

Each is drawn for a given width in pixels: labels stand beside the marks where there is room, above
them on a phone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from earshot.workbench.report.svg import Drawing, text_width, ticks

NARROW = 480  # below this many pixels labels go above what they name
_ROW, _TALL = 28, 44


@dataclass(frozen=True)
class Estimate:
    """A row of a chart: an estimate with its interval, in the colour and shape of `series`; maybe
    hollow.
    """

    name: str
    middle: float
    low: float
    high: float
    series: int = 0
    hollow: bool = False


def domain(values: Sequence[float], zero: bool) -> tuple[float, float]:
    """Return the ends of an axis that holds all values, and zero where asked for, on round numbers."""
    low, high = min(values), max(values)
    low, high = (min(low, 0.0), max(high, 0.0)) if zero else (low, high)
    room = (high - low or 1.0) * (0.03 if zero else 0.06)
    return (low if zero and low == 0 else low - room), (high if zero and high == 0 else high + room)


def intervals(
    rows: Sequence[Estimate],
    width: int,
    ends: tuple[float, float],
    figures: Callable[[Estimate], str],
    axis: str,
    tick: Callable[[float], str],
    reference: tuple[float, str] | None = None,
) -> Drawing:
    """Draw a row per estimate on an axis from `ends[0]` to `ends[1]`, against a dashed reference
    line with its name.
    """
    narrow = width < NARROW
    names, numbers = (
        max(map(text_width, texts))
        for texts in ([r.name for r in rows], [figures(r) for r in rows])
    )
    second = (
        16.0
        if narrow and any(text_width(row.name + figures(row)) + 16 > width for row in rows)
        else 0.0
    )
    left, right = (8.0, width - 8.0) if narrow else (names + 18, width - numbers - 18)
    step, top = (_TALL + second, 26) if narrow else (_ROW, 26)
    bottom = top + step * len(rows)
    drawing = Drawing(width, bottom + 40)
    x = _scale(ends, (left, right))
    bars = [
        (top + step * (place + 1) - 20, top + step * (place + 1) - 4) for place in range(len(rows))
    ]
    bars = bars if narrow else [(top, bottom)]  # lines keep off what is written above a bar
    for value in ticks(*ends, 4 if narrow else 6):
        for begin, end in bars:
            drawing.line(x(value), begin, x(value), end)
        drawing.text(x(value), bottom + 16, tick(value), "muted", "middle")
    drawing.text((left + right) / 2, bottom + 34, axis, "muted", "middle")
    if reference:
        for begin, end in bars:
            drawing.line(x(reference[0]), begin, x(reference[0]), end, "muted", 1.4, "4 3")
        half = text_width(reference[1]) / 2
        drawing.text(
            min(max(x(reference[0]), half), width - half), top - 10, reference[1], "muted", "middle"
        )
    for place, row in enumerate(rows):
        y = top + step * place + (32 + second if narrow else step / 2)
        if narrow:
            drawing.text(left - 8, y - 14 - second, row.name, mono=True)
            drawing.text(width, y - 14, figures(row), anchor="end", mono=True)
        else:
            drawing.text(left - 12, y + 4, row.name, anchor="end", mono=True)
            drawing.text(width, y + 4, figures(row), anchor="end", mono=True)
        drawing.line(x(row.low), y, x(row.high), y, f"k{row.series % 7}", 2.4)
        drawing.mark(x(row.middle), y, row.series, row.hollow)
    return drawing


def breakdown(
    groups: dict[str, list[Estimate]],
    width: int,
    ends: tuple[float, float],
    axis: str,
    tick: Callable[[float], str],
    legend: Sequence[Estimate],
    reference: float | None = None,
) -> Drawing:
    """Draw a block per group with a thin row per model; the models are named once, above."""
    narrow = width < NARROW
    labels = max(map(text_width, groups))
    left, right = (8.0, width - 8.0) if narrow else (labels + 18, width - 10.0)
    head = legend_height(legend, width)
    heights = {name: 11 * len(rows) + (32 if narrow else 14) for name, rows in groups.items()}
    top, bottom = head + 8.0, head + 8.0 + sum(heights.values())
    drawing = Drawing(width, bottom + 40)
    draw_legend(drawing, legend, width)
    x = _scale(ends, (left, right))
    marked = ticks(*ends, 4 if narrow else 6)
    for value in marked:
        drawing.text(x(value), bottom + 16, tick(value), "muted", "middle")
    drawing.text((left + right) / 2, bottom + 34, axis, "muted", "middle")
    y = top
    for name, rows in groups.items():
        drawing.line(0, y, width, y)
        begin, end = y + (22 if narrow else 0), y + heights[name]
        for value in marked:
            drawing.line(x(value), begin, x(value), end)
        if reference is not None:
            drawing.line(x(reference), begin, x(reference), end, "muted", 1.4, "4 3")
        if narrow:
            drawing.text(0, y + 17, name)
        else:
            drawing.text(left - 12, y + heights[name] / 2 + 4, name, anchor="end")
        first = y + (29 if narrow else 12.5)
        for place, row in enumerate(rows):
            drawing.line(
                x(row.low),
                first + 11 * place,
                x(row.high),
                first + 11 * place,
                f"k{row.series % 7}",
                1.8,
            )
            drawing.mark(x(row.middle), first + 11 * place, row.series, row.hollow, 3.6)
        y += heights[name]
    drawing.line(0, y, width, y)
    return drawing


def curves(
    table: pd.DataFrame,
    column: str,
    order: Sequence[tuple[str, int]],
    width: int,
    axes: tuple[str, str],
    percent: bool,
) -> Drawing:
    """Draw `column` over `step`: each seed of a model thin, their mean thick. `order` has model and
    series.
    """
    legend = [Estimate(name, 0, 0, 0, series) for name, series in order]
    head, height = legend_height(legend, width), 300 if width >= NARROW else 230
    left, right, top, bottom = 46.0, width - 10.0, head + 26.0, head + 26.0 + height
    drawing = Drawing(width, bottom + 40)
    draw_legend(drawing, legend, width)
    shown = table[table["model"].isin([name for name, _ in order])].dropna(subset=[column])
    steps = (float(min(shown["step"].min(), 1)), float(max(shown["step"].max(), 2)))
    ends = domain(list(shown[column]), zero=False)
    x, y = _scale(steps, (left, right)), _scale(ends, (bottom, top))
    _axes(drawing, x, y, steps, ends, (left, right, top, bottom), axes, percent)
    for name, series in order:
        seeds = shown[shown["model"] == name].pivot(index="step", columns="seed", values=column)
        for seed in seeds if len(seeds.columns) > 1 else ():
            own = seeds[seed].dropna()
            drawing.path(
                [(x(step), y(value)) for step, value in own.items()], f"k{series % 7}", 1, 0.45
            )
        mean = seeds.dropna().mean(axis=1)
        points = [(x(step), y(value)) for step, value in mean.items()]
        drawing.path(points, f"k{series % 7}", 2.4)
        for point in points[:: max(math.ceil(len(points) / 8), 1)]:
            drawing.mark(*point, series, size=3.8)
    return drawing


def reliability(
    table: pd.DataFrame, width: int, axes: tuple[str, str], perfect: str, series: int
) -> Drawing:
    """Draw accuracy against confidence, bin by bin, marks grown by a bin's share of the answers,
    against the diagonal.
    """
    left, right, top, bottom = 46.0, width - 20.0, 26.0, 26.0 + (width - 66.0)
    drawing = Drawing(width, bottom + 40)
    x, y = _scale((0, 1), (left, right)), _scale((0, 1), (bottom, top))
    _axes(drawing, x, y, (0, 1), (0, 1), (left, right, top, bottom), axes, True, True)
    drawing.line(x(0), y(0), x(1), y(1), "muted", 1.4, "4 3")
    drawing.text(x(0.1), y(0.1) + 16, perfect, "muted")
    share = table["count"] / table["count"].sum()
    points = [(x(a), y(b)) for a, b in zip(table["confidence"], table["accuracy"], strict=True)]
    drawing.path(points, f"k{series % 7}", 1.6)
    for point, part in zip(points, share, strict=True):
        drawing.mark(*point, series, size=2.5 + 14 * math.sqrt(part) * 0.6, opacity=0.85)
    return drawing


def legend_height(legend: Sequence[Estimate], width: int) -> float:
    """Return how many pixels the rows of a legend take."""
    return 22.0 * (1 + max((row for row, _ in _legend_places(legend, width)), default=0))


def draw_legend(drawing: Drawing, legend: Sequence[Estimate], width: int) -> None:
    """Write mark and name of each series from the upper left corner on, in as many rows as they
    need.
    """
    for entry, (row, x) in zip(legend, _legend_places(legend, width), strict=True):
        drawing.mark(x + 6, 22 * row + 10, entry.series, entry.hollow)
        drawing.text(x + 17, 22 * row + 14, entry.name, mono=True)


def _legend_places(legend: Sequence[Estimate], width: int) -> list[tuple[int, float]]:
    places, row, x = [], 0, 0.0
    for entry in legend:
        wide = 17 + text_width(entry.name) + 16
        if x and x + wide - 16 > width:
            row, x = row + 1, 0.0
        places.append((row, x))
        x += wide
    return places


def _scale(ends: tuple[float, float], pixels: tuple[float, float]) -> Callable[[float], float]:
    return lambda value: (
        pixels[0] + (value - ends[0]) / (ends[1] - ends[0]) * (pixels[1] - pixels[0])
    )


def _axes(
    drawing: Drawing,
    x: Callable[[float], float],
    y: Callable[[float], float],
    across: tuple[float, float],
    up: tuple[float, float],
    box: tuple[float, float, float, float],
    names: tuple[str, str],
    percent: bool,
    percent_across: bool = False,
) -> None:
    """Draw grid, numbers and names of both axes."""
    left, right, top, bottom = box
    for value in ticks(*up, 5):
        drawing.line(left, y(value), right, y(value))
        drawing.text(
            left - 8,
            y(value) + 4,
            f"{100 * value:.0f}%" if percent else f"{value:g}",
            "muted",
            "end",
        )
    for value in ticks(*across, 5 if right - left < 400 else 10):
        drawing.text(
            x(value),
            bottom + 18,
            f"{100 * value:.0f}%" if percent_across else f"{value:g}",
            "muted",
            "middle",
        )
    drawing.text((left + right) / 2, bottom + 36, names[0], "muted", "middle")
    drawing.text(0, top - 10, names[1], "muted")
