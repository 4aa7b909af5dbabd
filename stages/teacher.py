"""Tune a teacher on labelled items: the top of a checkpoint, from stored states of its last frozen
layer, or all of a network, from log-mel.
"""

from declared import curves, digest, read, run, scratch  # isort: skip

import shutil
from pathlib import Path

import torch

from earshot.features.recordings import Recordings
from earshot.models import accelerator
from earshot.runtime.inputs import state
from earshot.tables import items
from earshot.tables.manifest import read_manifest
from earshot.teacher.tune import tune


def teacher(key: str) -> dict[str, float]:
    torch.set_num_threads(1)
    params, seed = read(f"teachers.{key}"), read("seed")
    track = params.track
    task, views = read(f"tracks.{track}.task"), read(f"tracks.{track}.views")
    table = Path(f"data/{track}/items.parquet")
    manifest = Path(f"data/{track}/manifest.parquet")
    given = state(Path(f"data/{track}/inputs"))
    made_of = digest(table, manifest, params, views, seed, given)
    unfinished = scratch(track, "teacher", key, made_of)
    seconds = tune(
        params,
        task,
        Recordings(read_manifest(manifest), views, seed, params.sample_rate),
        items.in_language(items.read(table, params.data), params.language),
        items.in_language(items.read(table, "validation"), params.language),
        seed,
        unfinished,
        Path(f"models/{track}/teachers/{key}"),
        curves(track, f"teacher-{key}"),
    )
    if accelerator.is_main():
        shutil.rmtree(scratch(track, "teacher", key), ignore_errors=True)  # of one taken as it is
    return {"train_minutes": seconds / 60}


if __name__ == "__main__":
    # two on any machine: how many share a batch moves the last digits of a result
    run(teacher, "teachers", lambda row: row.processes or accelerator.ranks(on_cpu=2))
