"""What experiments came to: a table for the terminal, CSV and JSON, and a picture with a panel a
parameter.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from earshot.evaluation.figures import COLOURS, FAINT, INK
from earshot.runtime.files import atomic, write_json
from earshot.workbench.experiments.trial import Outcome, labels

BOUNDS = ("accuracy", "accuracy_low", "accuracy_high")


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return outcomes, the best on validation items first, those without scores last."""
    return sorted(outcomes, key=lambda one: (one.state != "done", -one.scores.get("accuracy", 0.0)))


def table(outcomes: Sequence[Outcome], varied: Sequence[str]) -> str:
    """Return a table in columns: experiment, parameters, validation accuracy or why there is
    none.
    """
    heads = labels(varied)
    rows = [["experiment", *heads.values(), "validation accuracy, % (95% interval)"]]
    for one in ranked(outcomes):
        said = percent(one.scores) if one.state == "done" else f"{one.state}: {one.reason}"
        rows.append([one.name, *(_short(one.overrides.get(key)) for key in varied), said])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = [
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]
        )
        for row in rows
    ]
    return "\n".join(lines)


def verdict(outcomes: Sequence[Outcome]) -> str:
    """Return how far the best can be told from the others; empty when nothing succeeded."""
    done = [one for one in ranked(outcomes) if one.state == "done"]
    if not done:
        return ""
    best, others = done[0], done[1:]
    close = sum(one.scores["accuracy_high"] >= best.scores["accuracy_low"] for one in others)
    told = (
        f"; its interval overlaps with those of {close} of {len(others)} others" if others else ""
    )
    return f"best on validation items: {best.name}{told}"


def percent(scores: dict[str, float]) -> str:
    """Return accuracy with its interval, in percent."""
    return "{:.1f} ({:.1f}–{:.1f})".format(*(100 * scores[bound] for bound in BOUNDS))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"


def write(
    folder: Path, outcomes: Sequence[Outcome], varied: Sequence[str], about: dict[str, Any]
) -> None:
    """Write `results.csv` (a row an experiment) and `results.json` (the same, and what it is
    `about`).
    """
    rows = []
    for one in ranked(outcomes):
        known = {
            "experiment": one.name,
            "state": one.state,
            "reason": one.reason,
            "seconds": one.seconds,
        }
        rows.append(
            known
            | one.overrides
            | {f"validation_{name}": score for name, score in one.scores.items()}
        )
    with atomic(folder / "results.csv") as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)
    write_json(folder / "results.json", about | {"varied": list(varied), "experiments": rows})


def draw(
    path: Path,
    outcomes: Sequence[Outcome],
    varied: Sequence[str],
    title: str,
    history: bool = False,
) -> None:
    """Draw validation accuracy with its interval against each parameter, one panel each; with
    `history`, in order first.

    Nothing is drawn when no experiment succeeded.
    """
    done = [one for one in outcomes if one.state == "done"]
    if not done:
        return
    count = len(varied) + history
    columns = min(count, 3)
    rows = -(-count // columns)
    picture = Figure(
        figsize=(8, 0.6 + 2.9 * rows), dpi=150, layout="constrained", facecolor="white"
    )
    picture.suptitle(title, x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold")
    panels = list(picture.subplots(rows, columns, sharey=True, squeeze=False).flat)
    best = max(done, key=lambda one: one.scores["accuracy"])
    if history:
        _panel(panels[0], done, list(range(1, len(done) + 1)), "experiment, in order", best)
    for axes, key in zip(panels[history:], varied, strict=False):
        places, ticks = _places([one.overrides.get(key) for one in done])
        _panel(axes, done, places, labels(varied)[key], best)
        if ticks:
            axes.set_xticks(range(len(ticks)), ticks)
        elif min(places) > 0 and max(places) / min(places) >= 4:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel("validation accuracy, 95% interval", color=INK, fontsize=9.5)
        axes.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    with atomic(path) as partial:
        picture.savefig(partial, format="png", metadata={"Software": None})


def _places(values: list[Any]) -> tuple[list[float], list[str]]:
    """Return where values stand on an axis, and the names of the places when they are no
    numbers.
    """
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return [float(value) for value in values], []
    names = sorted({str(value) for value in values})
    return [float(names.index(str(value))) for value in values], names


def _panel(axes: Axes, done: list[Outcome], places: list[float], name: str, best: Outcome) -> None:
    seen: dict[float, int] = {}
    span = (max(places) - min(places)) or 1.0
    for one, place in zip(done, places, strict=True):
        shift = seen.get(place, 0)  # experiments of one value stand beside one another
        seen[place] = shift + 1
        middle, low, high = (one.scores[bound] for bound in BOUNDS)
        colour = COLOURS[1] if one is best else COLOURS[0]
        x = place + 0.02 * span * (shift // 2 + shift % 2) * (1 if shift % 2 else -1)
        ends = [[max(0.0, middle - low)], [max(0.0, high - middle)]]
        axes.errorbar(
            x,
            middle,
            ends,
            fmt="o",
            color=colour,
            ecolor=colour,
            capsize=2,
            markersize=5,
            linewidth=1.2,
        )
    axes.set_xlabel(name, color=INK, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK, labelsize=9)
    axes.grid(color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
