"""Score teacher, students and int8 files on the test items; write metrics, costs, answers and
plots.
"""

import json
from pathlib import Path

import torch

from earshot.evaluation import SCORES, ask, metrics, plots
from earshot.features.recordings import Recordings
from earshot.runtime.files import write_json
from earshot.tables import answers, items
from earshot.tables.manifest import read_manifest
from earshot.tables.sequences import Store
from earshot.teacher import finetune

from declared import read, run


def evaluate(track: str) -> None:
    torch.set_num_threads(1)
    task, seed = SCORES[read(f"tracks.{track}.task")], read("seed")
    params, student, tuned = (
        read(f"tracks.{track}.{part}") for part in ("evaluate", "student", "teacher")
    )
    features, seeds = read(f"tracks.{track}.features"), range(read(f"tracks.{track}.distill").seeds)
    manifest, mel = (
        read_manifest(f"data/{track}/manifest.parquet"),
        Store(f"data/{track}/mel.parquet"),
    )
    table, models = f"data/{track}/items.parquet", Path(f"models/{track}")
    asked, training = (
        items.read(table, "test", "paper"),
        items.read(table, "teacher", "fewshot", "pool"),
    )
    test = [item for item in asked if item.role == "test"]
    minutes = {
        file.stem: json.loads(file.read_text())["train_minutes"]
        for file in Path(f"metrics/{track}/timing").glob("*")
    }

    recordings = Recordings(manifest)
    model = finetune.load(tuned, models / "teacher")
    said = {"teacher": [finetune.answers(model, recordings, asked, tuned.text)]}
    cost = {"teacher": ask.teacher_cost(model, tuned.text, test[0], minutes["teacher"], params)}
    if tuned.control:
        model = finetune.load(tuned, models / "teacher/scratch", seed)
        said["teacher_scratch"] = [finetune.answers(model, recordings, asked, tuned.text)]
    validation, routing = {}, {}
    for recipe in params.recipes:
        key = f"{track}-{recipe}"
        weights, onnx = models / f"students/{key}", models / f"onnx/{key}"
        floats = [weights / f"seed-{number}.safetensors" for number in seeds]
        said[recipe] = ask.student_answers(student, mel, asked, floats)
        for kind in ask.quantized(onnx):
            files = [onnx / f"seed-{number}.{kind}.onnx" for number in seeds]
            said[f"{recipe}_{kind}"] = ask.int8_answers(files, asked, manifest)
        cost |= ask.student_cost(
            recipe, student, features, floats[0], onnx, test[0], minutes[key], params
        )
        validation[recipe] = json.loads((weights / "validation.json").read_text())
        if (weights / "routing.json").exists():
            routing[recipe] = json.loads((weights / "routing.json").read_text())

    quality = task.quality(said, training, asked, manifest, params, seed)
    write_json(f"metrics/{track}/quality.json", quality)
    write_json(f"metrics/{track}/cost.json", cost)
    best, number = ask.shipped(validation)
    ask.write_answers(models / "answers.csv", test, manifest, said[f"{best}_int8"][number])
    answers.write(models / "answers.parquet", test, said)
    folder, live = Path(f"plots/{track}/test"), Path(f"plots/{track}/live")
    stacked = {name: metrics.stack(each, [item.id for item in test]) for name, each in said.items()}
    groups = task.device_groups(training, test, manifest)
    plots.draw_all(folder, quality, stacked, test, f"{best}_int8", live, track, groups, routing)
    ask.write_layers(
        folder / "layers.csv", student, features, floats[0], len(test[0].options), params
    )
    ask.check_limits(cost, params.limits)


if __name__ == "__main__":
    run(evaluate)
