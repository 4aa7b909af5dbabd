"""The main charts as SVG files for READMEs, on their own paper, so that they can be read on light
pages and dark ones.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from earshot.runtime.files import atomic
from earshot.workbench.report import blocks
from earshot.workbench.report.charts import domain
from earshot.workbench.report.data import Track
from earshot.workbench.report.scatter import Point, cost_chart
from earshot.workbench.report.svg import Drawing
from earshot.workbench.report.texts import TEXTS

_STYLE = (Path(__file__).parent / "style.css").read_text()
_MARGIN = 24


def write(folder: Path, tracks: Iterable[Track], languages: Sequence[str]) -> list[Path]:
    """Write `<track>-results.svg` and `<track>-cost.svg` of each track, `….zh-CN.svg` in Chinese;
    return the files.
    """
    written = []
    for track in tracks:
        for language in languages:
            words, end = TEXTS[language], ".zh-CN.svg" if language == "zh" else ".svg"
            drawings = {"results": _results(track, words), "cost": _cost(track, words)}
            for name, content in drawings.items():
                if content:
                    path = folder / f"{track.name}-{name}{end}"
                    with atomic(path) as partial:
                        partial.write_text(content, encoding="utf-8")
                    written.append(path)
    return written


def _results(track: Track, words: blocks.Words) -> str:
    drawing, label = blocks.results_drawing(track, words, blocks.WIDE)
    return framed(drawing, label)


def _cost(track: Track, words: blocks.Words) -> str | None:
    having = [model for model in track.models if "bytes" in track.cost.get(model, {})]
    if not having:
        return None
    rows = [blocks.estimate(track, model) for model in having]
    ends = domain([end for row in rows for end in (row.low, row.high)], zero=True)
    metric = words[track.metric]
    points = [
        Point(
            row.name,
            track.cost[row.name]["bytes"],
            row.middle,
            row.low,
            row.high,
            row.series,
            row.hollow,
        )
        for row in rows
    ]
    axis = words["metric_axis"].format(metric=metric)
    drawing = cost_chart(points, blocks.WIDE, words["cost_bytes"], blocks.size, ends, axis)
    said = "; ".join(
        f"{point.name} {blocks.size(point.cost)}, {blocks.percent(point.middle)}"
        for point in points
    )
    return framed(drawing, f"{words['cost_bytes']}, {metric}: {said}")


def framed(drawing: Drawing, label: str) -> str:
    """Return a drawing as an SVG file with a margin, paper and colours of its own, light or dark as
    the reader has it.
    """
    begin, end = "/* colours */", "/* end of colours */"
    colours = _STYLE.split(begin)[1].split(end)[0]
    text = _STYLE.split("/* drawings */")[1].split("/* end of drawings */")[0]
    outer = Drawing(drawing.width + 2 * _MARGIN, drawing.height + 2 * _MARGIN)
    outer.rect(0, 0, outer.width, outer.height, "paper")
    outer.within(drawing, _MARGIN, _MARGIN)
    return str(outer.render(label, style=f"{colours}{text}")) + "\n"
