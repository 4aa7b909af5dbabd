"""How pictures look: SVG by Matplotlib in pixels, whose colours follow light paper or dark.

The same numbers give the same bytes.
"""

import html
import io
import re
import warnings

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# What a picture is drawn in: its colour on light paper, and on dark. The series (k0…k6) are told
# apart by every colour vision, and each can be read on either paper.
PALETTE = {
    "paper": ("#fcfbf8", "#14171b"),
    "panel": ("#f4f2ec", "#1d2126"),
    "ink": ("#1b1f24", "#e9e7e2"),
    "muted": ("#575f69", "#a7adb5"),
    "rule": ("#dcd8ce", "#343a42"),
    "link": ("#0a5c93", "#7cbcf0"),
    "heat": ("#1f77b4", "#2a78b8"),
    "k0": ("#0b66a3", "#6cb4ee"),
    "k1": ("#b8470f", "#f09163"),
    "k2": ("#1b7a4e", "#62c99c"),
    "k3": ("#8a4a9e", "#cda2e6"),
    "k4": ("#8c6100", "#ddb04f"),
    "k5": ("#4b5a69", "#a9b6c4"),
    "k6": ("#ad2b64", "#f08fb7"),
}
PAPER, INK, FAINT, RULE, HEAT = (
    PALETTE[name][0] for name in ("paper", "ink", "muted", "rule", "heat")
)
COLOURS = [PALETTE[f"k{number}"][0] for number in range(7)]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
FONTS = {
    "sans": 'system-ui, -apple-system, "Segoe UI", "Noto Sans", "PingFang SC", '
    '"Microsoft YaHei", "Noto Sans CJK SC", sans-serif',
    "mono": 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
}
WIDE, HALF, NARROW = 900, 430, 342  # pixels: a row of a page on a desk, half of one, a phone
MARGIN = 24  # pixels around a picture that stands alone
MONO = {"family": "monospace", "fontsize": 11.5}
SMALL = {"color": FAINT, "fontsize": 12}
_SETTINGS = {
    "svg.fonttype": "none",  # texts stay texts
    "font.sans-serif": ["DejaVu Sans"],
    "font.monospace": ["DejaVu Sans Mono"],
}


def canvas(
    width: float, height: float, left: float, right: float, top: float, bottom: float
) -> tuple[Figure, Axes]:
    """Return a figure and its axes with these margins, all in pixels; a point is a pixel."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    inner = ((width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes((left / width, bottom / height, *inner))
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=6, labelcolor=FAINT, labelsize=12)
    axes.tick_params(axis="x", pad=9)
    axes.grid(color=RULE, linewidth=1)
    axes.set_axisbelow(True)
    return figure, axes


def text_width(text: str) -> float:
    """Return about how many pixels a label is wide; Chinese letters are wider than Latin ones."""
    return sum(12.5 if ord(letter) > 0x2E80 else 7.3 for letter in text)


def colours() -> str:
    """Return CSS that names colours and fonts, for light paper and for dark."""
    light, dark = (
        " ".join(f"--{name}: {pair[side]};" for name, pair in PALETTE.items()) for side in (0, 1)
    )
    fonts = " ".join(f"--{name}: {family};" for name, family in FONTS.items())
    return (
        f":root {{ color-scheme: light dark; {fonts} {light} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    )


def svg(figure: Figure, name: str, alone: bool = False) -> str:
    """Return a figure as SVG that says its label to those who do not see it.

    `name` tells its inner names from those of other pictures in one page. A picture that stands
    `alone` brings its colours, its paper and a margin.
    """
    content = io.StringIO()
    with rc_context(_SETTINGS | {"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # readers have Chinese letters
        figure.savefig(content, format="svg", metadata={"Date": None})
    body = content.getvalue().split("</metadata>")[1]
    body = re.sub(r"<[^>]+>", lambda tag: _short(tag[0]), body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    width, height = figure.get_size_inches() * 72
    margin = MARGIN if alone else 0
    box = f"{-margin} {-margin} {width + 2 * margin:g} {height + 2 * margin:g}"
    size = f'width="{width + 2 * margin:g}" height="{height + 2 * margin:g}"'
    label = html.escape(figure.get_label())
    paper = f"<style>{colours()}svg {{ background: var(--paper); }}</style>" if alone else ""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}" {size} role="img" aria-label="{label}">{paper}{body.strip()}\n'
    )


def _short(tag: str) -> str:
    """Return a tag with colours and fonts by name, two decimals, and no empty transforms."""
    tag = re.sub(r"\s+", " ", tag)
    tag = re.sub(r'<g id="[^"]*"', "<g", tag)
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)
    tag = re.sub(
        r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), tag
    )
    tag = re.sub(r"font-family: 'DejaVu Sans Mono'[^;\"]*", "font-family: var(--mono)", tag)
    tag = re.sub(r"font-family: 'DejaVu Sans'[^;\"]*", "font-family: var(--sans)", tag)
    for name, (light, _) in PALETTE.items():
        tag = tag.replace(light, f"var(--{name})")
    return tag
