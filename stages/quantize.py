"""Export a track's students, one ONNX file each, float and int8, and measure how well they
agree.
"""

from declared import read, run  # isort: skip

import json
from pathlib import Path

from earshot.export.agreement import Clip
from earshot.export.students import Exporter, mean_agreement
from earshot.features.recordings import Recordings
from earshot.params import text_of
from earshot.runtime.files import write_json
from earshot.runtime.progress import track as progress
from earshot.tables import items
from earshot.tables.manifest import read_manifest
from earshot.tasks import TASKS


def quantize(track: str) -> None:
    student, features = read(f"tracks.{track}.student"), read(f"tracks.{track}.features")
    count = read(f"tracks.{track}.quantize").agreement_items
    compared = items.read(f"data/{track}/items.parquet", "validation")[:count]
    task = TASKS[read(f"tracks.{track}.task")].of(text_of(student), compared)
    manifest = read_manifest(f"data/{track}/manifest.parquet")
    recordings = Recordings(manifest, sample_rate=features.sample_rate)
    clips = []
    for item in compared:
        inputs = tuple(tensor.numpy() for tensor in task.inputs([item]).values())
        clips.append(Clip(recordings.passage(item.utterances), inputs))
    agreement = {}
    for recipe in progress(read(f"tracks.{track}.evaluate.recipes"), "ONNX", unit="recipe"):
        key = f"{track}-{recipe}"
        weights, out = Path(f"models/{track}/students/{key}"), Path(f"models/{track}/onnx/{key}")
        named = {"track": track, "recipe": key}
        exporter = Exporter(student, features, task, weights, out, named, clips)
        validation = json.loads((weights / "validation.json").read_text())
        reports = [exporter.export(name) for seed in validation for name in exporter.models(seed)]
        exporter.ship(max(validation, key=validation.get))  # chosen on validation items
        agreement[recipe] = mean_agreement(reports)
    write_json(f"metrics/{track}/quantize.json", agreement)


if __name__ == "__main__":
    run(quantize, "tracks")
