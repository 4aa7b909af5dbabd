"""What models cost against what they are worth, with labels that do not lie on one another."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from earshot.workbench.report.svg import Drawing, text_width, ticks


@dataclass(frozen=True)
class Point:
    """A model: what it costs, and its score with an interval."""

    name: str
    cost: float
    middle: float
    low: float
    high: float
    series: int
    hollow: bool


@dataclass(frozen=True)
class Box:
    """A rectangle on the drawing."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """Return the area that both cover."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(across, 0) * max(down, 0)


def cost_chart(
    points: Sequence[Point],
    width: int,
    axis: str,
    unit: Callable[[float], str],
    ends: tuple[float, float],
    score: str,
) -> Drawing:
    """Draw scores over costs on a logarithmic axis; `ends` are those of the score's, shared by a
    track's charts.
    """
    left, right, top, bottom = 42.0, width - 14.0, 26.0, 300.0
    drawing = Drawing(width, bottom + 40)
    low, high = (math.log10(pick(point.cost for point in points)) for pick in (min, max))
    before = min((max(text_width(point.name) for point in points) + 20) / (right - left), 0.35)
    span = max(high - low, 0.5) / (0.88 - before)  # room for names on both sides
    low, high = low - before * span, low + (1 - before) * span

    def x(cost: float) -> float:
        return left + (math.log10(cost) - low) / (high - low) * (right - left)

    def y(value: float) -> float:
        return bottom - (value - ends[0]) / (ends[1] - ends[0]) * (bottom - top)

    for value in ticks(*ends, 5):
        drawing.line(left, y(value), right, y(value))
        drawing.text(left - 8, y(value) + 4, f"{100 * value:.0f}", "muted", "end")
    drawing.line(left, bottom, right, bottom, "muted")
    for cost in _round_costs(low, high):
        drawing.line(x(cost), bottom, x(cost), bottom + 4, "muted")
        drawing.text(x(cost), bottom + 17, unit(cost), "muted", "middle")
    drawing.text((left + right) / 2, bottom + 35, axis, "muted", "middle")
    drawing.text(0, 12, score, "muted")
    for point in points:
        drawing.line(
            x(point.cost), y(point.low), x(point.cost), y(point.high), f"k{point.series % 7}", 1.6
        )
    places = [(x(point.cost), y(point.middle)) for point in points]
    bars = [
        Box(x(point.cost) - 2, y(point.high), x(point.cost) + 2, y(point.low)) for point in points
    ]
    for point, place, box in zip(
        points, places, labels(points, places, bars, Box(left, top, right, bottom)), strict=True
    ):
        middle = (box.top + box.bottom) / 2
        if abs(middle - place[1]) > 9:
            near = box.left - 2 if box.left > place[0] else box.right + 2
            drawing.line(*place, near, middle, "muted", 0.8)
        drawing.mark(*place, point.series, point.hollow)
        drawing.text(box.left, box.bottom - 4, point.name, mono=True)
    return drawing


def labels(
    points: Sequence[Point], places: Sequence[tuple[float, float]], bars: Sequence[Box], frame: Box
) -> list[Box]:
    """Return where each label stands: beside its mark or as near as it can, in `frame`, off other
    labels, marks and bars.
    """
    marks = [*bars, *(Box(x - 6, y - 6, x + 6, y + 6) for x, y in places)]
    found: dict[int, Box] = {}
    for index in sorted(
        range(len(points)), key=lambda one: (places[one][1], places[one][0], points[one].name)
    ):
        (x, y), wide = places[index], text_width(points[index].name)
        best: tuple[float, Box] | None = None
        for shift in sorted(range(-144, 145, 4), key=lambda one: (abs(one), one)):
            for left in (x + 11, x - 11 - wide, x + 24, x - 24 - wide):
                box = Box(left, y + shift - 8, left + wide, y + shift + 7)
                outside = max(frame.left - box.left, 0) + max(box.right - frame.right, 0)
                outside += max(frame.top - 6 - box.top, 0) + max(box.bottom - frame.bottom, 0)
                hits = sum(box.overlap(other) for other in (*found.values(), *marks))
                price = (
                    100 * outside
                    + 20 * hits
                    + abs(shift)
                    + (4 if left < x else 0)
                    + (6 if abs(left - x) > 20 else 0)
                )
                if best is None or price < best[0]:
                    best = (price, box)
        found[index] = best[1]
    return [found[index] for index in range(len(points))]


def _round_costs(low: float, high: float) -> list[float]:
    """Return round numbers between powers of ten `low` and `high`: tens, or also twos and fives
    where tens are few.
    """
    tens = range(math.floor(low), math.ceil(high) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [
            factor * 10.0**power
            for power in tens
            for factor in factors
            if low <= math.log10(factor * 10.0**power) <= high
        ]
        if len(found) >= 3:
            break
    return found
