"""What teachers and students cost: weights, multiply-accumulates, bytes, latency."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from earshot import predict
from earshot.evaluation import counters
from earshot.export import size
from earshot.models.ctc import CTCHead
from earshot.models.heads import encode
from earshot.models.students import load_student
from earshot.params import Evaluate, Features, Limits, Student
from earshot.runtime.files import atomic
from earshot.tables.devices import beside
from earshot.tables.items import Item
from earshot.tasks.task import Task
from earshot.teacher import ask
from earshot.teacher.kinds import AnyTeacher

Cost = dict[str, int]
Latency = dict[str, float]


class LimitError(ValueError):
    """A student larger or slower than the device allows; the message names it."""


class Bill(NamedTuple):
    """Costs by model, the same at every run, and latencies by model, which are not."""

    cost: dict[str, Cost]
    latency: dict[str, Latency]


def student_costs(
    recipe: str,
    params: Student,
    task: Task,
    features: Features,
    weights: Path,
    onnx: Path,
    item: Item,
    settings: Evaluate,
) -> Bill:
    """Return what a recipe's student costs in float, and its int8 file.

    MACs and latency are of one clip of `settings.reference_seconds` and the answer to `item`.
    Where a clip needs nothing but the audio, and wherever there are limits, the int8 file's
    parameters are counted as they are stored. Models of single devices, which have the same size,
    add to the bytes alone: one at a time is at work.
    """
    student = load_student(params, features.n_mels, task, weights)
    frames = reference_frames(features, settings.reference_seconds)
    macs = counters.macs(_once_a_clip(student, task, item), *frames)
    names = {"float": recipe, "int8": f"{recipe}_int8"}
    files = {name: onnx / f"student.{kind}.onnx" for kind, name in names.items()}
    cost = {
        name: {"bytes": sum(map(size.file_bytes, [file, *beside(file).values()]))}
        for name, file in files.items()
    }
    cost[names["float"]] |= {"parameters": counters.parameters(student), "macs": macs}
    if settings.limits or not task.inputs([item]):
        count, stored = size.network_parameters(files[names["int8"]])
        cost[names["int8"]] |= {"parameters": count, "parameter_bytes": stored, "macs": macs}
    latency = file_latencies(list(files.values()), item, settings)
    return Bill(cost, dict(zip(files, latency, strict=True)))


def _once_a_clip(student: nn.Module, task: Task, item: Item) -> Callable[..., torch.Tensor]:
    """Return what is run once a clip: all of a student, or what comes before a question is read."""
    if task.inputs([item]):
        return student.pool
    if isinstance(student.head, CTCHead):
        clip = torch.zeros(1, dtype=torch.long)
        return lambda frames, lengths: student.head(
            encode(student, frames, lengths, clip).layers[-1]
        )
    return lambda frames, lengths: student.head(student.pool(frames, lengths))


def write_layers(
    path: Path,
    params: Student,
    task: Task,
    features: Features,
    weights: Path,
    item: Item,
    settings: Evaluate,
) -> None:
    """Write a row per layer of a float student: name, kind, output shape, parameters and MACs."""
    student = load_student(params, features.n_mels, task, weights)
    frames = reference_frames(features, settings.reference_seconds)
    rows = counters.layers(student, *frames, call=_once_a_clip(student, task, item))
    table = pd.DataFrame(rows)
    table["output"] = ["×".join(map(str, shape)) for shape in table["output"]]
    with atomic(path) as partial_file:
        table.to_csv(partial_file, index=False, lineterminator="\n")


def reference_frames(features: Features, seconds: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mel frames `(1, T, n_mels)` of a silent clip so long, and T `(1,)`."""
    count = 1 + int(seconds * features.sample_rate) // features.hop_length
    return torch.zeros(1, count, features.n_mels), torch.tensor([count])


def file_latencies(files: Sequence[Path], item: Item, settings: Evaluate) -> list[Latency]:
    """Return the latency of each file on one thread: the answer to `item` on a reference clip."""
    students = [predict.load(file) for file in files]
    samples = _noise(settings.reference_seconds, students[0].sample_rate)
    inputs = students[0].inputs([item])
    calls = [partial(student.logits, samples, *inputs) for student in students]
    return _timed(calls, settings.latency_clips)


def teacher_costs(
    name: str, teacher: AnyTeacher, task: Task, item: Item, settings: Evaluate
) -> Bill:
    """Return parameters, MACs and bytes (float32) of the teacher, and its latency.

    MACs and latency are of one answer, `respond` of `ask.WAYS`, to `settings.reference_seconds`.
    """
    samples = _noise(settings.reference_seconds, teacher.sample_rate)

    @torch.inference_mode()
    def respond() -> None:
        ask.WAYS[teacher.output].respond(teacher, task, samples, item)

    count = counters.parameters(teacher)
    cost = {"parameters": count, "macs": counters.macs(respond), "bytes": 4 * count}
    (latency,) = _timed([respond], settings.latency_clips)
    return Bill({name: cost}, {name: latency})


def together(costs: Sequence[Cost], latencies: Sequence[Latency]) -> tuple[Cost, Latency]:
    """Return what teachers of one language each cost together: the parameters and bytes of all, and
    of a clip, which one alone answers, the MACs and latency of the slowest.
    """
    cost = {name: sum(one[name] for one in costs) for name in ("parameters", "bytes")}
    cost["macs"] = max(one["macs"] for one in costs)
    return cost, max(latencies, key=lambda one: one["latency_median_ms"])


def check_limits(cost: dict[str, Cost], limits: Limits | None) -> None:
    """Raise LimitError naming model, limit and figure where a quantized network exceeds a limit."""
    for name, limit in limits or ():
        for model, figures in cost.items():
            if "parameter_bytes" in figures and figures[name] > limit:
                raise LimitError(
                    f"{model}: {name}={figures[name]:,} is above evaluate.limits.{name}={limit:,}"
                )


def _timed(calls: Sequence[Callable[[], Any]], clips: int) -> list[Latency]:
    """Return the latencies of answering one reference clip on this thread."""
    spent = counters.latency(calls, clips)
    return [{f"latency_{name}": value for name, value in one.items()} for one in spent]


def _noise(seconds: float, sample_rate: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, int(seconds * sample_rate)).astype(np.float32)
