"""Distilling one student: in float, then with simulated 8-bit weights, the teacher's answers from
the cache alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from earshot.distillation.objective import Objective
from earshot.evaluation.metrics import Answers
from earshot.models import accelerator, fake_quant
from earshot.models.heads import ABSENT
from earshot.models.students import STUDENTS
from earshot.params import Augment, Distill, Recipe, Student
from earshot.tables.items import Item
from earshot.tables.sequences import Store
from earshot.teacher.cache import TeacherCache
from earshot.training.augment import augment_batch
from earshot.training.batches import Batch, Lesson, Loader, pad_frames
from earshot.training.loop import OnEpoch, accuracy, fit, predict

AS_IT_IS = Augment()
CALIBRATION = 8  # batches from which activation ranges are taken


@dataclass
class Distilled:
    """A student as trained, the forms of it that imitate int8 (`ptq`, `qat`), and how training
    went.

    `answers` are to the validation items, by the form to ship; `seconds` is what training took,
    `routing` as `Objective.routing`.
    """

    student: nn.Module
    answers: Answers = field(default_factory=dict)
    int8: dict[str, nn.Module] = field(default_factory=dict)
    seconds: float = 0.0
    routing: dict[str, Any] | None = None


def lesson(batch: Batch, cache: TeacherCache) -> Lesson:
    """Return what the teacher said about a batch, by item id and view."""
    said = [cache.said(item.id, view) for item, view in zip(batch.items, batch.views, strict=True)]
    logits = torch.full((len(batch.items), batch.choices), ABSENT)
    for row, one in enumerate(said):
        logits[row, : len(one["logits"])] = torch.from_numpy(one["logits"])
    hidden = torch.from_numpy(
        np.stack([one["hidden"].reshape(-1) for one in said]).astype(np.float32)
    )
    if "attention" not in said[0]:
        return Lesson(logits, hidden)
    first = {int(passage): row for row, passage in reversed(list(enumerate(batch.passage)))}
    frames = [cache.frames(batch.items[row], batch.views[row]) for _, row in sorted(first.items())]
    return Lesson(
        logits,
        hidden,
        torch.from_numpy(np.stack([one["layer_logits"] for one in said])),
        torch.from_numpy(np.stack([one["attention"] for one in said]).astype(np.float32)),
        pad_frames(frames),
        torch.tensor([len(own) for own in frames]),
    )


def with_lessons(
    batches: Iterator[Batch], cache: TeacherCache, augment: Augment = AS_IT_IS
) -> Iterator[Batch]:
    """Attach the teacher's lesson to batches, and change what the student hears as `augment` says."""
    for batch in batches:
        batch.lesson = lesson(batch, cache)
        batch.sequences = augment_batch(batch.sequences, batch.lengths, augment)
        yield batch


def mean_frame(cache: TeacherCache, items: Sequence[Item]) -> torch.Tensor:
    """Return the mean `(D,)` of the teacher's front-end frames over items, as first heard."""
    means = [cache.frames(item).astype(np.float32).mean(0) for item in items]
    return torch.from_numpy(np.mean(means, 0))


def distill(
    recipe: Recipe,
    student_params: Student,
    params: Distill,
    mel: Store,
    items: Sequence[Item],
    validation: Sequence[Item],
    cache: TeacherCache,
    seed: int,
    scratch: Path,
    on_epoch: OnEpoch,
) -> Distilled:
    """Train one student on `items` by `recipe`; each form of it is as of the epoch best on
    `validation`.

    Students of one seed start from the same weights whatever the recipe, so recipes can be compared
    in pairs.
    """
    torch.manual_seed(seed)
    student = STUDENTS[student_params.name](student_params, mel.width, len(items[0].options))
    read = getattr(student_params, "text", None)
    train = Loader(items, mel, read, params.batch, recipe.augment.views)
    held_out = Loader(validation, mel, read, 4 * params.batch)
    labelled = [item for item in items if item.role == "fewshot"] or items
    clean = Loader(labelled, mel, read, 4 * params.batch)
    example = next(with_lessons(iter(train), cache))
    front = recipe.terms.front
    mean = mean_frame(cache, labelled) if front and front.weight > 0 else None
    objective = Objective(recipe.terms, student, example, mean, len(train), seed)

    result = Distilled(student)

    def phase(
        model: nn.Module, name: str, begin: int, epochs: int, rate: float, schedule: str
    ) -> None:
        def batches(epoch: int) -> Iterator[Batch]:
            objective.epoch, objective.steps_before = begin + epoch, begin * len(train)
            if model is not student:
                # the last epoch adapts weights to settled ranges
                fake_quant.freeze(model, epoch == epochs - 1)
            if "layered" in objective.terms and objective.epoch >= objective.alone:
                objective.route(model, with_lessons(iter(clean), cache))
                model.train()
            mine = train.shuffled(seed, begin + epoch, accelerator.rank(), accelerator.processes())
            return with_lessons(mine, cache, recipe.augment)

        result.seconds += fit(
            model,
            batches,
            steps_per_epoch=len(train),
            epochs=epochs,
            objective=objective,
            validate=lambda model: accuracy(model, held_out),
            base_rate=rate,
            schedule=schedule,
            seed=seed,
            scratch=scratch / name,
            on_epoch=lambda epoch, scores: on_epoch(begin + epoch, scores),
            first=objective.alone if model is student else 0,
        )

    phase(student, "float", 0, recipe.epochs, params.learning_rate, params.schedule)
    shipped = student.eval()
    if "layered" in objective.terms:
        objective.route(student, with_lessons(iter(clean), cache))
        result.routing = objective.routing()
    if fake_quant.is_static(student):
        heard = [
            (batch.sequences, batch.lengths)
            for batch in islice(train.shuffled(seed, 0), CALIBRATION)
        ]
        shipped = result.int8["ptq"] = fake_quant.calibrate(fake_quant.prepare(student), heard)
        if recipe.qat:
            trained = fake_quant.calibrate(fake_quant.prepare(student), heard)
            phase(
                trained, "qat", recipe.epochs, recipe.qat.epochs, recipe.qat.learning_rate, "cosine"
            )
            shipped = result.int8["qat"] = trained.eval()
    result.answers = predict(shipped, held_out)
    return result
