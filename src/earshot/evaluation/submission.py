"""Answers as a table to hand in: of classes in DCASE's format."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from earshot.evaluation.metrics import Answers
from earshot.runtime.files import atomic
from earshot.tables.items import Item


def answer_table(items: Sequence[Item], manifest: pd.DataFrame, answers: Answers) -> pd.DataFrame:
    """Return a row per item: its name, the answer, and each option's probability, to 6 digits.

    Where all items have the same options this is DCASE's format of a submission, a file per row;
    elsewhere columns are places of options.
    """
    same = len({item.options for item in items}) == 1
    places = range(1, 1 + max(len(item.options) for item in items))
    options = items[0].options if same else [str(place) for place in places]
    head = ("filename", "scene_label") if same else ("item", "answer")
    files = {row.id: Path(row.path).name for row in manifest.itertuples()}
    rows = []
    for item in items:
        probabilities = answers[item.id]
        name = files[item.utterances[0]] if same else item.id
        rows.append([name, item.options[int(probabilities.argmax())], *probabilities.round(6)])
    return pd.DataFrame(rows, columns=[*head, *options])


def write_answers(
    path: Path, items: Sequence[Item], manifest: pd.DataFrame, answers: Answers
) -> None:
    """Write `answer_table`, separated by tabs, as one atomic file."""
    table = answer_table(items, manifest, answers)
    with atomic(path) as partial:
        table.to_csv(partial, sep="\t", index=False, lineterminator="\n")
