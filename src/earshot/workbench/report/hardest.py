"""The test items that models find hardest: sound, question, and what each model answered."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from earshot import params, predict
from earshot.evaluation.charts import percent, shortlist
from earshot.features.audio import AudioError
from earshot.features.recordings import Recordings
from earshot.tables import answers, items
from earshot.tables.items import Item
from earshot.tables.manifest import read_manifest
from earshot.text import edits
from earshot.workbench import results
from earshot.workbench.hashes import md5
from earshot.workbench.report import players, provenance
from earshot.workbench.results import Track

COUNT = 6  # items a track
SECONDS = 20.0  # of a clip, so that a page stays small whatever the corpus


class Hard(NamedTuple):
    """An item with its clip; `audio` and `picture` are data URIs, `attention` a line for each
    option, where the shipped student has such: how it weighs the frames.

    `probability` is the right option's, mean over all models. `answers` has a row per model: name,
    the option that most of its seeds chose, how many of them were right, P(right), mean. Of a
    transcript it is the share of words without an error, and `written` has the first seed's.
    """

    item: Item
    right: str
    probability: float
    answers: list[tuple[str, str, str, str]]
    text: str
    device: str
    seconds: float
    audio: str
    picture: str
    attention: list[str]
    written: list["Written"]


class Written(NamedTuple):
    """A model's transcript: how many of how many words are wrong, and each word with its mark."""

    model: str
    errors: int
    words: int
    marks: list[tuple[str, str]]  # "" right, "del" left out or replaced, "ins" written instead


def rank(test: Sequence[Item], table: pd.DataFrame, count: int) -> list[tuple[Item, float]]:
    """Return the `count` items whose right option has the lowest probability, mean over seeds, then
    over models.

    One item of a passage, of equals the first by id. `table` is as in answers.parquet; items it
    lacks are left out.
    """
    known = {item.id: item for item in test}
    shown = table[table["item"].isin(known)]
    right = [_right(row, known[row.item]) for row in shown.itertuples()]
    shown = shown.assign(right=np.asarray(right, np.float64))
    means = shown.groupby(["item", "model"])["right"].mean().groupby("item").mean()
    first: dict[str, tuple[Item, float]] = {}  # by passage
    for id, probability in sorted(means.items(), key=lambda pair: (pair[1], pair[0])):
        first.setdefault(known[id].passage, (known[id], float(probability)))
    return list(first.values())[:count]


def _right(row: Any, item: Item) -> float:
    """Return how right an answer is, a row of the table: its probability, or share of words."""
    if item.transcript is None:
        return row.probabilities[item.answer]
    wrong = sum(edits.of_words(item.transcript, row.text))
    return 1 - wrong / len(item.transcript.split())


def written(table: pd.DataFrame, item: Item, models: Sequence[str]) -> list[Written]:
    """Return what the first seed of each model wrote of an item, with its errors marked."""
    first = table[table["seed"] == 0].set_index("model")["text"]
    words, found = len(item.transcript.split()), []
    for model in [model for model in models if model in first.index]:
        pairs = edits.align(item.transcript, first[model])
        marks = [mark for pair in pairs for mark in _marks(*pair)]
        found.append(Written(model, sum(a != b for a, b in pairs), words, marks))
    return found


def _marks(reference: str | None, hypothesis: str | None) -> list[tuple[str, str]]:
    if reference == hypothesis:
        return [(reference, "")]
    both = ((reference, "del"), (hypothesis, "ins"))
    return [(word, mark) for word, mark in both if word is not None]


def find(root: Path, track: Track, content: dict[str, Any]) -> list[Hard]:
    """Return a track's hardest items; none where its items, answers or clips are not there, or not
    those that dvc.lock records.

    `content` is what params.yaml holds.
    """
    data, table = root / "data" / track.name, root / "models" / track.name / "answers.parquet"
    needed = (table, data / "items.parquet", data / "manifest.parquet")
    if track.name not in content.get("tracks", {}) or not all(path.is_file() for path in needed):
        return []
    recorded = {root / out.path: out.md5 for out in provenance.outputs(root)}
    if any(path in recorded and md5(path) != recorded[path] for path in needed):
        return []  # of other results than the metrics
    chosen = answers.read(table)
    manifest = read_manifest(data / "manifest.parquet")
    manifest = manifest.assign(path=[str(root / path) for path in manifest["path"]])
    features = params.parse(content).tracks[track.name].features
    recordings = Recordings(manifest, sample_rate=features.sample_rate)
    student = _student(root, track)
    clips, found = manifest.set_index("id"), []
    for item, probability in rank(items.read(data / "items.parquet", "test"), chosen, COUNT):
        try:
            samples = np.concatenate([recordings[(clip, 0)] for clip in item.utterances])
        except AudioError:
            return []
        samples = samples[: int(SECONDS * features.sample_rate)]
        rows = clips.loc[list(item.utterances)]
        given, models = chosen[chosen["item"] == item.id], shortlist(track.models)
        is_text = item.transcript is not None
        hard = Hard(
            item=item,
            right=item.transcript if is_text else item.options[item.answer],
            probability=probability,
            answers=[] if is_text else _answers(given, item, models),
            text=" ".join(rows["text"].dropna()),
            device=" ".join(rows["device"].dropna().unique()),
            seconds=len(samples) / features.sample_rate,
            audio=players.mp3(samples, features.sample_rate),
            picture=players.spectrogram(samples, features),
            attention=_attention(student, samples, item),
            written=written(given, item, models) if is_text else [],
        )
        found.append(hard)
    return found


def _student(root: Path, track: Track) -> predict.Model | None:
    """Return the student that ships, None where its file is not there."""
    file = results.student_file(root, track)
    return predict.load(file) if file.is_file() else None


def _attention(student: predict.Model | None, samples: np.ndarray, item: Item) -> list[str]:
    """Return a line for each option of an item; none from a student that weighs all alike."""
    if not isinstance(student, predict.Student):
        return []
    weights = student.attention(samples, *student.inputs([item]))  # (1, C, T)
    return [] if weights is None else players.lines(weights[0])


def _answers(
    table: pd.DataFrame, item: Item, models: Sequence[str]
) -> list[tuple[str, str, str, str]]:
    """Return what each model answered to an item, from its rows of `table`, one a seed."""
    found = []
    for model in models:
        seeds = table[table["model"] == model]
        if len(seeds):
            option = item.options[int(seeds["answer"].mode().iloc[0])]
            option = option if item.question else option.replace("_", " ")
            right = (seeds["answer"] == item.answer).sum()
            probability = np.mean([one[item.answer] for one in seeds["probabilities"]])
            found.append((model, option, f"{right}/{len(seeds)}", f"{percent(probability)}%"))
    return found
