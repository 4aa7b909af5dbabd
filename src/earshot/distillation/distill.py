"""Distilling one student: in float, then with simulated 8-bit weights, from the cache alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from earshot.distillation.lessons import mean_frame, with_lessons
from earshot.distillation.objective import Objective, needed
from earshot.distillation.terms import Setting
from earshot.models import accelerator, fake_quant
from earshot.models.students import STUDENTS
from earshot.params import Distill, Recipe, Student
from earshot.tables.items import Item
from earshot.tables.sequences import Store
from earshot.tables.signals import Signals
from earshot.tasks.task import Task
from earshot.training.batches import Batch, Loader
from earshot.training.loop import OnEpoch, Trainer, predict, validate

CALIBRATION = 8  # batches from which activation ranges are taken


@dataclass
class Distilled:
    """A student as trained, the forms of it that imitate int8 (`ptq`, `qat`), and how it went.

    `answers` are to the validation items, by the form to ship; `seconds` is what training took,
    `routing` as `Layered.chosen`.
    """

    student: nn.Module | None
    answers: dict[str, Any] = field(default_factory=dict)
    int8: dict[str, nn.Module] = field(default_factory=dict)
    seconds: float = 0.0
    routing: dict[str, Any] | None = None

    def models(self) -> dict[str, nn.Module]:
        """Return every form, by what its file is called behind the seed."""
        return {"": self.student, **{f".{form}": model for form, model in self.int8.items()}}

    def without_models(self) -> "Distilled":
        """Return the rest of it, light enough to be handed to another process."""
        return replace(self, student=None, int8={})


class Distillation:
    """The training of one student on `items` by a recipe.

    Students of one seed start from the same weights whatever the recipe, so recipes can be compared
    in pairs.
    """

    def __init__(
        self,
        recipe: Recipe,
        student: Student,
        params: Distill,
        task: Task,
        mel: Store,
        items: Sequence[Item],
        validation: Sequence[Item],
        signals: Signals,
        seed: int,
        scratch: Path,
        on_epoch: OnEpoch,
    ):
        self.recipe, self.params, self.task, self.signals = recipe, params, task, signals
        self.seed, self.scratch, self.on_epoch = seed, scratch, on_epoch
        torch.manual_seed(seed)
        self.student = STUDENTS[student.name](student, mel.width, task)
        labelled = [item for item in items if item.role == "fewshot"] or items
        self.train = Loader(items, mel, task, params.batch, recipe.augment.views)
        self.held_out = Loader(validation, mel, task, 4 * params.batch)
        self.labelled = Loader(labelled, mel, task, 4 * params.batch)
        self.names = needed(recipe.terms)
        self.objective = self._objective(labelled)

    def _objective(self, labelled: Sequence[Item]) -> Objective:
        example = next(with_lessons(iter(self.train), self.signals, self.names))
        with torch.no_grad():
            _, layers = self.student.eval().encode(example.sequences, example.lengths)
        mean = mean_frame(self.signals, labelled) if "front" in self.names else None
        widths = [layer.shape[-1] for layer in layers]
        kept = self.signals.settings.get("layers", ())
        setting = Setting(self.task, self.student, example, widths, mean, self.seed, kept)
        return Objective(self.recipe.terms, setting, len(self.train))

    def fit(
        self,
        model: nn.Module,
        phase: str,
        begin: int,
        epochs: int,
        learning_rate: float,
        schedule: str,
        first: int = 0,
    ) -> float:
        """Train a model for `epochs` after `begin` ones; return the seconds it took.

        Epochs before `first` do not compete for the best.
        """
        trainer = Trainer(
            model,
            self.task,
            self.objective,
            epochs=epochs,
            steps_per_epoch=len(self.train),
            learning_rate=learning_rate,
            schedule=schedule,
            seed=self.seed,
            scratch=self.scratch / phase,
            on_epoch=lambda epoch, scores: self.on_epoch(begin + epoch, scores),
            first=first,
            warmup=self.params.warmup,
            weight_decay=self.params.weight_decay,
        )

        def batches(epoch: int) -> Iterator[Batch]:
            if fake_quant.is_prepared(model):
                # the last epoch adapts weights to settled ranges
                fake_quant.freeze(model, epoch == epochs - 1)
            return self._epoch(model, begin + epoch)

        return trainer.fit(batches, lambda model: validate(model, self.held_out))

    def _epoch(self, model: nn.Module, epoch: int) -> Iterator[Batch]:
        """Begin an epoch, counted over all phases; return its batches with their lessons."""
        self.objective.start_epoch(epoch)
        if self.objective.layered and not self.objective.is_alone:
            self.route(model)
        rank, processes = accelerator.rank(), accelerator.processes()
        batches = self.train.shuffled(self.seed, epoch, rank, processes)
        return with_lessons(batches, self.signals, self.names, self.recipe.augment)

    def route(self, model: nn.Module) -> dict[str, Any]:
        """Choose the teacher layers of each stage on the labelled items; return what was chosen."""
        layered = self.objective.layered
        layered.route(model, with_lessons(self.labelled, self.signals, ["attention"]))
        return layered.chosen()

    def calibrated(self, student: nn.Module) -> nn.Module:
        """Return a copy of a student that imitates int8, with ranges from training batches."""
        batches = islice(self.train.shuffled(self.seed, 0), CALIBRATION)
        inputs = [(batch.sequences, batch.lengths) for batch in batches]
        return fake_quant.calibrate(fake_quant.prepare(student), inputs)

    def run(self) -> Distilled:
        """Train the student; each form is as of its epoch best on validation items."""
        student, recipe, params = self.student, self.recipe, self.params
        result = Distilled(student)
        rate, schedule, alone = params.learning_rate, params.schedule, self.objective.alone
        result.seconds = self.fit(student, "float", 0, recipe.epochs, rate, schedule, alone)
        shipped = student.eval()
        if self.objective.layered:
            result.routing = self.route(student)
        if fake_quant.is_static(student):
            shipped = result.int8["ptq"] = self.calibrated(student)
            if recipe.qat:
                shipped = result.int8["qat"] = self.calibrated(student)
                qat = (recipe.qat.epochs, recipe.qat.learning_rate, "cosine")
                result.seconds += self.fit(shipped, "qat", recipe.epochs, *qat)
                shipped.eval()
        result.answers = predict(shipped, self.task, self.held_out)
        return result
