"""A teacher from its checkpoint to what is saved of it: frozen states, top layers, auxiliary
heads.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import torch

from earshot.features.recordings import Recordings
from earshot.models import accelerator
from earshot.params import AnyTeacher as TeacherParams
from earshot.tables.items import Item
from earshot.tasks import TASKS
from earshot.teacher import ask, saved
from earshot.teacher.auxiliary import fit_auxiliary
from earshot.teacher.finetune import fine_tune
from earshot.teacher.frozen import store_states
from earshot.teacher.kinds import build
from earshot.teacher.languages import alphabet_of, writable
from earshot.training.loop import OnEpoch

CONTROL = "scratch"  # folder of the control that began with random weights


def tune(
    params: TeacherParams,
    kind: str,
    recordings: Recordings,
    training: Sequence[Item],
    validation: Sequence[Item],
    seed: int,
    scratch: Path,
    folder: Path,
    on_epoch: OnEpoch,
) -> float:
    """Write the tuned teacher to `folder`, and its control beside it; return the seconds of tuning.

    `kind` is the task's name in `TASKS`. A killed run goes on from `scratch`.
    """
    examples = training if params.epochs else [*training, *validation]
    task = TASKS[kind].of(params.text, examples)
    if params.language is not None:
        task = TASKS[kind](params.text, alphabet_of(params, [*training, *validation]))
        training, validation = writable(training, task), writable(validation, task)

    def train(random: int | None, out: Path, log: OnEpoch) -> float:
        torch.manual_seed(seed)
        teacher = build(params, task, random)
        seconds = 0.0
        if params.epochs:
            unfinished = scratch / sha256(teacher.frozen_hash().encode()).hexdigest()[:16]
            states = store_states(
                teacher, recordings, [*training, *validation], unfinished / "lower.parquet"
            )
            seconds = fine_tune(
                teacher, task, params, states, training, validation, seed, unfinished, log
            )
        else:  # what it is worth is logged all the same
            score = ask.score(teacher, task, recordings, validation)
            log(0, {"validation": score.value, "validation_loss": score.loss})
        if params.auxiliary:
            fit_auxiliary(teacher, task, recordings, training)
        if accelerator.is_main():
            saved.save(teacher, task, params, out)
        return seconds

    def silent(epoch: int, scores: dict[str, float]) -> None:
        """Only the first process, and only of the teacher itself, logs."""

    seconds = train(None, folder, on_epoch if accelerator.is_main() else silent)
    if params.control:
        train(seed, folder / CONTROL, silent)
    accelerator.wait()
    return seconds
