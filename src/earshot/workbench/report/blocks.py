"""A track's charts and tables: each block shows what its data allow, and says what is missing where
they do not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from earshot.workbench.report import charts, matrix, scatter
from earshot.workbench.report.charts import Estimate
from earshot.workbench.report.data import Track, base
from earshot.workbench.report.svg import Drawing
from earshot.workbench.report.texts import value

WIDE, HALF, NARROW = 900, 430, 342  # pixels: a row of the page on a desk, half of one, a phone
Words = dict[str, str]


@dataclass(frozen=True)
class Chart:
    """A chart in the widths it is drawn for, what stands below it, and what is said of it to those
    who do not see it.
    """

    drawings: dict[str, Markup]
    caption: str
    whole: bool = True  # it takes a row of the page


@dataclass(frozen=True)
class Block:
    """A part of a track's results; `missing` names what is not there."""

    id: str
    title: str
    charts: list[Chart] = field(default_factory=list)
    missing: str = ""
    grid: bool = False


def both(draw: Callable[[int], Drawing], caption: str, label: str, wide: int = WIDE) -> Chart:
    """Return a chart drawn for a desk, `wide` pixels, and for a phone."""
    drawn = {
        kind: draw(width).render(label, kind=kind)
        for kind, width in (("wide", wide), ("narrow", NARROW))
    }
    return Chart(drawn, caption, wide == WIDE)


def percent(share: float) -> str:
    """Return a share as percent without the sign."""
    return f"{100 * share:.1f}"


def points(share: float) -> str:
    """Return a difference of shares in points, signed."""
    return f"{100 * share:+z.1f}".replace("-", "−")


def estimate(track: Track, model: str, scores: dict[str, Any] | None = None) -> Estimate:
    """Return a model's score with its interval, or the one in `scores`; without an interval it is a
    point.
    """
    scores, metric = track.quality[model] if scores is None else scores, track.metric
    middle = scores[metric]
    ends = (scores.get(f"{metric}_low", middle), scores.get(f"{metric}_high", middle))
    series, hollow = track.series(model)
    return Estimate(model, middle, *ends, series, hollow)


def chance(track: Track) -> float | None:
    """Return the accuracy of guessing, or None where it is not known."""
    confusion = track.tables.get("confusion")
    return (
        None
        if confusion is None or track.metric != "accuracy"
        else 1 / confusion["actual"].nunique()
    )


def results(track: Track, words: Words) -> Block:
    """Return every model's score with its interval."""
    label = results_drawing(track, words, WIDE)[1]
    caption = words["results_caption"].format(metric=words[track.metric])
    return Block(
        "results",
        words["results"],
        [both(lambda width: results_drawing(track, words, width)[0], caption, label)],
    )


def results_drawing(track: Track, words: Words, width: int) -> tuple[Drawing, str]:
    """Return every model's score with its interval in a given width, and the same in words."""
    rows = [estimate(track, model) for model in track.models]
    guess, axis = chance(track), words["metric_axis"].format(metric=words[track.metric])
    ends = charts.domain([end for row in rows for end in (row.low, row.high)], zero=True)

    def figures(row: Estimate) -> str:
        return f"{percent(row.middle)} ({percent(row.low)}–{percent(row.high)})"

    reference = None if guess is None else (guess, words["chance"].format(share=f"{guess:.0%}"))
    label = f"{axis}: " + "; ".join(f"{row.name} {figures(row)}" for row in rows)
    return charts.intervals(
        rows, width, ends, figures, axis, lambda share: f"{100 * share:.0f}", reference
    ), label


def gains(track: Track, words: Words) -> Block:
    """Return the paired gains: in the track's metric, and in whatever else they are measured in."""
    found = track.quality.get("gain") or {}
    others = {
        name.removesuffix("_low")
        for gain in found.values()
        for name in gain
        if name.endswith("_low")
    }
    metrics = [track.metric, *sorted(others - {track.metric})]
    drawn = [
        _gains({pair: gain for pair, gain in found.items() if metric in gain}, metric, words)
        for metric in metrics
    ]
    missing = "" if any(drawn) else f"metrics/{track.name}/quality.json: gain"
    return Block("gains", words["gains"], [chart for chart in drawn if chart], missing)


