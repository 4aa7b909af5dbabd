"""The test items that models find hardest, with what is heard, what was asked and what each model
said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from earshot import params
from earshot.features.audio import AudioError
from earshot.features.recordings import Recordings
from earshot.tables import answers, items
from earshot.tables.items import Item
from earshot.tables.manifest import read_manifest
from earshot.workbench.integrity.hashes import md5
from earshot.workbench.report import players, provenance

COUNT = 6  # items a track
SECONDS = 20.0  # of a clip, so that a page stays small whatever the corpus


@dataclass(frozen=True)
class Said:
    """What a model said to an item: the option that most of its seeds chose, how many were right,
    and P(right), mean.
    """

    model: str
    option: str
    right: int
    seeds: int
    probability: float


@dataclass(frozen=True)
class Hard:
    """An item with its clip; `audio` and `picture` are data URIs, `probability` is the right
    option's over all models.
    """

    item: Item
    right: str
    probability: float
    said: tuple[Said, ...]
    text: str
    device: str
    seconds: float
    audio: str
    picture: str


def rank(test: Sequence[Item], table: pd.DataFrame, count: int) -> list[tuple[Item, float]]:
    """Return the `count` items whose right option has the lowest probability, mean over seeds, then
    over models.

    One item of a passage, of equals the first by id. `table` is as in answers.parquet; items it
    lacks are left out.
    """
    known = {item.id: item for item in test}
    shown = table[table["item"].isin(known)]
    right = [row.probabilities[known[row.item].answer] for row in shown.itertuples()]
    shown = shown.assign(right=np.asarray(right, np.float64))
    means = shown.groupby(["item", "model"])["right"].mean().groupby("item").mean()
    chosen, passages = [], set[str]()
    for id, probability in sorted(means.items(), key=lambda pair: (pair[1], pair[0])):
        if known[id].passage not in passages and len(chosen) < count:
            passages.add(known[id].passage)
            chosen.append((known[id], float(probability)))
    return chosen


def find(
    root: Path, track: str, content: dict[str, Any], models: Sequence[str]
) -> list[Hard] | None:
    """Return a track's hardest items with what `models` said; None where its items, answers or
    clips are not there, or not those that dvc.lock records.

    `content` is what params.yaml holds.
    """
    data, table = root / "data" / track, root / "models" / track / "answers.parquet"
    needed = (table, data / "items.parquet", data / "manifest.parquet")
    if track not in (content.get("tracks") or {}) or not all(path.is_file() for path in needed):
        return None
    recorded = {root / out.path: out.md5 for out in provenance.outputs(root)}
    if any(path in recorded and md5(path) != recorded[path] for path in needed):
        return None  # of other results than the metrics
    said = answers.read(table)
    manifest = read_manifest(data / "manifest.parquet")
    manifest = manifest.assign(path=[str(root / path) for path in manifest["path"]])
    features = params.parse(content).tracks[track].features
    recordings = Recordings(manifest, sample_rate=features.sample_rate)
    rows = manifest.set_index("id")
    found = []
    for item, probability in rank(items.read(data / "items.parquet", "test"), said, COUNT):
        try:
            samples = np.concatenate([recordings[(utterance, 0)] for utterance in item.utterances])
        except AudioError:
            return None
        samples = samples[: int(SECONDS * features.sample_rate)]
        own = rows.loc[list(item.utterances)]
        found.append(
            Hard(
                item,
                item.options[item.answer],
                probability,
                tuple(_said(said, item, models)),
                " ".join(str(text) for text in own["text"].dropna()),
                " ".join(dict.fromkeys(str(device) for device in own["device"].dropna())),
                len(samples) / features.sample_rate,
                players.mp3(samples, features.sample_rate),
                players.spectrogram(samples, features),
            )
        )
    return found


def _said(table: pd.DataFrame, item: Item, models: Sequence[str]) -> list[Said]:
    own = table[table["item"] == item.id]
    found = []
    for model in models:
        seeds = own[own["model"] == model]
        if len(seeds):
            option = item.options[int(seeds["answer"].mode().iloc[0])]
            right = [float(one[item.answer]) for one in seeds["probabilities"]]
            found.append(
                Said(
                    model,
                    option,
                    int((seeds["answer"] == item.answer).sum()),
                    len(seeds),
                    float(np.mean(right)),
                )
            )
    return found
