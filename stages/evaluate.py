"""Score teachers, students and int8 files on the test items; write metrics, costs and plots."""

from declared import read, run  # isort: skip

import json
import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from earshot.evaluation import costs, robustness
from earshot.evaluation.ask import (
    file_answers,
    mean_of_logits,
    quantized,
    shipped,
    student_answers,
)
from earshot.evaluation.kinds import SCORES
from earshot.evaluation.metrics import Answers
from earshot.evaluation.plots import Evaluation
from earshot.features.recordings import Recordings
from earshot.params import by_language, teacher_models, text_of
from earshot.runtime.files import write_json
from earshot.tables import items
from earshot.tables.items import Item
from earshot.tables.manifest import read_manifest
from earshot.tables.sequences import Store
from earshot.tables.signals import check_taught
from earshot.tasks import TASKS
from earshot.teacher.ask import answers as teacher_answers
from earshot.teacher.saved import load
from earshot.teacher.tune import CONTROL


class Test(NamedTuple):
    """What models of a track are evaluated on."""

    track: str
    evaluated: list[Item]  # of the test and of the paper's protocol
    items: list[Item]  # of the test alone
    manifest: pd.DataFrame


class Results(NamedTuple):
    """What models answered, seed by seed, and what they cost, by model."""

    answers: dict[str, list[Answers]]
    cost: dict[str, costs.Cost]
    latency: dict[str, costs.Latency]

    def add(self, bill: costs.Bill) -> None:
        self.cost.update(bill.cost)
        self.latency.update(bill.latency)


