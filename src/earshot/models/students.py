"""The students there are, by the name their section of the parameters has."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from earshot.models import checkpoint
from earshot.models.bilstm import BiLSTMStudent
from earshot.models.conformer import ConformerStudent
from earshot.models.convnext import ConvNeXtStudent
from earshot.models.cp_mobile import CPMobileStudent
from earshot.models.mobilenet import MobileNetStudent
from earshot.params import Prune, Student, text_of
from earshot.tasks.task import Task

_TEACHER = "network."  # before the names of a teacher's tensors
_log = logging.getLogger(__name__)

STUDENTS: dict[str, Callable[[Any, int, Task], nn.Module]] = {
    "bilstm": BiLSTMStudent,
    "mobilenet": MobileNetStudent,
    "cp_mobile": CPMobileStudent,
    "conformer": ConformerStudent,
    "convnext": ConvNeXtStudent,
}


def metadata(params: Student, prune: Prune | None = None) -> dict[str, str]:
    """Return what a student's file says beside its weights: how it was taught to read texts, and
    the share of its units that was taken out.
    """
    text = text_of(params)
    described = {"text_version": str(text.version)} if text else {}
    return described | ({"pruned": str(prune.share)} if prune else {})


def as_pruned(params: Student, weights: Path) -> Student:
    """Return the parameters of the student in a file: those of its track, or smaller."""
    share = checkpoint.read_metadata(weights).get("pruned")
    return params.pruned(float(share)) if share else params


def shifting(student: nn.Module) -> nn.Module:
    """Freeze all of a student but its norms, biases and head; return it."""
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(parameter.ndim == 1 or name.startswith("head."))
    return student


def begin_with(student: nn.Module, path: Path) -> None:
    """Copy a network's tensors into a student where it has one of that name and shape; WeightsError
    where the file is not there, or none fits.

    Networks that teach are saved as `network` (`teacher.network`).
    """
    if not path.is_file():
        raise checkpoint.WeightsError(f"{path}: no such file; distill.start names it")
    weights = checkpoint.load_weights(path)
    given = {name.removeprefix(_TEACHER): tensor for name, tensor in weights.items()}
    own = student.state_dict()
    fitting = {
        name: given[name]
        for name, tensor in own.items()
        if name in given and given[name].shape == tensor.shape
    }
    if not fitting:
        raise checkpoint.WeightsError(f"{path}: distill.start has no tensor that fits the student")
    student.load_state_dict(own | fitting)
    _log.info("%s: students begin with %d of its %d tensors", path, len(fitting), len(given))


def load_student(params: Student, n_mels: int, task: Task, weights: Path) -> nn.Module:
    """Return a distilled student, ready to answer.

    WeightsError names a file that is damaged, or of a student that was taught another version of
    the text encoder.
    """
    text = text_of(params)
    # files from before there were versions have the first
    taught = checkpoint.read_metadata(weights).get("text_version", "1")
    if text and taught != str(text.version):
        reads = f"a student that reads texts by version {taught}, where params.yaml has"
        remedy = f"distil it again, or write student.text.version: {taught}"
        raise checkpoint.WeightsError(f"{weights}: {reads} text.version={text.version}; {remedy}")
    student = STUDENTS[params.name](as_pruned(params, weights), n_mels, task)
    student.load_state_dict(checkpoint.load_weights(weights))
    return student.eval()
