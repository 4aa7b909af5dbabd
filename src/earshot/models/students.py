"""The students there are, by the name their section of the parameters has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from earshot.models import checkpoint
from earshot.models.bilstm import BiLSTMStudent
from earshot.models.cp_mobile import CPMobileStudent
from earshot.models.mobilenet import MobileNetStudent
from earshot.params import Student
from earshot.tasks.task import Task

STUDENTS: dict[str, Callable[[Any, int, Task], nn.Module]] = {
    "bilstm": BiLSTMStudent,
    "mobilenet": MobileNetStudent,
    "cp_mobile": CPMobileStudent,
}


def load_student(params: Student, n_mels: int, task: Task, weights: Path) -> nn.Module:
    """Return a distilled student, ready to answer."""
    student = STUDENTS[params.name](params, n_mels, task)
    student.load_state_dict(checkpoint.load_weights(weights))
    return student.eval()
