"""Ask a teacher about the labelled clips and the pool; keep its logits and hidden vectors."""

from declared import digest, read, run, scratch  # isort: skip

import shutil
from pathlib import Path

import torch

from earshot.features.recordings import Recordings
from earshot.models import accelerator
from earshot.runtime.inputs import state
from earshot.tables import items, signals
from earshot.tables.manifest import read_manifest
from earshot.teacher import cache as teacher_cache
from earshot.teacher.ask import Asker


def cache(key: str) -> None:
    torch.set_num_threads(1)
    tuned, engine, seed = read(f"teachers.{key}"), read("engine"), read("seed")
    track = tuned.track
    params, views = read(f"tracks.{track}.cache"), read(f"tracks.{track}.views")
    folder, out = Path(f"models/{track}/teachers/{key}"), Path(f"data/{track}/cache/{key}")
    manifest = Path(f"data/{track}/manifest.parquet")
    roles = items.taught(read(f"tracks.{track}.distill.refit"))
    identity = signals.identity(folder)
    answered = signals.for_teacher(items.read(f"data/{track}/items.parquet", *roles), identity)
    recordings = Recordings(read_manifest(manifest), views, seed, tuned.sample_rate)
    whole = signals.key(answered, identity, params.model_dump(), recordings.views)
    given = state(Path(f"data/{track}/inputs"))
    unfinished = scratch(track, "cache", key, digest(whole, manifest, views, seed, given))
    ask = Asker(tuned, read(f"tracks.{track}.task"), folder, recordings, params)
    teacher_cache.write(unfinished, ask, identity, answered, recordings.views, params, engine)
    if accelerator.is_main():
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(unfinished, out)


if __name__ == "__main__":
    run(cache, "teachers", 1 if read("engine") == "ray" else accelerator.ranks())
