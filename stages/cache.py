"""Ask the teacher about the labelled clips and the pool; keep its logits and hidden vectors in
Parquet.
"""

import shutil
from pathlib import Path

import torch

from earshot.features.recordings import Recordings
from earshot.models import accelerator
from earshot.tables import items
from earshot.tables.manifest import read_manifest
from earshot.teacher import cache as teacher_cache
from earshot.teacher import finetune

from declared import digest, read, run, scratch


def cache(track: str) -> None:
    params, tuned, views = (
        read(f"tracks.{track}.{part}") for part in ("cache", "teacher", "views")
    )
    engine = read("engine")
    torch.set_num_threads(1)
    folder, out = Path(f"models/{track}/teacher"), Path(f"data/{track}/cache")
    asked = items.read(f"data/{track}/items.parquet", "fewshot", "pool")
    identity, manifest = teacher_cache.identity(folder), Path(f"data/{track}/manifest.parquet")
    recordings = Recordings(read_manifest(manifest), views, read("seed"))
    whole = teacher_cache.key(asked, identity, params, recordings.views)
    unfinished = scratch(track, "cache", digest(whole, manifest, views, read("seed")))
    rows = finetune.Asker(tuned, folder, recordings, params)
    teacher_cache.write(unfinished, rows, identity, asked, recordings.views, params, engine)
    if accelerator.is_main():
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(unfinished, out)


if __name__ == "__main__":
    run(cache, 1 if read("engine") == "ray" else accelerator.ranks())
