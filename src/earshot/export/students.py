"""A recipe's trained students as files: float and int8, checked, and the one to ship chosen."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from earshot.export import int8, onnx_file
from earshot.export.agreement import Clip, agreement
from earshot.models import fake_quant
from earshot.models.students import as_pruned, load_student
from earshot.params import Features, Student
from earshot.runtime.files import atomic
from earshot.tables import devices
from earshot.tasks.task import Task


class Exporter:
    """Writes the files of one recipe's students from `weights` to `out`, and compares their forms.

    A student that was trained with simulated int8 ships so, and its merely calibrated form is kept
    to compare. Recurrent students are quantized from their float file.
    """

    def __init__(
        self,
        params: Student,
        features: Features,
        task: Task,
        weights: Path,
        out: Path,
        named: dict[str, str],
        clips: Sequence[Clip],
    ):
        self.params, self.features, self.task = params, features, task
        self.weights, self.out, self.named, self.clips = weights, out, named, clips

    def models(self, seed: str) -> list[str]:
        """Return what the models of `seed-…` are called: the general one, then those of devices."""
        known = devices.beside(self.weights / f"{seed}.safetensors")
        return [seed, *(f"{seed}{devices.suffix(device)}" for device in known)]

    def export(self, model: str) -> dict[str, Any]:
        """Write the files of a model; return their `agreement` and the int8 file's operators."""
        n_mels, weights = self.features.n_mels, self.weights / f"{model}.safetensors"
        student = load_student(self.params, n_mels, self.task, weights)
        in_float, in_int8 = self.out / f"{model}.float.onnx", self.out / f"{model}.int8.onnx"
        self._write(student, in_float, model, as_pruned(self.params, weights))
        simulated = None
        if fake_quant.is_static(student):
            simulated = self._write_simulated(model)
        else:
            int8.quantize(in_float, in_int8)
        operators = int8.check(in_int8)
        compared = agreement(student, self.features, in_float, in_int8, self.clips, simulated)
        return {"agreement": compared, "int8_operators": operators}

    def _write_simulated(self, model: str) -> fake_quant.ConvStudent:
        """Write the int8 forms of a convolutional student; return the one that ships."""
        forms = {"int8": "ptq"}
        if (self.weights / f"{model}.qat.safetensors").exists():
            forms = {"int8": "qat", "ptq": "ptq"}
        simulated = {}
        for kind, form in forms.items():
            file = self.weights / f"{model}.{form}.safetensors"
            simulated[kind] = fake_quant.load(self.params, self.features.n_mels, self.task, file)
            self._write(simulated[kind], self.out / f"{model}.{kind}.onnx", model, self.params)
        return simulated["int8"]

    def _write(self, student: Any, path: Path, model: str, params: Student) -> None:
        seed, _, device = model.partition(devices.MARK)
        named = self.named | {"seed": seed} | ({"device": device} if device else {})
        onnx_file.export(student, self.features, params, path, named, self.task.labels)

    def ship(self, seed: str) -> None:
        """Copy the files of the chosen seed to `student.float.onnx` and `student.int8.onnx`, and so
        its models of devices.
        """
        for model in self.models(seed):
            name = model.replace(seed, "student", 1)
            for kind in ("float", "int8"):
                with atomic(self.out / f"{name}.{kind}.onnx") as partial:
                    shutil.copyfile(self.out / f"{model}.{kind}.onnx", partial)


def mean_agreement(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean agreement over several students, and the operators, alike in all of them."""
    names = reports[0]["agreement"]
    means = {
        name: sum(report["agreement"][name] for report in reports) / len(reports) for name in names
    }
    return {"agreement": means, "int8_operators": reports[-1]["int8_operators"]}
