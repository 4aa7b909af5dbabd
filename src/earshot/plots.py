"""Tables for `dvc plots`, and the same numbers drawn as PNG, 1200 pixels wide and readable at 800.

Colours are Okabe and Ito's, told apart by every kind of colour vision. The same numbers give the same bytes.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from earshot.files import atomic
from earshot.metrics import calibration

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
INK, FAINT = "#222222", "#767676"


def draw_all(
    folder: Path,
    quality: dict[str, Any],
    probabilities: dict[str, np.ndarray],
    answers: np.ndarray,
    live: Path,
    title: str,
) -> None:
    """Write every table and picture of a track: `quality` as in quality.json, each model's probabilities `(S, N, C)`.

    `live` holds the learning curves that training left, a folder per model and seed.
    """
    models = ["teacher", *(m for m in probabilities if m != "teacher"), "audio_blind"]
    scores = {model: quality[model] for model in models}
    bounds = ("accuracy", "accuracy_low", "accuracy_high")
    write_accuracy(folder / "accuracy.csv", [(m, *(score[b] for b in bounds)) for m, score in scores.items()])
    shipped = models[-2]  # the last recipe's int8 file
    chosen = probabilities[shipped].argmax(-1)
    write_confusion(folder / "confusion.csv", np.tile(answers, len(chosen)), chosen.ravel())
    write_reliability(folder / "reliability.csv", probabilities[shipped], answers)
    curves = {model.name: _curves(model) for model in sorted(live.iterdir())}
    table = pd.concat([frame.assign(model=model) for model, frame in curves.items()])
    _write(folder / "curves.csv", table)
    draw_accuracy(folder / "accuracy.png", scores, 1 / probabilities["teacher"].shape[2], f"{title}: test accuracy")
    draw_gains(folder / "gains.png", quality["gain"], f"{title}: paired gains")
    draw_reliability(folder / "reliability.png", probabilities, answers, f"{title}: calibration")
    draw_curves(folder / "curves.png", curves, "validation", f"{title}: validation accuracy")


def _curves(model: Path) -> pd.DataFrame:
    """Read the curves that dvclive left for a model, a row per seed and epoch."""
    frames = []
    for seed in sorted(path.parents[1] for path in model.glob("**/metrics/validation.tsv")):
        columns = {tsv.stem: pd.read_csv(tsv, sep="\t", index_col="step")[tsv.stem] for tsv in seed.glob("metrics/*.tsv")}
        frames.append(pd.DataFrame(columns).reset_index().assign(seed=seed.parent.name))
    return pd.concat(frames)


def write_accuracy(path: str | Path, rows: Iterable[tuple[str, float, float, float]]) -> None:
    """Write rows `(model, accuracy, low, high)`, shares 0..1, as CSV."""
    _write(path, pd.DataFrame(list(rows), columns=["model", "accuracy", "low", "high"]))


def write_confusion(path: str | Path, actual: Iterable[Any], predicted: Iterable[Any]) -> None:
    """Write one row `actual,predicted` per item as CSV, which DVC's `confusion` template counts."""
    _write(path, pd.DataFrame(list(zip(actual, predicted, strict=True)), columns=["actual", "predicted"]))


def write_reliability(path: str | Path, probabilities: np.ndarray, answers: np.ndarray) -> None:
    """Write `confidence,accuracy,count` of every filled bin of one model `(S, N, C)` as CSV."""
    _write(path, _reliability(probabilities, answers))


def draw_accuracy(path: str | Path, quality: dict[str, Any], chance: float, title: str) -> None:
    """Draw accuracy with its interval of every entry of `quality` that has one, in its order, against chance (0..1)."""
    models = {name: scores for name, scores in quality.items() if isinstance(scores, dict) and "accuracy" in scores}
    with _figure(path, title, 1.1 + 0.36 * len(models)) as axes:
        _intervals(axes, models, lambda share: f"{100 * share:.1f}")
        axes.axvline(chance, color=FAINT, linestyle="--", linewidth=1.4, zorder=1)
        axes.set(xlim=(0, 1), xlabel=f"accuracy with 95% interval; dashed: chance, {chance:.1%}")
        axes.xaxis.set_major_formatter(PercentFormatter(1, 0))


