"""One right answer among several: what is kept and drawn of answers beside their scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from earshot.evaluation import doubts as of_stacked
from earshot.evaluation import metrics, plots, submission
from earshot.evaluation.metrics import Answers
from earshot.tables import answers as answer_table
from earshot.tables.items import Item


def hand_in(
    folder: Path,
    test: Sequence[Item],
    manifest: pd.DataFrame,
    models: Mapping[str, Sequence[Answers]],
    best: Answers,
) -> None:
    """Write every model's answers, and those of the best as a table to hand in."""
    submission.write_answers(folder / "answers.csv", test, manifest, best)
    answer_table.write(folder / "answers.parquet", test, models)


def doubts(models: Mapping[str, Sequence[Answers]], test: Sequence[Item]) -> list[str]:
    """Return a line for each fault that no average should hide."""
    ids = [item.id for item in test]
    return of_stacked.doubts(
        {name: metrics.stack(each, ids) for name, each in models.items()}, test
    )


def draw(
    folder: Path,
    quality: dict[str, Any],
    models: Mapping[str, Sequence[Answers]],
    test: Sequence[Item],
    shipped: str,
    curves: dict[str, Path],
    groups: dict[str, str],
    routing: dict[str, Any],
    standing: dict[str, Any],
) -> None:
    """Write tables and pictures of a track, as `plots.draw_all`."""
    ids = [item.id for item in test]
    stacked = {name: metrics.stack(each, ids) for name, each in models.items()}
    plots.draw_all(folder, quality, stacked, test, shipped, curves, groups, routing, standing)
