"""A teacher on disk: what fine-tuning changed, and the identity of all of it."""

import json
from pathlib import Path

from earshot.models import checkpoint
from earshot.params import AnyTeacher as TeacherParams
from earshot.runtime.files import sha256, write_json
from earshot.tasks import TASKS
from earshot.tasks.task import Task
from earshot.teacher.kinds import AnyTeacher, build
from earshot.teacher.wav2vec2 import CheckpointError


def save(teacher: AnyTeacher, task: Task, params: TeacherParams, folder: Path) -> None:
    """Write what fine-tuning changed (safetensors), and hashes of that and of the checkpoint."""
    tuned = folder / "tuned.safetensors"
    checkpoint.save_weights(tuned, teacher.tuned_state())
    identity = {
        **teacher.source,
        "frozen_sha256": teacher.frozen_hash(),
        "tuned_sha256": sha256(tuned),
        "width": teacher.width,
        "labels": list(task.labels),
    }
    if params.language:
        identity["language"] = params.language
    if params.text:
        identity["text_version"] = params.text.version
    write_json(folder / "identity.json", identity)


def load(
    params: TeacherParams, kind: str, folder: Path, scratch: int | None = None
) -> tuple[AnyTeacher, Task]:
    """Return the teacher that `save` wrote, ready to answer, and its task, of this kind in `TASKS`.

    `scratch` is the seed of a control that began with random weights. CheckpointError when the
    checkpoint is not the one that was tuned.
    """
    identity = json.loads((folder / "identity.json").read_text())
    # a teacher reads as it was tuned; files from before there were versions have the first
    known = {"version": identity.get("text_version", 1)}
    task = TASKS[kind](params.text and params.text.model_copy(update=known), identity["labels"])
    teacher = build(params, task, scratch)
    if identity["frozen_sha256"] != teacher.frozen_hash():
        named = " and ".join(params.starts) or "a network at random"
        raise CheckpointError(f"{named}: not the checkpoint or network that {folder} was tuned on")
    tuned = checkpoint.load_weights(folder / "tuned.safetensors")
    teacher.load_state_dict(tuned, strict=False)
    return teacher.eval(), task
