"""Train a recipe's students, one per seed, from mel frames and its teachers' caches.

Seeds run beside one another, as many as there are cores or a few more, with GPUs on GPU seed mod
count; a single one, or all of them with a single worker, in this process.
`EARSHOT_PROCESSES=n` instead has n processes share every batch of one seed after another.
"""

from declared import curves, digest, read, run, scratch  # isort: skip

import os
import shutil
import statistics
from functools import partial
from pathlib import Path

import torch

from earshot.distillation.distill import Distillation, Distilled, distil, refits, silent
from earshot.distillation.objective import check_known, needed
from earshot.evaluation.validation import VALIDATION
from earshot.models import accelerator, checkpoint
from earshot.models.students import metadata
from earshot.params import text_of
from earshot.runtime import parallel
from earshot.runtime.files import write_json
from earshot.runtime.progress import workers
from earshot.tables import items, signals
from earshot.tables.items import Item
from earshot.tables.manifest import read_manifest
from earshot.tables.sequences import Store
from earshot.tables.signals import Averaged
from earshot.tasks import TASKS


def caches_of(recipe_key: str) -> dict[str, Path]:
    """Return where the signals of a recipe's teachers lie, by teacher."""
    track = read(f"recipes.{recipe_key}.track")
    teachers = read(f"recipes.{recipe_key}.teachers")
    return {teacher: Path(f"data/{track}/cache/{teacher}") for teacher in teachers}


def students(recipe_key: str) -> Path:
    """Return the folder of a recipe's students."""
    return Path(f"models/{read(f'recipes.{recipe_key}.track')}/students/{recipe_key}")


def averaged(
    caches: dict[str, Path], known: list[Item], kept: dict, views: dict, names: set[str]
) -> Averaged:
    """Return the named signals of a recipe's teachers, each checked against the items it
    answered.
    """
    found = {}
    for teacher, cache in caches.items():
        identity = signals.made_by(cache)
        answered = signals.for_teacher(known, identity)
        found[teacher] = signals.Signals(cache, answered, identity, kept, views, names)
    return Averaged(found)


def setting(recipe_key: str, seed: int) -> Distillation:
    """Return the training of one seed's student."""
    recipe = read(f"recipes.{recipe_key}")
    track = recipe.track
    student, params = read(f"tracks.{track}.student"), read(f"tracks.{track}.distill")
    caches, kept = caches_of(recipe_key), read(f"tracks.{track}.cache").model_dump()
    table, mel = Path(f"data/{track}/items.parquet"), Path(f"data/{track}/mel.parquet")
    known, frames = items.read(table, *items.taught(params.refit)), Store(mel)
    held_out = items.read(table, "validation")
    manifest = read_manifest(f"data/{track}/manifest.parquet")
    training = [item for item in known if item.role in recipe.roles()]
    settings = (recipe, student, params, read("seed"), seed)
    inputs = (table, mel, *(cache / signals.INDEX for cache in caches.values()))
    names = {name for terms in recipe.phases().values() for name in needed(terms)}
    log = curves(track, recipe_key, seed) if accelerator.is_main() else silent
    return Distillation(
        recipe,
        student,
        params,
        TASKS[read(f"tracks.{track}.task")].of(text_of(student), training),
        frames,
        training,
        validation=held_out,
        signals=averaged(caches, known, kept, frames.views(), names),
        seed=read("seed") + seed,
        scratch=scratch(track, "distill", recipe_key, digest(*inputs, *settings)),
        on_epoch=log,
        devices=items.devices([*known, *held_out], manifest) if recipe.devices else {},
    )


def distil_seed(recipe_key: str, seed: int) -> Distilled:
    """Train the student of one seed and save its forms; return the rest of the result.

    A process that is alone with its seed uses GPU `seed`, counted round. Of several that share it
    the first writes.
    """
    torch.set_num_threads(1)
    if "RANK" not in os.environ:
        accelerator.prefer(seed)
    training = setting(recipe_key, seed)
    result = distil(training)
    if accelerator.is_main():
        described = metadata(training.sizes, training.recipe.prune)
        for form, model in result.models().items():
            file = students(recipe_key) / f"seed-{seed}{form}.safetensors"
            checkpoint.save_weights(file, model.state_dict(), described)
    return result.without_models()


def each_seed(recipe_key: str, seeds: range) -> list[Distilled]:
    """Train the students of all seeds."""
    one = partial(distil_seed, recipe_key)
    if "RANK" in os.environ:  # all processes on one seed after another
        results = list(map(one, seeds))
        accelerator.wait()
        return results
    if min(len(seeds), workers()) == 1:  # a process more would only cost its start
        return list(map(one, seeds))
    # Of three seeds on two cores all take turns: the last one alone would leave a core idle.
    processes = len(seeds) if len(seeds) < 2 * workers() else workers()
    settings = {"unit": "seed", "method": "spawn", "processes": processes}
    return list(parallel.run(one, seeds, recipe_key, **settings))


def train(recipe_key: str) -> dict[str, float] | None:
    recipe = read(f"recipes.{recipe_key}")
    track, caches = recipe.track, caches_of(recipe_key)
    params, kind = read(f"tracks.{track}.distill"), read(f"tracks.{track}.task")
    known = {teacher: signals.kept(cache) for teacher, cache in caches.items()}
    for phase, terms in recipe.phases().items():
        check_known(recipe_key, terms, known, phase)

    seeds = range(params.seeds)
    results = each_seed(recipe_key, seeds)
    if "RANK" in os.environ and not accelerator.is_main():
        return None

    held_out = items.read(f"data/{track}/items.parquet", "validation")
    answers = [result.answers for result in results]
    scores = VALIDATION[kind](answers, held_out, read("seed"))
    if refits(recipe, params):
        scores["labels_given_back"] = len(held_out)  # afterwards: the scores are of the fit before
    write_json(f"metrics/{track}/validation/{recipe_key}.json", scores)

    folder, names = students(recipe_key), [f"seed-{seed}" for seed in seeds]
    task = TASKS[kind].of(None, held_out)
    best = [task.score_all(of_seed, held_out).value for of_seed in answers]
    write_json(folder / "validation.json", dict(zip(names, best, strict=True)))
    taught = {teacher: signals.made_by(cache) for teacher, cache in caches.items()}
    write_json(folder / signals.TAUGHT, taught)
    if results[0].routing:
        routing = [result.routing for result in results]
        write_json(folder / "routing.json", dict(zip(names, routing, strict=True)))
    shutil.rmtree(scratch(track, "distill", recipe_key))
    return {"train_minutes": statistics.median(result.seconds for result in results) / 60}


if __name__ == "__main__":
    run(train, "recipes", accelerator.ranks(1))
