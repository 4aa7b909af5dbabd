"""Drawings as SVG text, in the page's own colours: `k0`…`k6` of a series, `ink`, `muted`, `rule` of
the paper.
"""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

SERIES = 7  # colours; a palette told apart by every colour vision, on light paper and on dark
SHAPES = ("circle", "square", "up", "diamond", "down", "cross", "plus")
_LETTER = 7.3  # pixels of one letter of a label, 12 px high


class Drawing:
    """A picture `width` × `height` in pixels; (0, 0) is the upper left corner. Texts are escaped."""

    def __init__(self, width: float, height: float):
        """Begin an empty picture."""
        self.width, self.height, self._parts = width, height, list[str]()

    def line(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        kind: str = "rule",
        width: float = 1,
        dash: str = "",
    ) -> None:
        """Draw a straight line."""
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        ends = f'x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"'
        self._parts.append(
            f'<line class="{kind}" {ends} stroke="currentColor" stroke-width="{_n(width)}"{dashed}/>'
        )

    def path(
        self, points: Sequence[tuple[float, float]], kind: str, width: float, opacity: float = 1
    ) -> None:
        """Draw straight lines from point to point."""
        steps = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        faint = f' opacity="{_n(opacity)}"' if opacity < 1 else ""
        style = f'fill="none" stroke="currentColor" stroke-width="{_n(width)}" stroke-linejoin="round"{faint}'
        self._parts.append(f'<path class="{kind}" d="M{steps}" {style}/>')

    def rect(
        self, x: float, y: float, width: float, height: float, kind: str, opacity: float = 1
    ) -> None:
        """Fill a rectangle."""
        place = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"'
        self._parts.append(
            f'<rect class="{kind}" {place} fill="currentColor" fill-opacity="{_n(opacity, 3)}"/>'
        )

    def ring(self, x: float, y: float, radius: float, kind: str, width: float = 2) -> None:
        """Draw a circle's edge."""
        style = f'fill="none" stroke="currentColor" stroke-width="{_n(width)}"'
        self._parts.append(
            f'<circle class="{kind}" cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" {style}/>'
        )

    def mark(
        self,
        x: float,
        y: float,
        series: int,
        hollow: bool = False,
        size: float = 4.5,
        opacity: float = 1,
    ) -> None:
        """Draw the mark of a series: its colour and its shape, filled with paper where it is
        hollow.
        """
        fill = "var(--paper)" if hollow else "currentColor"
        faint = f' opacity="{_n(opacity)}"' if opacity < 1 else ""
        shape = _SHAPES[SHAPES[series % len(SHAPES)]](x, y, size)
        style = f'fill="{fill}" stroke="currentColor" stroke-width="1.8"{faint}'
        self._parts.append(f'<{shape} class="k{series % SERIES}" {style}/>')

    def text(
        self,
        x: float,
        y: float,
        content: str,
        kind: str = "ink",
        anchor: str = "start",
        mono: bool = False,
        turn: float = 0,
    ) -> None:
        """Write a text whose base line is at `y`."""
        turned = f' transform="rotate({_n(turn)} {_n(x)} {_n(y)})"' if turn else ""
        place = f'x="{_n(x)}" y="{_n(y)}"' + (
            f' text-anchor="{anchor}"' if anchor != "start" else ""
        )
        names = f"{kind} mono" if mono else kind
        self._parts.append(
            f'<text class="{names}" {place}{turned} fill="currentColor">{escape(content)}</text>'
        )

    def within(self, inner: "Drawing", x: float, y: float) -> None:
        """Put another picture into this one, its upper left corner at (x, y)."""
        self._parts.append(f'<g transform="translate({_n(x)} {_n(y)})">{"".join(inner._parts)}</g>')

    def render(self, label: str, style: str = "", kind: str = "") -> Markup:
        """Return the picture as SVG that says `label` to those who do not see it; `style` is CSS of
        its own.
        """
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(self.width)} {_n(self.height)}"'
        size = f'width="{_n(self.width)}" height="{_n(self.height)}"'
        classes = f' class="{kind}"' if kind else ""
        inside = (f"<style>{style}</style>" if style else "") + "".join(self._parts)
        return Markup(
            f'{head} {size}{classes} role="img" aria-label="{escape(label)}">{inside}</svg>'
        )


def text_width(content: str) -> float:
    """Return about how many pixels a label is wide; Chinese letters are twice as wide as Latin
    ones.
    """
    return sum(12.5 if ord(letter) > 0x2E80 else _LETTER for letter in content)


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return about `count` round numbers from `low` to `high`."""
    rough = (high - low) / max(count, 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _n(number: float, digits: int = 1) -> str:
    return f"{number:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{number:.0f}"


def _polygon(corners: Sequence[tuple[float, float]]) -> str:
    return 'polygon points="{}"'.format(" ".join(f"{_n(x)},{_n(y)}" for x, y in corners))


_SHAPES = {
    "circle": lambda x, y, r: f'circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(r)}"',
    "square": lambda x, y, r: (
        f'rect x="{_n(x - 0.88 * r)}" y="{_n(y - 0.88 * r)}" width="{_n(1.76 * r)}" height="{_n(1.76 * r)}"'
    ),
    "up": lambda x, y, r: _polygon(
        [(x, y - 1.15 * r), (x + 1.1 * r, y + 0.8 * r), (x - 1.1 * r, y + 0.8 * r)]
    ),
    "down": lambda x, y, r: _polygon(
        [(x, y + 1.15 * r), (x + 1.1 * r, y - 0.8 * r), (x - 1.1 * r, y - 0.8 * r)]
    ),
    "diamond": lambda x, y, r: _polygon(
        [(x, y - 1.25 * r), (x + 1.25 * r, y), (x, y + 1.25 * r), (x - 1.25 * r, y)]
    ),
    "cross": lambda x, y, r: _polygon(
        [
            *(
                (x - r, y - 0.4 * r),
                (x - 0.4 * r, y - 0.4 * r),
                (x - 0.4 * r, y - r),
                (x + 0.4 * r, y - r),
            ),
            *(
                (x + 0.4 * r, y - 0.4 * r),
                (x + r, y - 0.4 * r),
                (x + r, y + 0.4 * r),
                (x + 0.4 * r, y + 0.4 * r),
            ),
            *(
                (x + 0.4 * r, y + r),
                (x - 0.4 * r, y + r),
                (x - 0.4 * r, y + 0.4 * r),
                (x - r, y + 0.4 * r),
            ),
        ]
    ),
    "plus": lambda x, y, r: _polygon(
        [
            (x - 1.2 * r, y - 0.45 * r),
            (x + 1.2 * r, y - 0.45 * r),
            (x + 1.2 * r, y + 0.45 * r),
            (x - 1.2 * r, y + 0.45 * r),
        ]
    ),
}
