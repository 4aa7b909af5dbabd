"""Fine-tune the top of the teacher on labelled items, from cached states of its last frozen layer."""

import shutil
from pathlib import Path

import torch
from dvclive import Live

from earshot import items, teacher
from earshot.corpora import read_manifest
from earshot.files import write_json
from earshot.models.teacher import Teacher

from declared import digest, read, run, scratch


def tune(track: str) -> None:
    params, seed = read(f"tracks.{track}.teacher"), read("seed")
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = Teacher(params)
    table, manifest = Path(f"data/{track}/items.parquet"), Path(f"data/{track}/manifest.parquet")
    training, validation = items.read(table, "teacher"), items.read(table, "validation")
    unfinished = scratch(track, "teacher", digest(table, manifest, params, model.frozen_hash(), seed))
    with Live(f"plots/{track}/live/teacher", save_dvc_exp=False, dvcyaml=None) as live:

        def log(epoch: int, scores: dict[str, float]) -> None:
            live.step = epoch + 1
            for name, value in scores.items():
                live.log_metric(name, value)

        lower = teacher.cache_lower(model, read_manifest(manifest), training + validation, unfinished / "lower.parquet")
        seconds = teacher.fine_tune(model, params, lower, training, validation, seed, unfinished, log)
    teacher.save(model, params, Path(f"models/{track}/teacher"))
    write_json(f"metrics/{track}/timing/teacher.json", {"train_minutes": seconds / 60})
    shutil.rmtree(scratch(track, "teacher"))


if __name__ == "__main__":
    run(tune)
