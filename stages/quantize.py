"""Export a recipe's students, one ONNX file each, float and int8, and measure how well they agree."""

import json
import shutil
from pathlib import Path

from earshot.evaluation import ask
from earshot.export import int8, onnx_file
from earshot.models import fake_quant, students
from earshot.runtime.files import atomic, write_json
from earshot.tables import items
from earshot.tables.manifest import read_manifest

from declared import read, run


def quantize(recipe_key: str) -> None:
    track = read(f"recipes.{recipe_key}.track")
    student, features, params = (
        read(f"tracks.{track}.{part}") for part in ("student", "features", "quantize")
    )
    weights, out = (
        Path(f"models/{track}/students/{recipe_key}"),
        Path(f"models/{track}/onnx/{recipe_key}"),
    )
    validation = json.loads((weights / "validation.json").read_text())
    held_out = items.read(f"data/{track}/items.parquet", "validation")[: params.agreement_items]
    text, labels, agreements = ask.read_text(student), held_out[0].options, []
    clips = ask.clips(
        held_out, read_manifest(f"data/{track}/manifest.parquet"), features, text and text.buckets
    )
    # then the merely calibrated form is kept to compare
    qat = (weights / "seed-0.qat.safetensors").exists()
    forms = {"int8": "qat", "ptq": "ptq"} if qat else {"int8": "ptq"}
    for seed in validation:
        named, simulated = {"track": track, "recipe": recipe_key, "seed": seed}, {}
        model = students.load_student(
            student, features.n_mels, len(labels), weights / f"{seed}.safetensors"
        )
        in_float, in_int8 = out / f"{seed}.float.onnx", out / f"{seed}.int8.onnx"
        onnx_file.export(model, features, student, in_float, named, labels)
        if not fake_quant.is_static(model):
            int8.quantize(in_float, in_int8)
        for kind, form in forms.items() if fake_quant.is_static(model) else ():
            file = weights / f"{seed}.{form}.safetensors"
            simulated[kind] = fake_quant.load(student, features.n_mels, len(labels), file)
            onnx_file.export(
                simulated[kind], features, student, out / f"{seed}.{kind}.onnx", named, labels
            )
        operators = int8.check(in_int8)
        agreements.append(
            int8.agreement(model, features, in_float, in_int8, clips, simulated.get("int8"))
        )
    for kind in ("float", "int8"):
        # the one to ship: chosen on validation items
        with atomic(out / f"student.{kind}.onnx") as partial:
            shutil.copyfile(out / f"{max(validation, key=validation.get)}.{kind}.onnx", partial)
    report = {key: sum(one[key] for one in agreements) / len(agreements) for key in agreements[0]}
    write_json(
        f"metrics/{track}/quantize/{recipe_key}.json",
        {"agreement": report, "int8_operators": operators},
    )


if __name__ == "__main__":
    run(quantize)
