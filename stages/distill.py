"""Train a recipe's students, one per seed, from mel frames and the teacher's cache.

Seeds run beside one another, each on a core, with GPUs on GPU seed mod count. `EARSHOT_PROCESSES=n`
instead has n processes share every batch of one seed after another.
"""

import os
import shutil
import statistics
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from earshot.distillation import distill as distillation
from earshot.evaluation import metrics
from earshot.models import accelerator, checkpoint
from earshot.runtime import parallel
from earshot.runtime.files import write_json
from earshot.tables import items
from earshot.tables.sequences import Store
from earshot.teacher import cache as teacher_cache

from declared import curves, digest, read, run, scratch


def distil_seed(recipe_key: str, seed: int) -> tuple[metrics.Answers, float, dict[str, Any] | None]:
    """Train the student of one seed; return its answers to the validation items, the seconds it
    took, and its routing.

    A process that is alone with its seed uses GPU `seed`, counted round. Of several that share it
    the first writes.
    """
    import torch
    from dvclive import Live

    torch.set_num_threads(1)
    if "RANK" not in os.environ:
        accelerator.prefer(seed)
    main = accelerator.is_main()
    recipe = read(f"recipes.{recipe_key}")
    track = recipe.track
    student, params, cache_params = (
        read(f"tracks.{track}.{part}") for part in ("student", "distill", "cache")
    )
    table, mel = Path(f"data/{track}/items.parquet"), Path(f"data/{track}/mel.parquet")
    identity = teacher_cache.identity(Path(f"models/{track}/teacher"))
    asked, frames = items.read(table, "fewshot", "pool"), Store(mel)
    cache = teacher_cache.TeacherCache(
        Path(f"data/{track}/cache"), asked, identity, cache_params, frames.views()
    )
    training = [item for item in asked if item.role in recipe.data]
    settings = (recipe, student, params, read("seed"), seed)
    unfinished = scratch(
        track,
        "distill",
        recipe_key,
        digest(table, mel, Path(f"data/{track}/cache/index.json"), *settings),
    )
    live_run = partial(
        Live, f"plots/{track}/live/{recipe_key}/seed-{seed}", save_dvc_exp=False, dvcyaml=None
    )
    with live_run() if main else nullcontext() as live:
        distilled = distillation.distill(
            recipe, student, params, frames, training, items.read(table, "validation"), cache,
            read("seed") + seed, unfinished, curves(live) if main else lambda epoch, scores: None,
        )  # fmt: skip
    out = f"models/{track}/students/{recipe_key}/seed-{seed}"
    for kind, model in {
        "": distilled.student,
        **{f".{name}": model for name, model in distilled.int8.items()},
    }.items():
        if main:
            checkpoint.save_weights(f"{out}{kind}.safetensors", model.state_dict())
    return distilled.answers, distilled.seconds, distilled.routing


def distill(recipe_key: str) -> None:
    track = read(f"recipes.{recipe_key}.track")
    seeds = range(read(f"tracks.{track}.distill").seeds)
    if "RANK" in os.environ:  # all processes on one seed after another
        results = [distil_seed(recipe_key, seed) for seed in seeds]
        accelerator.wait()
        if not accelerator.is_main():
            return
    else:
        results = list(
            parallel.run(
                partial(distil_seed, recipe_key), seeds, recipe_key, unit="seed", method="spawn"
            )
        )
    answers, seconds, routing = zip(*results, strict=True)
    folder, names = f"models/{track}/students/{recipe_key}", [f"seed-{seed}" for seed in seeds]
    held_out = items.read(f"data/{track}/items.parquet", "validation")
    said = metrics.stack(answers, [item.id for item in held_out])
    right, passages = (
        np.array([getattr(item, name) for item in held_out]) for name in ("answer", "passage")
    )
    best = [metrics.accuracy(one[None], right) for one in said]
    write_json(f"{folder}/validation.json", dict(zip(names, best, strict=True)))
    scores = metrics.score(said, right, passages, {}, seed=read("seed"))
    write_json(f"metrics/{track}/validation/{recipe_key}.json", scores)
    if routing[0]:
        write_json(f"{folder}/routing.json", dict(zip(names, routing, strict=True)))
    write_json(
        f"metrics/{track}/timing/{recipe_key}.json",
        {"train_minutes": statistics.median(seconds) / 60},
    )
    shutil.rmtree(scratch(track, "distill", recipe_key))


if __name__ == "__main__":
    run(distill, accelerator.ranks(1))
