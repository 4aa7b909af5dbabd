"""Score teacher, students and int8 files on the test items; write metrics, costs and plots."""

import json
from pathlib import Path

import numpy as np
import torch

from earshot import evaluation, items, plots, teacher
from earshot.corpora import read_manifest
from earshot.files import write_json
from earshot.store import Store

from declared import read, run


def evaluate(track: str) -> None:
    torch.set_num_threads(1)
    params, student, tuned = (read(f"tracks.{track}.{part}") for part in ("evaluate", "student", "teacher"))
    features, seeds = read(f"tracks.{track}.features"), range(read(f"tracks.{track}.distill").seeds)
    manifest, mel = read_manifest(f"data/{track}/manifest.parquet"), Store(f"data/{track}/mel.parquet")
    table, models = f"data/{track}/items.parquet", Path(f"models/{track}")
    asked, training = items.read(table, "test", "paper"), items.read(table, "teacher", "fewshot")
    minutes = {
        path.stem: json.loads(path.read_text())["train_minutes"] for path in Path(f"metrics/{track}/timing").glob("*")
    }

    model = teacher.load(tuned, models / "teacher")
    answers = {"teacher": [teacher.answers(model, manifest, asked, tuned.text.buckets)]}
    example = next(item for item in asked if item.role == "test")
    cost = {"teacher": evaluation.teacher_cost(model, tuned.text.buckets, example, minutes["teacher"], params.latency_clips)}
    for recipe in params.recipes:
        key = f"{track}-{recipe}"
        weights = [models / f"students/{key}/seed-{seed}.safetensors" for seed in seeds]
        files = [models / f"onnx/{key}/seed-{seed}.int8.onnx" for seed in seeds]
        answers[recipe] = evaluation.student_answers(student, mel, asked, weights)
        answers[f"{recipe}_int8"] = evaluation.int8_answers(files, asked, manifest)
        both = [models / f"onnx/{key}/student.{kind}.onnx" for kind in ("float", "int8")]
        costs = evaluation.student_cost(student, features, weights[0], *both, example, minutes[key], params.latency_clips)
        cost |= {recipe: costs["float"], f"{recipe}_int8": costs["int8"]}

    quality = evaluation.quality(answers, training, asked, params, read("seed"))
    write_json(f"metrics/{track}/quality.json", quality)
    write_json(f"metrics/{track}/cost.json", cost)
    test = [item for item in asked if item.role == "test"]
    stacked = {name: evaluation.stack(each, test) for name, each in answers.items()}
    live, right = Path(f"plots/{track}/live"), np.array([item.answer for item in test])
    plots.draw_all(Path(f"plots/{track}"), quality, stacked, right, live, track)


if __name__ == "__main__":
    run(evaluate)