def evaluate(track: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    table = f"data/{track}/items.parquet"
    evaluated = items.read(table, "test", "paper")
    about = [item for item in evaluated if item.role == "test"]
    test = Test(track, evaluated, about, read_manifest(f"data/{track}/manifest.parquet"))
    results = Results({}, {}, {})
    ask_teachers(test, results)
    ask_students(test, results)

    params, scores = read(f"tracks.{track}.evaluate"), SCORES[read(f"tracks.{track}.task")]
    training = items.read(table, "teacher", "fewshot", "pool")
    known = (training, evaluated, test.manifest)
    quality = scores.quality(results.answers, *known, params, read("seed"))
    write_json(f"metrics/{track}/quality.json", quality)
    write_json(f"metrics/{track}/cost.json", results.cost)
    show(track, quality, scores.metric)
    for line in scores.doubts(results.answers, about):
        logging.warning("evaluate@%s: %s", track, line)

    best, standing = ask_shipped(test, results)
    folder = Path(f"plots/{track}/test")
    drawn = Evaluation(
        quality=quality,
        answers=results.answers,
        test=about,
        shipped=f"{best}_int8",
        curves=curves(track),
        groups=scores.device_groups(training, about, test.manifest),
        routing=each_recipe(track, "routing.json"),
        standing=standing,
    )
    scores.draw(folder, drawn)
    write_layers(test, folder / "layers.csv")
    costs.check_limits(results.cost, params.limits)
    teachers = teacher_models(read("teachers"), track)
    return {"latency": results.latency, "teachers": teachers}


def show(track: str, quality: dict[str, Any], metric: str) -> None:
    """Print what models are judged by, with its interval: a run of all tracks lasts long."""
    for model, scores in quality.items():
        if metric in scores:
            share = (100 * scores[metric + end] for end in ("", "_low", "_high"))
            value, low, high = (f"{one:.1f}" for one in share)
            print(f"{track}: {model:20} {metric} {value} % ({low}–{high})")


def ask_teachers(test: Test, results: Results) -> None:
    """Add a track's teachers, and the controls that were not pretrained."""
    kind, params = read(f"tracks.{test.track}.task"), read(f"tracks.{test.track}.evaluate")
    teachers = read("teachers")
    for key, name in teacher_models(teachers, test.track).items():
        tuned, folder = teachers[key], Path(f"models/{test.track}/teachers/{key}")
        recordings = Recordings(test.manifest, sample_rate=tuned.sample_rate)
        teacher, task = load(tuned, kind, folder)
        evaluated = items.in_language(test.evaluated, tuned.language)
        results.answers[name] = [teacher_answers(teacher, task, recordings, evaluated)]
        results.add(costs.teacher_costs(name, teacher, task, evaluated[0], params))
        if tuned.control:
            control, task = load(tuned, kind, folder / CONTROL, read("seed"))
            answers = teacher_answers(control, task, recordings, evaluated)
            results.answers[f"{name}_scratch"] = [answers]
    if by_language(teachers, test.track):
        names = list(teacher_models(teachers, test.track).values())
        every = [results.answers[name][0] for name in names]
        results.answers["teacher"] = [dict(chain.from_iterable(one.items() for one in every))]
        figures = ([of[name] for name in names] for of in (results.cost, results.latency))
        results.cost["teacher"], results.latency["teacher"] = costs.together(*figures)


def ask_students(test: Test, results: Results) -> None:
    """Add each recipe's students in float and as files, and the mean of several teachers."""
    track, models = test.track, Path(f"models/{test.track}")
    params, features = read(f"tracks.{track}.evaluate"), read(f"tracks.{track}.features")
    student, seeds = read(f"tracks.{track}.student"), read(f"tracks.{track}.distill").seeds
    task = TASKS[read(f"tracks.{track}.task")].of(text_of(student), test.items)
    devices = items.devices(test.evaluated, test.manifest)
    mel, named = Store(f"data/{track}/mel.parquet"), teacher_models(read("teachers"), track)
    for recipe in params.recipes:
        weights = models / f"students/{track}-{recipe}"
        onnx = models / f"onnx/{track}-{recipe}"
        floats = [weights / f"seed-{number}.safetensors" for number in range(seeds)]
        asked = (student, task, mel, test.evaluated, floats, devices)
        results.answers[recipe] = student_answers(*asked)
        for form in quantized(onnx):
            files = [onnx / f"seed-{number}.{form}.onnx" for number in range(seeds)]
            results.answers[f"{recipe}_{form}"] = file_answers(files, test.evaluated, test.manifest)
        bill = costs.student_costs(
            recipe, student, task, features, floats[0], onnx, test.items[0], params
        )
        results.add(bill)
        taught = check_taught(weights, models / "teachers")
        if len(taught) > 1 and not by_language(read("teachers"), track):
            of_each = [results.answers[named[key]][0] for key in taught]
            results.answers[f"{recipe}_teachers"] = [mean_of_logits(of_each)]


def ask_shipped(test: Test, results: Results) -> tuple[str, dict[str, Any]]:
    """Ask the first teacher, or those of all languages, and the student that ships under other
    conditions too, and write `robustness.json` and all answers; return that student's recipe and
    the first.
    """
    track, params, seed = test.track, read(f"tracks.{test.track}.evaluate"), read("seed")
    best, number = shipped(each_recipe(track, "validation.json"))
    onnx = Path(f"models/{track}/onnx/{track}-{best}/seed-{number}")
    files = {best: onnx.with_suffix(".float.onnx"), f"{best}_int8": onnx.with_suffix(".int8.onnx")}
    clean = {"teacher": results.answers["teacher"][0]}
    clean |= {name: results.answers[name][number] for name in files}
    teachers = read("teachers")
    named = teacher_models(teachers, track)
    loaded = []
    for key in named if by_language(teachers, track) else list(named)[:1]:
        folder = Path(f"models/{track}/teachers/{key}")
        teacher, task = load(teachers[key], read(f"tracks.{track}.task"), folder)
        ids = results.answers[named[key]][0].keys()
        loaded.append(robustness.LoadedTeacher(teacher, task, ids))
    scores = SCORES[read(f"tracks.{track}.task")]
    about = (test.items, test.manifest, params, seed)
    standing = robustness.measure(loaded, files, clean, *about, scores.standing)
    write_json(f"metrics/{track}/robustness.json", standing)
    answers = results.answers[f"{best}_int8"][number]
    scores.hand_in(Path(f"models/{track}"), test.items, test.manifest, results.answers, answers)
    return best, standing


def each_recipe(track: str, name: str) -> dict[str, Any]:
    """Return what the students' JSON file of this name holds, for each recipe that has one."""
    recipes: Sequence[str] = read(f"tracks.{track}.evaluate").recipes
    paths = {recipe: Path(f"models/{track}/students/{track}-{recipe}/{name}") for recipe in recipes}
    return {recipe: json.loads(path.read_text()) for recipe, path in paths.items() if path.exists()}


def curves(track: str) -> dict[str, Path]:
    """Return the folder of each model's learning curves."""
    folder = Path(f"plots/{track}/curves")
    recipes = read(f"tracks.{track}.evaluate").recipes
    teachers = teacher_models(read("teachers"), track)
    found = {recipe: folder / f"{track}-{recipe}" for recipe in recipes}
    return found | {name: folder / f"teacher-{key}" for key, name in teachers.items()}


def write_layers(test: Test, path: Path) -> None:
    """Write the layers of a track's student, and what each costs."""
    track, params = test.track, read(f"tracks.{test.track}.evaluate")
    student, features = read(f"tracks.{track}.student"), read(f"tracks.{track}.features")
    task = TASKS[read(f"tracks.{track}.task")].of(text_of(student), test.items)
    weights = Path(f"models/{track}/students/{track}-{params.recipes[0]}/seed-0.safetensors")
    costs.write_layers(path, student, task, features, weights, test.items[0], params)


if __name__ == "__main__":
    run(evaluate, "tracks")
