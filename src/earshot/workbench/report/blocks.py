"""A track's charts: each block shows what its data allow, and says what is missing where they do
not.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from matplotlib.figure import Figure

from earshot.evaluation import charts, maps
from earshot.evaluation.figures import HALF, WIDE
from earshot.workbench.report.scatter import scatter
from earshot.workbench.results import Track

Words = dict[str, str]


class Chart(NamedTuple):
    """A chart that can be drawn in any width, what stands below it, and its width on a desk."""

    draw: Callable[..., Figure]  # draw(width=…)
    caption: str
    wide: int = WIDE


class Block(NamedTuple):
    """A part of a track's results; `missing` names what is not there."""

    id: str
    title: str
    charts: list[Chart]
    missing: str = ""


def blocks(track: Track, words: Words) -> list[Block]:
    """Return all blocks of a track, in the order of the page; results and gains come first."""
    first = [results(track, words), gains(track, words), costs(track, words)]
    parts = breakdowns(track, words)
    of_clips = [*confusion(track, words), *calibration(track, words)]
    last = [*of_clips, learning(track, words), *routing(track, words)]
    return [*first, *parts, *robustness(track, words), *last]


def worded(words: Words, name: str, metric: str) -> str:
    """Return the text of this name for a metric that has one of its own, else that for all."""
    return words.get(f"{name}_{metric}") or words[name]


def axis(track: Track, words: Words) -> str:
    """Return the name of the axis of scores."""
    return words["metric_axis"].format(metric=words[track.metric])


def results(track: Track, words: Words) -> Block:
    """Return every model's score with its interval."""
    rows = [track.estimate(model) for model in track.models]
    guess = track.chance
    reference = None if guess is None else (guess, words["chance"].format(share=f"{guess:.0%}"))
    draw = partial(charts.intervals, rows, axis=axis(track, words), reference=reference)
    caption = worded(words, "results_caption", track.metric).format(metric=words[track.metric])
    return Block("results", words["results"], [Chart(draw, caption)])


def gains(track: Track, words: Words) -> Block:
    """Return the paired gains: in the track's metric, and in whatever else they are measured in."""
    found = track.gains
    measured = {name for gain in found.values() for name in gain if f"{name}_low" in gain}
    drawn = []
    for metric in sorted(measured, key=lambda one: (one != track.metric, one)):
        name = words.get(metric) or metric.replace("_", " ")
        draw = partial(
            charts.intervals,
            charts.paired(found, metric),
            axis=worded(words, "gains_axis", metric).format(metric=name),
            reference=(0, words["zero"]),
            differences=True,
        )
        drawn.append(Chart(draw, worded(words, "gains_caption", metric).format(metric=name)))
    missing = "" if drawn else f"metrics/{track.name}/quality.json: gain"
    return Block("gains", words["gains"], drawn, missing)


def costs(track: Track, words: Words) -> Block:
    """Return score over bytes, multiply-accumulates and latency."""
    metric, drawn = words[track.metric], []
    for key, unit in (("bytes", size), ("macs", macs), ("latency_ms", "{:.3g}".format)):
        paid = {model: track.cost.get(model, {}).get(key) for model in track.models}
        shown = [
            model
            for model, cost in paid.items()
            if cost and (charts.base(model) == model or paid.get(charts.base(model)) != cost)
        ]
        if shown:
            rows, prices = [track.estimate(one) for one in shown], [paid[one] for one in shown]
            name = words[f"cost_{key}"]
            draw = partial(scatter, rows, prices, names=(name, axis(track, words)), unit=unit)
            caption = words["cost_caption"].format(metric=metric, cost=name)
            drawn.append(Chart(draw, caption, HALF if drawn else WIDE))
    missing = "" if drawn else f"metrics/{track.name}/cost.json"
    return Block("cost", words["cost"].format(metric=metric), drawn, missing)


