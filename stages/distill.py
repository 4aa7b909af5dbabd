"""Train a recipe's students, one per seed, from mel frames and the teacher's cache."""

import shutil
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from earshot import checkpoint, distillation, items, parallel, teacher_cache
from earshot.files import write_json
from earshot.store import Store

from declared import curves, digest, read, run, scratch


def distil_seed(recipe_key: str, seed: int) -> tuple[float, float, dict[str, Any] | None]:
    """Train the student of one seed; return its best validation accuracy, the seconds it took, and its routing."""
    import torch
    from dvclive import Live

    torch.set_num_threads(1)
    recipe = read(f"recipes.{recipe_key}")
    track = recipe.track
    student, params, cache_params = (read(f"tracks.{track}.{part}") for part in ("student", "distill", "cache"))
    table, mel = Path(f"data/{track}/items.parquet"), Path(f"data/{track}/mel.parquet")
    identity = teacher_cache.identity(Path(f"models/{track}/teacher"))
    asked, frames = items.read(table, "fewshot", "pool"), Store(mel)
    cache = teacher_cache.TeacherCache(Path(f"data/{track}/cache"), asked, identity, cache_params, frames.views())
    training = [item for item in asked if item.role in recipe.data]
    settings = (recipe, student, params, read("seed"), seed)
    unfinished = scratch(track, "distill", recipe_key, digest(table, mel, Path(f"data/{track}/cache/index.json"), *settings))
    with Live(f"plots/{track}/live/{recipe_key}/seed-{seed}", save_dvc_exp=False, dvcyaml=None) as live:
        distilled = distillation.distill(
            recipe, student, params, frames, training, items.read(table, "validation"), cache,
            read("seed") + seed, unfinished, curves(live),
        )  # fmt: skip
    out = f"models/{track}/students/{recipe_key}/seed-{seed}"
    for kind, model in {"": distilled.student, **{f".{name}": model for name, model in distilled.int8.items()}}.items():
        checkpoint.save_weights(f"{out}{kind}.safetensors", model.state_dict())
    return distilled.validation, distilled.seconds, distilled.routing


def distill(recipe_key: str) -> None:
    track = read(f"recipes.{recipe_key}.track")
    seeds = range(read(f"tracks.{track}.distill").seeds)
    results = list(parallel.run(partial(distil_seed, recipe_key), seeds, recipe_key, unit="seed", method="spawn"))
    best, seconds, routing = zip(*results, strict=True)
    folder, names = f"models/{track}/students/{recipe_key}", [f"seed-{seed}" for seed in seeds]
    write_json(f"{folder}/validation.json", dict(zip(names, best, strict=True)))
    if routing[0]:
        write_json(f"{folder}/routing.json", dict(zip(names, routing, strict=True)))
    write_json(f"metrics/{track}/timing/{recipe_key}.json", {"train_minutes": statistics.median(seconds) / 60})
    shutil.rmtree(scratch(track, "distill", recipe_key))


if __name__ == "__main__":
    run(distill)
