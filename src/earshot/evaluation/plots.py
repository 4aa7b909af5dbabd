"""Tables for `dvc plots`, and the same numbers drawn as PNG."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from earshot.evaluation import maps
from earshot.evaluation.figures import COLOURS, FAINT, INK, MARKERS
from earshot.evaluation.figures import figure as _figure
from earshot.evaluation.maps import Routing
from earshot.evaluation.metrics import calibration
from earshot.runtime.files import atomic
from earshot.tables.items import Item

GROUPS = ("real", "seen", "unseen")
GAINS = {
    "accuracy": "gain in accuracy",
    "device_drop": "change in device drop (negative is better)",
}


def draw_all(
    folder: Path,
    quality: dict[str, Any],
    probabilities: dict[str, np.ndarray],
    test: Sequence[Item],
    shipped: str,
    live: Path,
    title: str,
    groups: dict[str, str],
    routing: dict[str, Routing],
) -> None:
    """Write every table and picture of a track: `quality` as in quality.json, each model's
    probabilities `(S, N, C)`.

    `shipped` is the model whose confusions are shown. `live` holds the learning curves that
    training left, a folder per model and seed. `groups` maps devices to 'real', 'seen' or 'unseen',
    `routing` recipes to what their seeds chose; either may be empty.
    """
    answers = np.array([item.answer for item in test])
    scores = {
        model: quality[model] for model in (*probabilities, "audio_blind") if model in quality
    }
    bounds = ("accuracy", "accuracy_low", "accuracy_high")
    write_accuracy(
        folder / "accuracy.csv", [(m, *(score[b] for b in bounds)) for m, score in scores.items()]
    )
    chosen = probabilities[shipped].argmax(-1)
    same = len({item.options for item in test}) == 1
    names = np.array(test[0].options if same else range(probabilities[shipped].shape[2]))
    write_confusion(
        folder / "confusion.csv", names[np.tile(answers, len(chosen))], names[chosen.ravel()]
    )
    write_reliability(folder / "reliability.csv", probabilities[shipped], answers)
    curves = {model.name: _curves(model) for model in sorted(live.iterdir())}
    table = pd.concat([frame.assign(model=model) for model, frame in curves.items()])
    _write(folder / "curves.csv", table)
    draw_accuracy(
        folder / "accuracy.png",
        scores,
        1 / probabilities["teacher"].shape[2],
        f"{title}: test accuracy",
    )
    draw_gains(folder / "gains.png", quality["gain"], f"{title}: paired gains")
    told = [model for model in probabilities if model == "teacher" or model.endswith("_int8")]
    few = (
        probabilities
        if len(probabilities) <= len(COLOURS)
        else {model: probabilities[model] for model in told}
    )
    draw_reliability(folder / "reliability.png", few, answers, f"{title}: calibration")
    draw_curves(folder / "curves.png", curves, "validation", f"{title}: validation accuracy")
    if same:
        maps.draw_confusion(
            folder / "confusion.png", names, answers, chosen, f"{title}: what {shipped} hears"
        )
    if groups:
        devices = _devices(scores, groups)
        _write(folder / "devices.csv", devices)
        draw_devices(
            folder / "devices.png",
            devices[devices.model.isin(told)],
            f"{title}: accuracy by device",
        )
    if any("device_drop" in gain for gain in quality["gain"].values()):
        draw_gains(
            folder / "drops.png", quality["gain"], f"{title}: change in device drop", "device_drop"
        )
    if routing:
        _write(folder / "routing.csv", maps.routing_table(routing))
        recipe = shipped.removesuffix("_int8")
        recipe = recipe if recipe in routing else next(iter(routing))
        maps.draw_routing(
            folder / "routing.png", routing[recipe], f"{title}: teacher layers for {recipe}"
        )


def _devices(scores: dict[str, Any], groups: dict[str, str]) -> pd.DataFrame:
    """Return a row per model and device: its group, accuracy and interval; seen devices first."""
    order = sorted(groups, key=lambda device: (GROUPS.index(groups[device]), device))
    rows = [
        (
            model,
            device,
            groups[device],
            *(score["device"][device][f"accuracy{end}"] for end in ("", "_low", "_high")),
        )
        for model, score in scores.items()
        for device in order
    ]
    return pd.DataFrame(rows, columns=["model", "device", "group", "accuracy", "low", "high"])


def _curves(model: Path) -> pd.DataFrame:
    """Read the curves that dvclive left for a model, a row per seed and epoch."""
    frames = []
    for seed in sorted(path.parents[1] for path in model.glob("**/metrics/validation.tsv")):
        columns = {
            tsv.stem: pd.read_csv(tsv, sep="\t", index_col="step")[tsv.stem]
            for tsv in seed.glob("metrics/*.tsv")
        }
        frames.append(pd.DataFrame(columns).reset_index().assign(seed=seed.parent.name))
    return pd.concat(frames)


def write_accuracy(path: str | Path, rows: Iterable[tuple[str, float, float, float]]) -> None:
    """Write rows `(model, accuracy, low, high)`, shares 0..1, as CSV."""
    _write(path, pd.DataFrame(list(rows), columns=["model", "accuracy", "low", "high"]))


def write_confusion(path: str | Path, actual: Iterable[Any], predicted: Iterable[Any]) -> None:
    """Write one row `actual,predicted` per item as CSV, which DVC's `confusion` template counts."""
    _write(
        path,
        pd.DataFrame(list(zip(actual, predicted, strict=True)), columns=["actual", "predicted"]),
    )


