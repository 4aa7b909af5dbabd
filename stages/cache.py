"""Ask the teacher the ten questions and the pool's; keep its logits and hidden vectors in Parquet."""

import shutil
from pathlib import Path

import torch

from earshot import items, teacher, teacher_cache
from earshot.corpora import read_manifest

from declared import digest, read, run, scratch


def cache(track: str) -> None:
    params, tuned = read(f"tracks.{track}.cache"), read(f"tracks.{track}.teacher")
    torch.set_num_threads(1)
    folder, out = Path(f"models/{track}/teacher"), Path(f"data/{track}/cache")
    asked = items.read(f"data/{track}/items.parquet", "fewshot", "pool")
    identity, manifest = teacher_cache.identity(folder), Path(f"data/{track}/manifest.parquet")
    unfinished = scratch(track, "cache", digest(teacher_cache.key(asked, identity, params), manifest))
    model = teacher.load(tuned, folder)
    teacher_cache.write(unfinished, model, identity, asked, read_manifest(manifest), tuned.text.buckets, params)
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(unfinished, out)


if __name__ == "__main__":
    run(cache)
