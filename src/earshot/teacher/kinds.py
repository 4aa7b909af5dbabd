"""The kinds of teachers there are, by the key that only their section of the parameters has.

All answer alike: `lower` makes of samples what is stored, `encode` and `head` of that an answer.
"""

from torch import nn

from earshot.models.wav2vec2 import Teacher
from earshot.params import AnyTeacher as TeacherParams
from earshot.tasks.task import Task
from earshot.teacher.network import MelTeacher

AnyTeacher = Teacher | MelTeacher
KINDS: dict[str, type[nn.Module]] = {"checkpoint": Teacher, "network": MelTeacher}


def build(params: TeacherParams, task: Task, scratch: int | None = None) -> AnyTeacher:
    """Return the teacher that `params` describe, before it is tuned.

    With `scratch`, the seed of random weights, it is the control that was not pretrained.
    """
    (key,) = KINDS.keys() & type(params).model_fields.keys()
    return KINDS[key](params, task, scratch)
