"""Fine-tune the top of the teacher on labelled items, from cached states of its last frozen layer."""

import shutil
from pathlib import Path

import torch
from dvclive import Live

from earshot.features.recordings import Recordings
from earshot.models import accelerator
from earshot.models.wav2vec2 import Teacher
from earshot.runtime.files import write_json
from earshot.tables import items
from earshot.tables.manifest import read_manifest
from earshot.teacher import finetune

from declared import curves, digest, read, run, scratch


def tune(track: str) -> None:
    params, views, seed = (
        read(f"tracks.{track}.teacher"),
        read(f"tracks.{track}.views"),
        read("seed"),
    )
    torch.set_num_threads(1)
    table, manifest = Path(f"data/{track}/items.parquet"), Path(f"data/{track}/manifest.parquet")
    recordings = Recordings(read_manifest(manifest), views, seed)
    training, validation = items.read(table, params.data), items.read(table, "validation")
    labels = () if params.text else training[0].options
    main = accelerator.is_main()
    unfinished = scratch(track, "teacher", digest(table, manifest, params, views, seed))

    def train(random: int | None, folder: Path, on_epoch: finetune.OnEpoch) -> float:
        torch.manual_seed(seed)
        model = Teacher(params, len(labels), random)
        own = unfinished / digest(model.frozen_hash())
        lower = finetune.cache_lower(
            model, recordings, training + validation, own / "lower.parquet"
        )
        seconds = finetune.fine_tune(
            model, params, lower, training, validation, seed, own, on_epoch
        )
        if params.auxiliary:
            finetune.fit_auxiliary(model, recordings, training, params.text)
        if main:
            finetune.save(model, params, folder, labels)
        return seconds

    folder = Path(f"models/{track}/teacher")
    if main:
        with Live(f"plots/{track}/live/teacher", save_dvc_exp=False, dvcyaml=None) as live:
            seconds = train(None, folder, curves(live))
    else:
        seconds = train(None, folder, lambda epoch, scores: None)
    if params.control:
        train(seed, folder / "scratch", lambda epoch, scores: None)
    accelerator.wait()
    if main:
        write_json(f"metrics/{track}/timing/teacher.json", {"train_minutes": seconds / 60})
        shutil.rmtree(scratch(track, "teacher"))


if __name__ == "__main__":
    run(tune, accelerator.ranks())
