"""What experiments came to: a table for the terminal, CSV and JSON, and a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from earshot.evaluation.figures import COLOURS, FAINT, INK
from earshot.runtime.files import atomic, write_json
from earshot.workbench.experiments.study import Outcome
from earshot.workbench.experiments.task import labels
from earshot.workbench.rows import aligned

STYLE = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#E4E4E4",
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "font.size": 9,
}
# What is shown of the scores, the first of these that is there; accuracy ranks, a recogniser's is
# 1 − its word error rate.
METRICS = {"wer": "word error rate", "accuracy": "accuracy"}
BOUNDS = ("", "_low", "_high")


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return outcomes, the best on validation items first, those without scores last."""
    return sorted(outcomes, key=lambda one: (one.state != "done", -one.scores.get("accuracy", 0.0)))


def metric(scores: dict[str, float]) -> str:
    """Return what is shown of the scores of an experiment."""
    return next(name for name in METRICS if name in scores)


def named(outcomes: Sequence[Outcome]) -> str:
    """Return the name of what is shown of experiments."""
    done = _done(outcomes)
    return f"validation {METRICS[metric(done[0].scores) if done else 'accuracy']}"


def _done(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [one for one in outcomes if one.state == "done"]


def table(outcomes: Sequence[Outcome], varied: Sequence[str]) -> str:
    """Return a table in columns: experiment, parameters, score or why there is none."""
    heads = labels(varied).values()
    rows = [["experiment", *heads, f"{named(outcomes)}, % (95% interval)"]]
    for one in ranked(outcomes):
        result = percent(one.scores) if one.state == "done" else f"{one.state}: {one.reason}"
        rows.append([one.name, *(_short(one.overrides.get(key)) for key in varied), result])
    return "\n".join(aligned(rows))


def verdict(outcomes: Sequence[Outcome]) -> str:
    """Return how far the best can be told from the others; empty when nothing succeeded."""
    best, *others = _done(ranked(outcomes)) or [None]
    if best is None:
        return ""
    close = sum(one.scores["accuracy_high"] >= best.scores["accuracy_low"] for one in others)
    told = f"; its interval overlaps with those of {close} of {len(others)} others"
    return f"best on validation items: {best.name}{told if others else ''}"


def percent(scores: dict[str, float]) -> str:
    """Return the score that is shown with its interval, in percent."""
    return "{:.1f} ({:.1f}–{:.1f})".format(*(100 * end for end in _interval(scores)))


def _interval(scores: dict[str, float]) -> list[float]:
    return [scores[f"{metric(scores)}{end}"] for end in BOUNDS]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"


def write(
    folder: Path, outcomes: Sequence[Outcome], varied: Sequence[str], about: dict[str, Any]
) -> None:
    """Write `results.csv` (a row an experiment) and `results.json` (the same, with `about`)."""
    rows = []
    for one in ranked(outcomes):
        row = {"experiment": one.name, "state": one.state}
        row |= {"reason": one.reason, "seconds": one.seconds, **one.overrides}
        rows.append(row | {f"validation_{name}": score for name, score in one.scores.items()})
    with atomic(folder / "results.csv") as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)
    write_json(folder / "results.json", about | {"varied": list(varied), "experiments": rows})


def draw(
    path: Path, outcomes: Sequence[Outcome], varied: Sequence[str], title: str, history: bool
) -> None:
    """Draw the score with its interval against each parameter, and, with `history`, in order.

    Nothing is drawn when no experiment succeeded.
    """
    done = _done(outcomes)
    if not done:
        return
    panels = {labels(varied)[key]: [one.overrides.get(key) for one in done] for key in varied}
    if history:
        panels = {"experiment, in order": list(range(1, len(done) + 1))} | panels
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE):
        picture = Figure((8, 0.6 + 2.9 * rows), dpi=150, layout="constrained")
        picture.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        picture.supylabel(f"{named(done)}, 95% interval", fontsize=10)
        first = None
        for place, (name, values) in enumerate(panels.items(), 1):
            axes = picture.add_subplot(rows, columns, place, sharey=first)
            first = first or axes
            axes.set_xlabel(name, fontsize=10)
            _panel(axes, done, values)
        first.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
        first.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        with atomic(path) as partial:
            picture.savefig(partial, format="png", metadata={"Software": None})


def _panel(axes: Axes, done: list[Outcome], values: list[Any]) -> None:
    """Draw outcomes at their values: numbers where they are, other values evenly, by name."""
    places = values
    if not all(type(value) in (int, float) for value in values):
        names = sorted({str(value) for value in values})
        places = [names.index(str(value)) for value in values]
        axes.set_xticks(range(len(names)), names)
    elif min(places) > 0 and max(places) / min(places) >= 4:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
    best = ranked(done)[0]
    step = 0.02 * (max(places) - min(places) or 1.0)
    for number, (one, place) in enumerate(zip(done, places, strict=True)):
        twins = places[:number].count(place)  # experiments of one value stand beside one another
        aside = step * (twins // 2 + twins % 2) * (1 if twins % 2 else -1)
        middle, low, high = _interval(one.scores)
        ends = [[max(0.0, middle - low)], [max(0.0, high - middle)]]
        colour = COLOURS[one is best]
        axes.errorbar(place + aside, middle, ends, fmt="o", color=colour, capsize=2, markersize=5)
