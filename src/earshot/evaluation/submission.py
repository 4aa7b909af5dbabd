"""Answers as a table to hand in: of classes in DCASE's format."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from earshot.evaluation.metrics import Answers
from earshot.runtime.files import atomic
from earshot.tables import answers as table_of_answers
from earshot.tables.items import Item


def answer_table(items: Sequence[Item], manifest: pd.DataFrame, answers: Answers) -> pd.DataFrame:
    """Return a row per item: the question, the answer, and each option's probability, to 6
    digits.

    Where items are clips to be classified this is DCASE's format of a submission, a file
    per row. Questions are named by id and text; where they have different options, columns are
    places of options, and empty where a question has fewer.
    """
    has_questions = any(item.question for item in items)
    same = len({item.options for item in items}) == 1
    places = range(1, 1 + max(len(item.options) for item in items))
    options = items[0].options if same else [str(place) for place in places]
    head = ("item", "question", "answer") if has_questions else ("filename", "scene_label")
    files = {row.id: Path(row.path).name for row in manifest.itertuples()}
    rows = []
    for item in items:
        probabilities = answers[item.id]
        named = (item.id, item.question) if has_questions else (files[item.utterances[0]],)
        missing = [None] * (len(options) - len(item.options))
        choice = item.options[int(probabilities.argmax())]
        rows.append([*named, choice, *probabilities.round(6), *missing])
    return pd.DataFrame(rows, columns=[*head, *options])


def write_answers(
    path: Path, items: Sequence[Item], manifest: pd.DataFrame, answers: Answers
) -> None:
    """Write `answer_table`, separated by tabs, as one atomic file."""
    table = answer_table(items, manifest, answers)
    with atomic(path) as partial:
        table.to_csv(partial, sep="\t", index=False, lineterminator="\n")


def hand_in(
    folder: Path,
    test: Sequence[Item],
    manifest: pd.DataFrame,
    models: Mapping[str, Sequence[Answers]],
    best: Answers,
) -> None:
    """Write every model's answers, and those of the best as a table to hand in."""
    write_answers(folder / "answers.csv", test, manifest, best)
    table_of_answers.write(folder / "answers.parquet", test, models)