def draw_gains(path: str | Path, gains: dict[str, dict[str, float]], title: str = "Paired gains") -> None:
    """Draw gains `a_vs_b` of paired_gain in points against zero; hollow where the interval holds zero."""
    named = {name.replace("_vs_", " − "): gain for name, gain in gains.items()}
    with _figure(path, title, 1.1 + 0.36 * len(named)) as axes:
        _intervals(axes, named, lambda share: f"{100 * share:+z.1f}", hollow_at=0)
        axes.axvline(0, color=FAINT, linestyle="--", linewidth=1.4, zorder=1)
        axes.set(xlabel="gain in accuracy on the same items, points, with 95% interval")
        axes.margins(x=0.08)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:+.3g}" if share else "0")


def draw_reliability(
    path: str | Path, probabilities: dict[str, np.ndarray], answers: np.ndarray, title: str = "Calibration"
) -> None:
    """Draw accuracy against confidence of each model `(S, N, C)` on the same items.

    Markers grow with a bin's share of the predictions; bins of less than 1% are left out.
    """
    with _figure(path, title, 5.4) as axes:
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1.4, label="perfect", zorder=1)
        for index, (name, model) in enumerate(probabilities.items()):
            bins, (colour, marker) = _reliability(model, answers), _style(index)
            share = bins["count"] / bins["count"].sum()
            x, y, share = bins.confidence[share >= 0.01], bins.accuracy[share >= 0.01], share[share >= 0.01]
            axes.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.2, label=name)
            axes.scatter(x, y, s=10 + 300 * share, color=colour, marker=marker, alpha=0.6, linewidths=0)
        low = min(1 / model.shape[2] for model in probabilities.values())  # nothing is less confident than chance
        axes.set(xlim=(low - 0.02, 1.03), ylim=(-0.03, 1.03), xlabel="confidence", ylabel="accuracy")
        axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
        _legend(axes)


def draw_curves(path: str | Path, curves: dict[str, pd.DataFrame], metric: str, title: str = "Learning curves") -> None:
    """Draw the column `metric` over `step` of each recipe: one thin line per `seed`, the mean thick."""
    with _figure(path, title, 4.4) as axes:
        for index, (name, frame) in enumerate(curves.items()):
            colour, marker = _style(index)
            seeds = frame.pivot(index="step", columns="seed", values=metric)
            axes.plot(seeds.index, seeds, color=colour, linewidth=0.8, alpha=0.5)
            mean = seeds.dropna().mean(axis=1)  # only where every seed has arrived
            marks = {"marker": marker, "markersize": 6, "markevery": max(len(mean) // 8, 1)}
            axes.plot(mean.index, mean, color=colour, linewidth=2.4, label=name, **marks)
        axes.set(xlabel="epoch", ylabel=metric.replace("_", " "))
        axes.margins(x=0.02)
        _legend(axes)


def _reliability(probabilities: np.ndarray, answers: np.ndarray) -> pd.DataFrame:
    confidence, accuracy, count = calibration(probabilities, answers)
    return pd.DataFrame({"confidence": confidence, "accuracy": accuracy, "count": count})[count > 0]


def _write(path: str | Path, table: pd.DataFrame) -> None:
    with atomic(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


@contextmanager
def _figure(path: str | Path, title: str, height: float) -> Iterator[Axes]:
    """Yield the axes of a figure 8 inches wide and `height` high, saved as PNG when the block ends."""
    figure = Figure(figsize=(8, height), dpi=150, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", color=INK, fontsize=13, fontweight="bold", pad=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK, labelsize=10.5)
    axes.grid(color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    yield axes
    with atomic(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})


def _intervals(
    axes: Axes, rows: dict[str, dict[str, float]], text: Callable[[float], str], hollow_at: float | None = None
) -> None:
    """Draw one row per name, first on top: estimate, interval, and both in figures on the right."""
    for row, scores in enumerate(rows.values()):
        middle, low, high = (scores[f"accuracy{end}"] for end in ("", "_low", "_high"))
        hollow = hollow_at is not None and low <= hollow_at <= high
        axes.plot([low, high], [row, row], color="#80B8D9", linewidth=3, solid_capstyle="butt", clip_on=False)
        face = "white" if hollow else COLOURS[0]
        axes.plot(middle, row, "o", color=COLOURS[0], markersize=8, markerfacecolor=face, clip_on=False, zorder=3)
        figures = f"{text(middle):>5} [{text(low)}, {text(high)}]"
        place = {"transform": axes.get_yaxis_transform(), "va": "center", "family": "monospace"}
        axes.text(1.02, row, figures, color=INK, fontsize=9.5, **place)
    axes.set(yticks=range(len(rows)), yticklabels=list(rows), ylim=(len(rows) - 0.4, -0.6))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _style(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]


def _legend(axes: Axes) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=10.5, labelcolor=INK)