def _gains(found: dict[str, dict[str, float]], metric: str, words: Words) -> Chart | None:
    rows = []
    for pair, gain in found.items():
        low, high = gain[f"{metric}_low"], gain[f"{metric}_high"]
        rows.append(
            Estimate(pair.replace("_vs_", " − "), gain[metric], low, high, 0, low <= 0 <= high)
        )
    if not rows:
        return None
    ends = charts.domain([end for row in rows for end in (row.low, row.high)], zero=True)

    def figures(row: Estimate) -> str:
        return f"{points(row.middle)} ({points(row.low)} … {points(row.high)})"

    def tick(share: float) -> str:
        return f"{100 * share:+.3g}".replace("-", "−") if share else "0"

    name = words.get(metric) or metric.replace("_", " ")
    axis = words["gains_axis"].format(metric=name)
    label = f"{words['gains']}, {axis}: " + "; ".join(f"{row.name} {figures(row)}" for row in rows)

    def draw(width: int) -> Drawing:
        return charts.intervals(rows, width, ends, figures, axis, tick, (0, words["zero"]))

    return both(draw, words["gains_caption"].format(metric=name), label)


def breakdowns(track: Track, words: Words, language: str) -> list[Block]:
    """Return a block for each thing that scores are broken down by."""
    found = []
    legend = [estimate(track, model) for model in track.told]
    for key, values in track.breakdowns().items():
        groups = {}
        for name in values:
            having = [model for model in track.told if name in track.quality[model].get(key, {})]
            groups[value(language, name)] = [
                estimate(track, m, track.quality[m][key][name]) for m in having
            ]
        every = [end for rows in groups.values() for row in rows for end in (row.low, row.high)]
        if not every:
            continue
        ends, metric = charts.domain(every, zero=True), words[track.metric]
        axis = words["metric_axis"].format(metric=metric)
        title = words.get(key) or words["by"].format(key=key)
        said = (
            f"{name}: " + ", ".join(f"{r.name} {percent(r.middle)}" for r in rows)
            for name, rows in groups.items()
        )

        def draw(width: int, groups: Any = groups, ends: Any = ends, axis: str = axis) -> Drawing:
            return charts.breakdown(
                groups, width, ends, axis, lambda share: f"{100 * share:.0f}", legend, chance(track)
            )

        caption = words["breakdown_caption"].format(metric=metric)
        found.append(
            Block(f"by-{key}", title, [both(draw, caption, f"{title}. {axis}: {'; '.join(said)}")])
        )
    return found


def learning(track: Track, words: Words) -> Block:
    """Return validation and loss over epochs."""
    table, name = track.tables.get("curves"), words["curves"]
    if table is None or table.empty:
        return Block("curves", name, missing=f"plots/{track.name}/test/curves.csv")
    table = table.assign(model=table["model"].str.removeprefix(f"{track.name}-"))
    present = set(table["model"])
    order = [(model, track.series(model)[0]) for model in track.models if model in present]
    order += [(model, len(order)) for model in sorted(present - {model for model, _ in order})]
    drawn = []
    for column, is_share in (("validation", True), ("loss", False)):
        if column in table and table[column].notna().any():
            last = (
                table.dropna(subset=[column])
                .groupby(["model", "seed"])
                .last()[column]
                .groupby("model")
                .mean()
            )
            said = ", ".join(f"{model} {last[model]:.3g}" for model, _ in order if model in last)

            def draw(width: int, column: str = column, is_share: bool = is_share) -> Drawing:
                return charts.curves(
                    table, column, order, width, (words["epoch"], words[column]), is_share
                )

            drawn.append(both(draw, words[f"{column}_caption"], f"{words[column]}: {said}"))
    return Block("curves", name, drawn)


def confusion(track: Track, words: Words) -> Block:
    """Return which answers are taken for which, and the calibration beside them."""
    table, title = track.tables.get("confusion"), words["confusion"]
    if table is None or table.empty:
        return Block("confusion", title, missing=f"plots/{track.name}/test/confusion.csv")

    def name(one: str) -> str:
        return (
            words["option"].format(number=int(one) + 1) if one.isdigit() else one.replace("_", " ")
        )

    caption = words["confusion_caption"].format(model=track.shipped or words["student"])
    right = percent(float((table["actual"] == table["predicted"]).mean()))
    axes = (words["right_answer"], words["answer"])
    label = f"{caption} {words['right']}: {right}%"
    if table["actual"].nunique() <= 4:
        small = both(lambda width: matrix.confusion(table, name, width, axes), caption, label, HALF)
        return Block("confusion", title, [small], grid=True)
    return Block(
        "confusion",
        title,
        [both(lambda width: matrix.confusion(table, name, width, axes), caption, label)],
    )