def breakdowns(track: Track, words: Words) -> list[Block]:
    """Return a block for each thing that scores are broken down by."""
    found = []
    for key, names in track.breakdowns().items():
        groups = {}
        for name in names:
            parts = {
                model: track.quality[model].get(key, {}) for model in charts.shortlist(track.models)
            }
            rows = [
                track.estimate(model, part[name]) for model, part in parts.items() if name in part
            ]
            if rows:
                groups[words.get(name) or name.replace("_", " ")] = rows
        if groups:
            draw = partial(charts.breakdown, groups, axis=axis(track, words), chance=track.chance)
            title = words.get(key) or words["by"].format(key=key)
            caption = worded(words, "breakdown_caption", track.metric)
            found.append(Block(f"by-{key}", title, [Chart(draw, caption)]))
    return found


def robustness(track: Track, words: Words) -> list[Block]:
    """Return how the shipped student and its teacher stand noise, rooms, lines and codecs."""
    table = track.tables.get("robustness")
    if table is None:
        return []
    found = charts.by_condition(table, track.models)
    named = {words.get(name) or name: rows for name, rows in found.items()}
    draw = partial(charts.breakdown, named, axis=axis(track, words), chance=track.chance)
    caption = worded(words, "robustness_caption", track.metric)
    return [Block("robustness", words["robustness"], [Chart(draw, caption)])]


def confusion(track: Track, words: Words) -> list[Block]:
    """Return which answers are taken for which; nothing where a clip has more than one answer."""
    if track.metric != "accuracy":
        return []
    table, title = track.tables.get("confusion"), words["confusion"]
    if table is None:
        return [Block("confusion", title, [], f"plots/{track.name}/test/confusion.csv")]
    names = maps.class_names(table, words["option"])
    corner = f"{words['right_answer']} ↓  {words['answer']} →"
    draw = partial(maps.confusion, table, names=names, corner=corner)
    caption = words["confusion_caption"].format(model=track.shipped or words["student"])
    wide = HALF if len(names) <= 4 else WIDE
    return [Block("confusion", title, [Chart(draw, caption, wide)])]


def calibration(track: Track, words: Words) -> list[Block]:
    """Return how often answers of a confidence are right; nothing where they have none."""
    if track.metric != "accuracy":
        return []
    table, title = track.tables.get("reliability"), words["calibration"]
    if table is None:
        return [Block("calibration", title, [], f"plots/{track.name}/test/reliability.csv")]
    number = charts.series([track.shipped], track.models)[track.shipped]
    names = (words["confidence"], words["accuracy"])
    draw = partial(charts.reliability, table, number, names=names, perfect=words["perfect"])
    caption = words["calibration_caption"].format(model=track.shipped)
    return [Block("calibration", title, [Chart(draw, caption, HALF)])]


def learning(track: Track, words: Words) -> Block:
    """Return validation and loss over epochs."""
    table = track.tables.get("curves")
    if table is None:
        missing = f"plots/{track.name}/test/curves.csv"
        return Block("curves", words["curves"], [], missing)
    models, drawn = charts.series(table["model"].unique(), track.models), []
    for column in ("validation", "loss"):
        if column in table and table[column].notna().any():
            named = worded(words, column, track.metric)
            names, share = (words["epoch"], named), column == "validation"
            draw = partial(charts.curves, table, column, models, names=names, share=share)
            drawn.append(Chart(draw, worded(words, f"{column}_caption", track.metric)))
    return Block("curves", words["curves"], drawn)


def routing(track: Track, words: Words) -> list[Block]:
    """Return which teacher layers student stages learn from; nothing for a track without it."""
    table = track.tables.get("routing")
    if table is None:
        return []
    corner, drawn = f"{words['stage']} ↓  {words['layer']} →", []
    for recipe, rows in table.groupby("recipe"):
        draw = partial(maps.routing, rows, corner=corner)
        drawn.append(Chart(draw, words["routing_caption"].format(recipe=recipe), HALF))
    return [Block("routing", words["routing"], drawn)]


def macs(number: float) -> str:
    """Return multiply-accumulates in millions or milliards."""
    return f"{number / 1e6:g} M" if number < 1e9 else f"{number / 1e9:g} G"


def size(number: float) -> str:
    """Return bytes in kB, MB or GB, decimal."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:g} B"