def write_reliability(path: str | Path, probabilities: np.ndarray, answers: np.ndarray) -> None:
    """Write `confidence,accuracy,count` of every filled bin of one model `(S, N, C)` as CSV."""
    _write(path, _reliability(probabilities, answers))


def draw_accuracy(path: str | Path, quality: dict[str, Any], chance: float, title: str) -> None:
    """Draw accuracy with its interval of every entry of `quality` that has one, in its order,
    against chance (0..1).
    """
    models = {
        name: scores
        for name, scores in quality.items()
        if isinstance(scores, dict) and "accuracy" in scores
    }
    with _figure(path, title, 1.1 + 0.36 * len(models)) as axes:
        _intervals(axes, models, lambda share: f"{100 * share:.1f}")
        axes.axvline(chance, color=FAINT, linestyle="--", linewidth=1.4, zorder=1)
        axes.set(xlim=(0, 1), xlabel=f"accuracy with 95% interval; dashed: chance, {chance:.1%}")
        axes.xaxis.set_major_formatter(PercentFormatter(1, 0))


def draw_gains(
    path: str | Path,
    gains: dict[str, dict[str, float]],
    title: str = "Paired gains",
    metric: str = "accuracy",
) -> None:
    """Draw gains `a_vs_b` of paired_gain in points against zero; hollow where the interval holds
    zero.
    """
    named = {name.replace("_vs_", " − "): gain for name, gain in gains.items()}
    with _figure(path, title, 1.1 + 0.36 * len(named)) as axes:
        _intervals(axes, named, lambda share: f"{100 * share:+z.1f}", metric, hollow_at=0)
        axes.axvline(0, color=FAINT, linestyle="--", linewidth=1.4, zorder=1)
        axes.set(xlabel=f"{GAINS[metric]} on the same items, points, with 95% interval")
        axes.margins(x=0.08)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:+.3g}" if share else "0")


def draw_reliability(
    path: str | Path,
    probabilities: dict[str, np.ndarray],
    answers: np.ndarray,
    title: str = "Calibration",
) -> None:
    """Draw accuracy against confidence of each model `(S, N, C)` on the same items.

    Markers grow with a bin's share of the predictions; bins of less than 1% are left out.
    """
    with _figure(path, title, 5.4) as axes:
        axes.plot(
            [0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1.4, label="perfect", zorder=1
        )
        for index, (name, model) in enumerate(probabilities.items()):
            bins, (colour, marker) = _reliability(model, answers), _style(index)
            share = bins["count"] / bins["count"].sum()
            x, y, share = (
                bins.confidence[share >= 0.01],
                bins.accuracy[share >= 0.01],
                share[share >= 0.01],
            )
            axes.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.2, label=name)
            axes.scatter(
                x, y, s=10 + 300 * share, color=colour, marker=marker, alpha=0.6, linewidths=0
            )
        low = min(
            1 / model.shape[2] for model in probabilities.values()
        )  # nothing is less confident than chance
        axes.set(
            xlim=(low - 0.02, 1.03), ylim=(-0.03, 1.03), xlabel="confidence", ylabel="accuracy"
        )
        axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
        _legend(axes)