def calibration(track: Track, words: Words) -> Block:
    """Return how often answers of a confidence are right."""
    table, title = track.tables.get("reliability"), words["calibration"]
    if table is None or table.empty:
        return Block("calibration", title, missing=f"plots/{track.name}/test/reliability.csv")
    series = track.series(track.shipped)[0] if track.shipped else 0
    axes = (words["confidence"], words["accuracy"])
    pairs = zip(table["confidence"], table["accuracy"], strict=True)
    said = ", ".join(f"{confidence:.2f} → {accuracy:.2f}" for confidence, accuracy in pairs)
    caption = words["calibration_caption"].format(model=track.shipped or words["student"])

    def draw(width: int) -> Drawing:
        return charts.reliability(table, width, axes, words["perfect"], series)

    return Block("calibration", title, [both(draw, caption, f"{caption} {said}", HALF)], grid=True)


def costs(track: Track, words: Words) -> Block:
    """Return score over bytes, MACs and latency."""
    metric = words[track.metric]
    prices: dict[str, tuple[Callable[[dict], float | None], Callable[[float], str]]] = {
        "bytes": (lambda cost: cost.get("bytes"), size),
        "macs": (lambda cost: cost.get("macs"), _millions),
        "latency": (
            lambda cost: cost.get("timing", {}).get("latency_median_ms"),
            lambda number: f"{number:g}",
        ),
    }
    having = [model for model in track.models if model in track.cost]
    if not having:
        return Block(
            "cost", words["cost"].format(metric=metric), missing=f"metrics/{track.name}/cost.json"
        )
    estimates = {model: estimate(track, model) for model in having}
    ends = charts.domain(
        [end for one in estimates.values() for end in (one.low, one.high)], zero=False
    )
    drawn = []
    for key, (price, unit) in prices.items():
        paid = {model: price(track.cost[model]) for model in having if price(track.cost[model])}
        placed = [
            scatter.Point(model, float(cost), one.middle, one.low, one.high, one.series, one.hollow)
            for model, cost in paid.items()
            if (one := estimates[model]) and (base(model) == model or paid.get(base(model)) != cost)
        ]
        if placed:
            name, axis = words[f"cost_{key}"], words["metric_axis"].format(metric=metric)
            figures = (
                f"{p.name} {p.cost:.2f}" if key == "latency" else f"{p.name} {unit(p.cost)}"
                for p in placed
            )
            said = "; ".join(
                f"{cost}, {percent(p.middle)}" for cost, p in zip(figures, placed, strict=True)
            )

            def draw(
                width: int,
                placed: Any = placed,
                name: str = name,
                unit: Any = unit,
                axis: str = axis,
            ) -> Drawing:
                return scatter.cost_chart(placed, width, name, unit, ends, axis)

            caption = words["cost_caption"].format(metric=metric, cost=name)
            drawn.append(both(draw, caption, f"{name}, {metric}: {said}", HALF if drawn else WIDE))
    return Block("cost", words["cost"].format(metric=metric), drawn, grid=True)


def routing(track: Track, words: Words) -> Block | None:
    """Return which teacher layers the stages of each routed recipe learn from; None for a track
    without routing.
    """
    table = track.tables.get("routing")
    if table is None or table.empty:
        return None
    axes, drawn = (words["stage"], words["layer"]), []
    for recipe, own in table.groupby("recipe", sort=True):
        caption = words["routing_caption"].format(recipe=recipe)
        votes = own.groupby(["stage", "layer"])["chosen"].sum()
        said = ", ".join(
            f"{words['stage']} {stage}: {words['layer']} {layer}"
            for (stage, layer), n in votes.items()
            if n
        )

        def draw(width: int, own: Any = own) -> Drawing:
            return matrix.routing(own, width, axes)

        drawn.append(both(draw, caption, f"{caption} {said}", HALF))
    return Block("routing", words["routing"], drawn, grid=True)


def _millions(number: float) -> str:
    return f"{number / 1e6:g} M" if number < 1e9 else f"{number / 1e9:g} G"


def size(number: float) -> str:
    """Return bytes in kB or MB, decimal."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:g} B"


def blocks(track: Track, words: Words, language: str) -> list[Block]:
    """Return all blocks of a track, in the order of the page; results and gains come first."""
    found = [results(track, words), gains(track, words), costs(track, words)]
    found += [
        *breakdowns(track, words, language),
        confusion(track, words),
        calibration(track, words),
    ]
    return [block for block in (*found, learning(track, words), routing(track, words)) if block]
