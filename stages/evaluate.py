"""Score teacher, students and int8 files on the test items; write metrics, costs and plots."""

from declared import only_teacher, read, run  # isort: skip

import json
import logging
from pathlib import Path
from typing import Any

import torch

from earshot.evaluation import costs, robustness
from earshot.evaluation.ask import file_answers, quantized, shipped, student_answers
from earshot.evaluation.kinds import SCORES
from earshot.features.recordings import Recordings
from earshot.params import text_of
from earshot.runtime.files import write_json
from earshot.tables import items
from earshot.tables.manifest import read_manifest
from earshot.tables.sequences import Store
from earshot.tasks import TASKS
from earshot.teacher.ask import answers as teacher_answers
from earshot.teacher.saved import load
from earshot.teacher.tune import CONTROL


def evaluate(track: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    kind, seed = read(f"tracks.{track}.task"), read("seed")
    params, features = read(f"tracks.{track}.evaluate"), read(f"tracks.{track}.features")
    student, seeds = read(f"tracks.{track}.student"), read(f"tracks.{track}.distill").seeds
    table, models = f"data/{track}/items.parquet", Path(f"models/{track}")
    manifest, mel = (
        read_manifest(f"data/{track}/manifest.parquet"),
        Store(f"data/{track}/mel.parquet"),
    )
    asked, training = (
        items.read(table, "test", "paper"),
        items.read(table, "teacher", "fewshot", "pool"),
    )
    test = [item for item in asked if item.role == "test"]

    key = only_teacher(track)
    tuned, folder = read(f"teachers.{key}"), models / f"teachers/{key}"
    recordings = Recordings(manifest)
    teacher, task = listener = load(tuned, kind, folder)
    answers = {"teacher": [teacher_answers(teacher, task, recordings, asked)]}
    cost, latency = costs.teacher_costs("teacher", teacher, task, test[0], params)
    if tuned.control:
        control, task = load(tuned, kind, folder / CONTROL, seed)
        answers["teacher_scratch"] = [teacher_answers(control, task, recordings, asked)]

    task = TASKS[kind].of(text_of(student), test)
    validation, routing = {}, {}
    for recipe in params.recipes:
        weights = models / f"students/{track}-{recipe}"
        onnx = models / f"onnx/{track}-{recipe}"
        floats = [weights / f"seed-{number}.safetensors" for number in range(seeds)]
        answers[recipe] = student_answers(student, task, mel, asked, floats)
        for form in quantized(onnx):
            files = [onnx / f"seed-{number}.{form}.onnx" for number in range(seeds)]
            answers[f"{recipe}_{form}"] = file_answers(files, asked, manifest)
        bill = costs.student_costs(
            recipe, student, task, features, floats[0], onnx, test[0], params
        )
        cost, latency = cost | bill.cost, latency | bill.latency
        validation[recipe] = json.loads((weights / "validation.json").read_text())
        if (weights / "routing.json").exists():
            routing[recipe] = json.loads((weights / "routing.json").read_text())

    scores = SCORES[kind]
    quality = scores.quality(answers, training, asked, manifest, params, seed)
    write_json(f"metrics/{track}/quality.json", quality)
    write_json(f"metrics/{track}/cost.json", cost)
    best, number = shipped(validation)
    of_best = answers[f"{best}_int8"][number]
    onnx = models / f"onnx/{track}-{best}/seed-{number}"
    files = {best: onnx.with_suffix(".float.onnx"), f"{best}_int8": onnx.with_suffix(".int8.onnx")}
    clean = {"teacher": answers["teacher"][0]} | {name: answers[name][number] for name in files}
    asked_again = (listener, files, clean, test, manifest, params, seed)
    standing = robustness.measure(*asked_again, scores.standing)
    write_json(f"metrics/{track}/robustness.json", standing)
    scores.hand_in(models, test, manifest, answers, of_best)
    plotted = Path(f"plots/{track}/test")
    for line in scores.doubts(answers, test):
        logging.warning("evaluate@%s: %s", track, line)
    groups = scores.device_groups(training, test, manifest)
    learnt = Path(f"plots/{track}/curves")
    curves = {recipe: learnt / f"{track}-{recipe}" for recipe in params.recipes}
    curves["teacher"] = learnt / f"teacher-{key}"
    scores.draw(plotted, quality, answers, test, f"{best}_int8", curves, groups, routing, standing)
    first = models / f"students/{track}-{params.recipes[0]}/seed-0.safetensors"
    costs.write_layers(plotted / "layers.csv", student, task, features, first, test[0], params)
    costs.check_limits(cost, params.limits)
    return {"latency": latency}


if __name__ == "__main__":
    run(evaluate, "tracks")
