"""The kinds of teachers there are, by the key that only their section of the parameters has, and
checkpoints by what they say that they are.

Encoders and networks answer alike: `lower` makes of samples what is stored, `encode` and `head` of
that an answer. A recogniser that writes token by token only transcribes where it is taken as it is;
tuned, it is an encoder. Which way a teacher answers is its `output` (`ask.WAYS`).
"""

from torch import nn

from earshot.params import AnyTeacher as TeacherParams
from earshot.tasks.task import Task
from earshot.teacher import hub
from earshot.teacher.network import MelTeacher
from earshot.teacher.wav2vec2 import Teacher, checkpoint_folder
from earshot.teacher.whisper import Whisper

AnyTeacher = Teacher | MelTeacher | Whisper
KINDS: dict[str, type[nn.Module]] = {"checkpoint": Teacher, "network": MelTeacher}


def build(params: TeacherParams, task: Task, scratch: int | None = None) -> AnyTeacher:
    """Return the teacher that `params` describe, before it is tuned.

    With `scratch`, the seed of random weights, it is the control that was not pretrained.
    CheckpointError where a checkpoint cannot be had or cannot serve.
    """
    (key,) = KINDS.keys() & type(params).model_fields.keys()
    if key == "checkpoint":
        folder = checkpoint_folder(params.checkpoint, params.revision, params.cache)
        if hub.family(folder) in hub.WRITERS and not params.epochs:
            return Whisper(params, task, scratch)
    return KINDS[key](params, task, scratch)
