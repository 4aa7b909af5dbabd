"""Train a recipe's students, one per seed, from mel frames and its teachers' caches.

Seeds run beside one another, each on a core, with GPUs on GPU seed mod count; a single one, or all
of them with a single worker, in this process.
`EARSHOT_PROCESSES=n` instead has n processes share every batch of one seed after another.
"""

from declared import curves, digest, read, run, scratch  # isort: skip

import os
import shutil
import statistics
from functools import partial
from pathlib import Path

import torch

from earshot.distillation.distill import Distillation, Distilled, distil, refits
from earshot.distillation.objective import check_known, needed
from earshot.evaluation.validation import VALIDATION
from earshot.models import accelerator, checkpoint
from earshot.models.students import metadata
from earshot.params import text_of
from earshot.runtime import parallel
from earshot.runtime.files import write_json
from earshot.runtime.progress import workers
from earshot.tables import items, signals
from earshot.tables.sequences import Store
from earshot.tasks import TASKS


def caches_of(recipe_key: str) -> dict[str, Path]:
    """Return where the signals of a recipe's teachers lie, by teacher."""
    track = read(f"recipes.{recipe_key}.track")
    teachers = read(f"recipes.{recipe_key}.teachers")
    return {teacher: Path(f"data/{track}/cache/{teacher}") for teacher in teachers}


def distil_seed(recipe_key: str, seed: int) -> Distilled:
    """Train the student of one seed and save its forms; return the rest of the result.

    A process that is alone with its seed uses GPU `seed`, counted round. Of several that share it
    the first writes.
    """
    torch.set_num_threads(1)
    if "RANK" not in os.environ:
        accelerator.prefer(seed)
    recipe = read(f"recipes.{recipe_key}")
    track = recipe.track
    student, params = read(f"tracks.{track}.student"), read(f"tracks.{track}.distill")
    kept, kind = read(f"tracks.{track}.cache").model_dump(), read(f"tracks.{track}.task")
    caches = caches_of(recipe_key)
    table, mel = Path(f"data/{track}/items.parquet"), Path(f"data/{track}/mel.parquet")
    asked, frames = items.read(table, *items.taught(params.refit)), Store(mel)
    training = [item for item in asked if item.role in recipe.roles()]
    settings = (recipe, student, params, read("seed"), seed)
    inputs = (table, mel, *(cache / signals.INDEX for cache in caches.values()))
    unfinished = scratch(track, "distill", recipe_key, digest(*inputs, *settings))
    views = frames.views()
    names = {name for terms in recipe.phases().values() for name in needed(terms)}
    taught = {}
    for teacher, cache in caches.items():
        identity = signals.made_by(cache)
        heard = signals.asked(asked, identity)
        taught[teacher] = signals.Signals(cache, heard, identity, kept, views, names)
    main = accelerator.is_main()
    distillation = Distillation(
        recipe,
        student,
        params,
        TASKS[kind].of(text_of(student), training),
        frames,
        training,
        items.read(table, "validation"),
        signals.Averaged(taught),
        read("seed") + seed,
        unfinished,
        curves(track, recipe_key, seed) if main else lambda epoch, scores: None,
    )
    result = distil(distillation)
    folder = Path(f"models/{track}/students/{recipe_key}")
    for form, model in result.models().items():
        if main:
            file = folder / f"seed-{seed}{form}.safetensors"
            checkpoint.save_weights(file, model.state_dict(), metadata(student, recipe.prune))
    return result.without_models()


def train(recipe_key: str) -> dict[str, float] | None:
    track = read(f"recipes.{recipe_key}.track")
    known = {teacher: signals.kept(at) for teacher, at in caches_of(recipe_key).items()}
    for phase, terms in read(f"recipes.{recipe_key}").phases().items():
        check_known(recipe_key, terms, known, phase)
    seeds = range(read(f"tracks.{track}.distill").seeds)
    if "RANK" in os.environ:  # all processes on one seed after another
        results = [distil_seed(recipe_key, seed) for seed in seeds]
        accelerator.wait()
        if not accelerator.is_main():
            return None
    else:
        one = partial(distil_seed, recipe_key)
        if min(len(seeds), workers()) == 1:  # a process more would only cost its start
            results = list(map(one, seeds))
        else:
            results = list(parallel.run(one, seeds, recipe_key, unit="seed", method="spawn"))
    held_out = items.read(f"data/{track}/items.parquet", "validation")
    kind = read(f"tracks.{track}.task")
    answers = [result.answers for result in results]
    scores = VALIDATION[kind](answers, held_out, read("seed"))
    if refits(read(f"recipes.{recipe_key}"), read(f"tracks.{track}.distill")):
        scores["labels_given_back"] = len(held_out)  # afterwards: the scores are of the fit before
    write_json(f"metrics/{track}/validation/{recipe_key}.json", scores)
    folder = Path(f"models/{track}/students/{recipe_key}")
    names = [f"seed-{seed}" for seed in seeds]
    task = TASKS[kind].of(None, held_out)
    best = [task.score_all(of_seed, held_out).value for of_seed in answers]
    write_json(folder / "validation.json", dict(zip(names, best, strict=True)))
    taught = {teacher: signals.made_by(at) for teacher, at in caches_of(recipe_key).items()}
    write_json(folder / signals.TAUGHT, taught)
    if results[0].routing:
        routing = [result.routing for result in results]
        write_json(folder / "routing.json", dict(zip(names, routing, strict=True)))
    shutil.rmtree(scratch(track, "distill", recipe_key))
    return {"train_minutes": statistics.median(result.seconds for result in results) / 60}


if __name__ == "__main__":
    run(train, "recipes", accelerator.ranks(1))