def draw_curves(
    path: str | Path, curves: dict[str, pd.DataFrame], metric: str, title: str = "Learning curves"
) -> None:
    """Draw the column `metric` over `step` of each recipe: one thin line per `seed`, the mean
    thick.
    """
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


def draw_devices(path: str | Path, table: pd.DataFrame, title: str) -> None:
    """Draw accuracy with its interval of every model on every device; the unseen devices stand
    apart, on grey.

    `table` has a row per model and device: model, device, group, accuracy, low, high.
    """
    devices = table.drop_duplicates("device")
    unseen = (devices["group"] == "unseen").to_numpy()
    place = dict(zip(devices["device"], np.arange(len(devices)) + 0.4 * unseen, strict=True))
    models = list(table["model"].unique())
    with _figure(path, title, 4.6) as axes:
        for index, model in enumerate(models):
            rows, (colour, marker) = table[table["model"] == model], _style(index)
            x = np.array([place[device] for device in rows["device"]]) + 0.7 * (
                (index + 0.5) / len(models) - 0.5
            )
            axes.vlines(x, rows["low"], rows["high"], color=colour, alpha=0.45, linewidth=2.5)
            axes.plot(
                x,
                rows["accuracy"],
                linestyle="",
                color=colour,
                marker=marker,
                markersize=5,
                label=model,
            )
        edges = (-0.5, max(place.values()) + 0.5)
        if unseen.any():
            border = min(place[device] for device in devices["device"][unseen]) - 0.5
            axes.axvspan(border, edges[1], color="#EEEEEE", zorder=0)
            above = {
                "transform": axes.get_xaxis_transform(),
                "ha": "center",
                "color": FAINT,
                "fontsize": 10.5,
            }
            axes.text((border + edges[1]) / 2, 1.015, "not heard in training", **above)
        axes.set(
            xticks=list(place.values()),
            xticklabels=list(place),
            xlim=edges,
            xlabel="device",
            ylabel="accuracy",
        )
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
        axes.grid(axis="x", visible=False)
        _legend(axes)


def _reliability(probabilities: np.ndarray, answers: np.ndarray) -> pd.DataFrame:
    confidence, accuracy, count = calibration(probabilities, answers)
    return pd.DataFrame({"confidence": confidence, "accuracy": accuracy, "count": count})[count > 0]


def _write(path: str | Path, table: pd.DataFrame) -> None:
    with atomic(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def _intervals(
    axes: Axes,
    rows: dict[str, dict[str, float]],
    text: Callable[[float], str],
    metric: str = "accuracy",
    hollow_at: float | None = None,
) -> None:
    """Draw one row per name, first on top: estimate, interval, and both in figures on the right."""
    for row, scores in enumerate(rows.values()):
        middle, low, high = (scores[f"{metric}{end}"] for end in ("", "_low", "_high"))
        hollow = hollow_at is not None and low <= hollow_at <= high
        axes.plot(
            [low, high],
            [row, row],
            color="#80B8D9",
            linewidth=3,
            solid_capstyle="butt",
            clip_on=False,
        )
        face = "white" if hollow else COLOURS[0]
        axes.plot(
            middle,
            row,
            "o",
            color=COLOURS[0],
            markersize=8,
            markerfacecolor=face,
            clip_on=False,
            zorder=3,
        )
        figures = f"{text(middle):>5} [{text(low)}, {text(high)}]"
        place = {"transform": axes.get_yaxis_transform(), "va": "center", "family": "monospace"}
        axes.text(1.02, row, figures, color=INK, fontsize=9.5, **place)
    axes.set(yticks=range(len(rows)), yticklabels=list(rows), ylim=(len(rows) - 0.4, -0.6))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _style(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=10.5, labelcolor=INK
    )
