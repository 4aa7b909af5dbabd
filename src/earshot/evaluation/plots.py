"""The pictures of a track and the tables below them, which `dvc plots` and the report draw too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from earshot.evaluation import charts, maps
from earshot.evaluation.figures import HALF, WIDE, svg
from earshot.evaluation.maps import Routing
from earshot.evaluation.metrics import Answers, calibration, stack
from earshot.runtime.files import atomic
from earshot.tables.items import Item

GROUPS = ("real", "seen", "unseen")


class Evaluation(NamedTuple):
    """What is drawn of a track; all tasks draw from the same."""

    quality: dict[str, Any]  # as in quality.json
    answers: Mapping[str, Sequence[Answers]]  # of each model, seed by seed
    test: Sequence[Item]
    shipped: str  # the model whose confusions and calibration are shown
    curves: dict[str, Path]  # model → folder of its learning curves, `seed-{n}.csv`
    groups: dict[str, str]  # device → 'real', 'seen' or 'unseen'
    routing: dict[str, Routing]  # recipe → what its seeds chose
    standing: dict[str, Any]  # as in robustness.json


def draw(folder: Path, of: Evaluation) -> None:
    """Write every table (CSV) and picture (SVG) of a track of options or classes."""
    ids = [item.id for item in of.test]
    probabilities = {name: stack(each, ids) for name, each in of.answers.items()}
    shown = probabilities[of.shipped]
    models = [model for model in (*probabilities, "audio_blind") if model in of.quality]
    answers = np.array([item.answer for item in of.test])
    tables = {
        "accuracy": accuracy_table(of.quality, models),
        "confusion": confusion_table(of.test, shown.argmax(-1)),
        "reliability": reliability_table(shown, answers).assign(model=of.shipped),
        "curves": curves_table(of.curves),
        "robustness": robustness_table(of.standing),
    }
    if of.groups:
        tables["devices"] = devices_table(of.quality, models, of.groups)
    if of.routing:
        tables["routing"] = maps.routing_table(of.routing)
    chance = float(np.mean([1 / len(item.options) for item in of.test]))
    write(folder, tables, pictures(of.quality, models, tables, of.shipped, chance))


def write(folder: Path, tables: dict[str, pd.DataFrame], figures: dict[str, Figure]) -> None:
    """Write tables as CSV and pictures as SVG, by name."""
    for name, table in tables.items():
        with atomic(folder / f"{name}.csv") as partial:
            table.to_csv(partial, index=False, lineterminator="\n")
    for name, figure in figures.items():
        with atomic(folder / f"{name}.svg") as partial:
            partial.write_text(svg(figure, name, alone=True), encoding="utf-8")


def pictures(
    quality: dict[str, Any],
    models: Sequence[str],
    tables: dict[str, pd.DataFrame],
    shipped: str,
    chance: float,
) -> dict[str, Figure]:
    """Return the pictures of a track by name."""
    axis, guess = "accuracy, %", (chance, f"chance {chance:.0%}")
    rows = [charts.estimate(model, quality[model], "accuracy", models) for model in models]
    drawn = {"accuracy": charts.intervals(rows, WIDE, axis, guess)}
    for name, metric in (("gains", "accuracy"), ("drops", "device_drop")):
        gains = charts.paired(quality["gain"], metric)
        if gains:
            change = f"change in {metric.replace('_', ' ')}, points"
            zero = (0, "no difference")
            drawn[name] = charts.intervals(gains, WIDE, change, zero, differences=True)
    names = maps.class_names(tables["confusion"], "option {number}")
    corner = "right answer ↓  answer →"
    drawn["confusion"] = maps.confusion(tables["confusion"], WIDE, names, corner)
    number = charts.series([shipped], models)[shipped]
    both = ("confidence", "accuracy")
    drawn["reliability"] = charts.reliability(tables["reliability"], number, HALF, both, "perfect")
    series = charts.series(tables["curves"]["model"].unique(), models)
    both = ("epoch", "validation accuracy")
    drawn["curves"] = charts.curves(tables["curves"], "validation", series, WIDE, both, share=True)
    drawn["robustness"] = charts.breakdown(
        charts.by_condition(tables["robustness"], models), WIDE, axis, chance
    )
    if "devices" in tables:
        blocks = {
            f"{device} ({part['group'].iloc[0]})": [
                charts.estimate(model, quality[model]["device"][device], "accuracy", models)
                for model in charts.shortlist(models)
            ]
            for device, part in tables["devices"].groupby("device", sort=False)
        }
        drawn["devices"] = charts.breakdown(blocks, WIDE, axis, chance)
    if "routing" in tables:
        table = tables["routing"]
        recipe = charts.base(shipped)
        recipe = recipe if recipe in set(table["recipe"]) else table["recipe"].iloc[0]
        corner = f"{recipe}: student stage ↓  teacher layer →"
        drawn["routing"] = maps.routing(table[table["recipe"] == recipe], HALF, corner)
    return drawn


def accuracy_table(
    quality: dict[str, Any], models: Sequence[str], metric: str = "accuracy"
) -> pd.DataFrame:
    """Return a row per model: accuracy, or another metric, with its interval, shares 0..1."""
    ends = (metric, f"{metric}_low", f"{metric}_high")
    rows = [(model, *(quality[model][end] for end in ends)) for model in models]
    return pd.DataFrame(rows, columns=["model", metric, "low", "high"])


def confusion_table(test: Sequence[Item], chosen: np.ndarray) -> pd.DataFrame:
    """Return a row per item and seed, `actual,predicted,options`, of choices `(S, N)`.

    Options are named where all items have the same, and numbered from 0 where they have not;
    `options` is how many the item has.
    """
    same = len({item.options for item in test}) == 1
    names = np.array(test[0].options if same else range(max(len(item.options) for item in test)))
    answers = np.tile([item.answer for item in test], len(chosen))
    counts = np.tile([len(item.options) for item in test], len(chosen))
    table = pd.DataFrame({"actual": names[answers], "predicted": names[chosen.ravel()]})
    return table.astype(str).assign(options=counts)


def robustness_table(standing: dict[str, Any], metric: str = "accuracy") -> pd.DataFrame:
    """Return a row per condition and model: accuracy, or another metric, with its interval, and the
    change against clean with its own; all in shares.
    """
    ends = (metric, f"{metric}_low", f"{metric}_high")
    rows = []
    for model, scores in standing.items():
        if not isinstance(scores, dict):
            continue  # how many items there are
        for condition, score in scores.items():
            gain = score.get("gain", dict.fromkeys(ends, 0.0))
            figures = [*(score[end] for end in ends), *(gain[end] for end in ends)]
            rows.append((condition, model, *figures))
    columns = [metric, "low", "high", "change", "change_low", "change_high"]
    return pd.DataFrame(rows, columns=["condition", "model", *columns])


def reliability_table(probabilities: np.ndarray, answers: np.ndarray) -> pd.DataFrame:
    """Return `confidence,accuracy,count` of every filled bin of one model `(S, N, C)`."""
    confidence, accuracy, count = calibration(probabilities, answers)
    return pd.DataFrame({"confidence": confidence, "accuracy": accuracy, "count": count})[count > 0]


def curves_table(folders: dict[str, Path]) -> pd.DataFrame:
    """Return a row per model, seed and epoch; ValueError when a model has no learning curve."""
    tables = []
    for model, folder in folders.items():
        files = sorted(folder.glob("seed-*.csv"))
        if not files:
            raise ValueError(f"{folder}: no learning curves, seed-<n>.csv")
        tables += [pd.read_csv(file).assign(seed=file.stem, model=model) for file in files]
    return pd.concat(tables)


def devices_table(
    quality: dict[str, Any], models: Sequence[str], groups: dict[str, str]
) -> pd.DataFrame:
    """Return a row per model and device: its group, accuracy and interval; unseen devices last."""
    order = sorted(groups, key=lambda device: (GROUPS.index(groups[device]), device))
    ends = ("accuracy", "accuracy_low", "accuracy_high")
    rows = []
    for model in models:
        for device in order:
            score = quality[model]["device"][device]
            rows.append((model, device, groups[device], *(score[end] for end in ends)))
    return pd.DataFrame(rows, columns=["model", "device", "group", "accuracy", "low", "high"])
