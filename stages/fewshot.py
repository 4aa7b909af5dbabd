"""Build the 10-question set, the unlabelled pool and the test items; refuse them if anything leaks."""

from collections import Counter
from pathlib import Path

import numpy as np

from earshot import items, leaks, passages, questions
from earshot.corpora import read_manifest
from earshot.files import write_json
from earshot.store import Store

from declared import read, run


def fewshot(track: str) -> None:
    params, manifest = read(f"tracks.{track}.fewshot"), read_manifest(f"data/{track}/manifest.parquet")
    accepted = [clip for clip, _ in Store(f"data/{track}/mel.parquet")]
    cut = passages.passages(manifest, accepted, params.passage_seconds)
    built = questions.build(lambda split: [p for p in cut if p.split == split], params, read("seed"))
    items.check(built, accepted)
    leaks.check_splits(built, manifest)
    blind = leaks.check_audio_blind(built)
    items.write(built, f"data/{track}/items.parquet")
    seconds = dict(zip(manifest["id"], manifest["seconds"], strict=True))
    report = {"audio_blind_accuracy": blind, "items": {}, "minutes": {}}
    for role in items.ROLES:
        mine = [item for item in built if item.role == role]
        report["items"][role] = {"all": len(mine), **Counter(item.skill for item in mine)}
        report["minutes"][role] = round(float(np.sum([seconds[u] for u in {u for i in mine for u in i.utterances}])) / 60, 3)
    write_json(Path(f"metrics/{track}/items.json"), report)


if __name__ == "__main__":
    run(fewshot)
