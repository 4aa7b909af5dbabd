"""Train a recipe's students, one per seed, from mel frames and the teacher's cache."""

import shutil
import statistics
from functools import partial
from pathlib import Path

from earshot import checkpoint, distillation, items, parallel, teacher_cache
from earshot.files import write_json
from earshot.store import Store

from declared import digest, read, run, scratch


def distil_seed(recipe_key: str, seed: int) -> tuple[float, float]:
    """Train the student of one seed; return its best validation accuracy and the seconds it took."""
    import torch
    from dvclive import Live

    torch.set_num_threads(1)
    recipe = read(f"recipes.{recipe_key}")
    track = recipe.track
    student, params, cache_params = (read(f"tracks.{track}.{part}") for part in ("student", "distill", "cache"))
    table, mel = Path(f"data/{track}/items.parquet"), Path(f"data/{track}/mel.parquet")
    identity = teacher_cache.identity(Path(f"models/{track}/teacher"))
    asked = items.read(table, "fewshot", "pool")
    cache = teacher_cache.TeacherCache(Path(f"data/{track}/cache"), asked, identity, cache_params)
    training = [item for item in asked if item.role in recipe.data]
    settings = (recipe, student, params, read("seed"), seed)
    unfinished = scratch(track, "distill", recipe_key, digest(table, mel, Path(f"data/{track}/cache/index.json"), *settings))
    best = 0.0
    with Live(f"plots/{track}/live/{recipe_key}/seed-{seed}", save_dvc_exp=False, dvcyaml=None) as live:

        def log(epoch: int, scores: dict[str, float]) -> None:
            nonlocal best
            best, live.step = max(best, scores["validation"]), epoch + 1
            for term, value in scores.items():
                live.log_metric(term, value)

        model, seconds = distillation.distill(
            recipe, student, params, Store(mel), training, items.read(table, "validation"), cache,
            read("seed") + seed, unfinished, log,
        )  # fmt: skip
    checkpoint.save_weights(f"models/{track}/students/{recipe_key}/seed-{seed}.safetensors", model.state_dict())
    return best, seconds


def distill(recipe_key: str) -> None:
    track = read(f"recipes.{recipe_key}.track")
    seeds = range(read(f"tracks.{track}.distill").seeds)
    results = list(parallel.run(partial(distil_seed, recipe_key), seeds, recipe_key, unit="seed", method="spawn"))
    validation = {f"seed-{seed}": best for seed, (best, _) in zip(seeds, results, strict=True)}
    write_json(f"models/{track}/students/{recipe_key}/validation.json", validation)
    minutes = statistics.median(seconds for _, seconds in results) / 60
    write_json(f"metrics/{track}/timing/{recipe_key}.json", {"train_minutes": minutes})
    shutil.rmtree(scratch(track, "distill", recipe_key))


if __name__ == "__main__":
    run(distill)
