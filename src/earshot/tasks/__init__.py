"""Tasks: from items to a model's inputs, and from its outputs to answers, one class each."""

from earshot.tasks.choice import Choice
from earshot.tasks.classes import Classes
from earshot.tasks.task import Task
from earshot.tasks.transcript import Transcript

TASKS: dict[str, type[Task]] = {
    "choice": Choice,
    "classes": Classes,
    "transcript": Transcript,
}
