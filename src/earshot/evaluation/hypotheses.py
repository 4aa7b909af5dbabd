"""Hypotheses, what recognisers write of the test: what is kept and drawn beside their scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from earshot.evaluation import charts, plots, transcripts
from earshot.evaluation.figures import WIDE
from earshot.evaluation.metrics import Answers
from earshot.runtime.files import atomic
from earshot.tables import answers as answer_table
from earshot.tables.items import Item
from earshot.text import edits

METRIC = "wer"


def hand_in(
    folder: Path,
    test: Sequence[Item],
    manifest: pd.DataFrame,
    models: Mapping[str, Sequence[Answers]],
    best: Answers,
) -> None:
    """Write every model's transcripts, and those of the best beside the references."""
    texts = {name: [texts_of(one, test) for one in each] for name, each in models.items()}
    answer_table.write_texts(folder / "answers.parquet", test, texts)
    with atomic(folder / "answers.csv") as partial:
        table(test, manifest, best).to_csv(partial, sep="\t", index=False, lineterminator="\n")


def texts_of(answers: Answers, items: Sequence[Item]) -> dict[str, str]:
    """Return what a model wrote of the items that it answered, by item id."""
    return {
        item.id: transcripts.text(answers[item.id], item) for item in items if item.id in answers
    }


def table(items: Sequence[Item], manifest: pd.DataFrame, answers: Answers) -> pd.DataFrame:
    """Return a row per item: its file, hypothesis, reference, and the words that are wrong."""
    files = {row.id: Path(row.path).name for row in manifest.itertuples()}
    rows = []
    for item in items:
        hypothesis = transcripts.text(answers[item.id], item)
        errors = sum(edits.of_words(item.transcript, hypothesis))
        rows.append((files[item.utterances[0]], hypothesis, item.transcript, errors))
    return pd.DataFrame(rows, columns=["filename", "written", "said", "errors"])


def draw(folder: Path, of: plots.Evaluation) -> None:
    """Write tables (CSV) and pictures (SVG) of a track: word error rates, gains, learning curves,
    and how the shipped student stands noise and rooms.
    """
    names = [name for name in (*of.answers, "audio_exchanged") if name in of.quality]
    tables = {
        METRIC: plots.accuracy_table(of.quality, names, METRIC),
        "curves": plots.curves_table(of.curves),
        "robustness": plots.robustness_table(of.standing, METRIC),
    }
    plots.write(folder, tables, pictures(of.quality, names, tables))


def pictures(
    quality: dict[str, Any], models: Sequence[str], tables: dict[str, pd.DataFrame]
) -> dict[str, Figure]:
    """Return the pictures of a track by name."""
    axis = "word error rate, %"
    rows = [charts.estimate(model, quality[model], METRIC, models) for model in models]
    drawn = {METRIC: charts.intervals(rows, WIDE, axis)}
    gains = charts.paired(quality["gain"], METRIC)
    if gains:
        change, zero = "change in word error rate, points", (0, "no difference")
        drawn["gains"] = charts.intervals(gains, WIDE, change, zero, differences=True)
    series = charts.series(tables["curves"]["model"].unique(), models)
    both = ("epoch", "validation, 1 − character error rate")
    drawn["curves"] = charts.curves(tables["curves"], "validation", series, WIDE, both, share=True)
    by_condition = charts.by_condition(tables["robustness"], models)
    drawn["robustness"] = charts.breakdown(by_condition, WIDE, axis, None)
    return drawn
