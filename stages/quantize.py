"""Export a recipe's students, one ONNX file each, float and int8, and measure how well they agree."""

import json
import shutil
from pathlib import Path

from earshot import evaluation, export, items, quantization
from earshot.corpora import read_manifest
from earshot.files import atomic, write_json

from declared import read, run


def quantize(recipe_key: str) -> None:
    track = read(f"recipes.{recipe_key}.track")
    student, features, params = (read(f"tracks.{track}.{part}") for part in ("student", "features", "quantize"))
    weights, out = Path(f"models/{track}/students/{recipe_key}"), Path(f"models/{track}/onnx/{recipe_key}")
    validation = json.loads((weights / "validation.json").read_text())
    held_out = items.read(f"data/{track}/items.parquet", "validation")[: params.agreement_items]
    clips = evaluation.clips(held_out, read_manifest(f"data/{track}/manifest.parquet"), features, student.text.buckets)
    agreements = []
    for seed in validation:
        model = evaluation.load_student(student, features.n_mels, weights / f"{seed}.safetensors")
        in_float, in_int8 = out / f"{seed}.float.onnx", out / f"{seed}.int8.onnx"
        export.export(model, features, student, in_float, {"track": track, "recipe": recipe_key, "seed": seed})
        operators = quantization.quantize(in_float, in_int8)
        agreements.append(quantization.agreement(model, features, in_float, in_int8, clips))
    best = max(validation, key=validation.get)  # the one to ship: chosen on validation items
    for kind in ("float", "int8"):
        with atomic(out / f"student.{kind}.onnx") as partial:
            shutil.copyfile(out / f"{best}.{kind}.onnx", partial)
    report = {key: sum(one[key] for one in agreements) / len(agreements) for key in agreements[0]}
    write_json(f"metrics/{track}/quantize/{recipe_key}.json", {"agreement": report, "int8_operators": operators})


if __name__ == "__main__":
    run(quantize)
