"""Distilling one student from the cache alone: in float, then with fewer units, or with simulated
8-bit weights.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from earshot.distillation.lessons import mean_frame, with_lessons
from earshot.distillation.objective import Objective, needed
from earshot.distillation.terms import Setting
from earshot.models import accelerator, fake_quant, students
from earshot.models.pruning import inherit
from earshot.params import QAT, Adapt, Budget, Devices, Distill, Prune, Recipe, Student, Terms
from earshot.tables.devices import suffix
from earshot.tables.items import UNKNOWN_DEVICE, Item
from earshot.tables.sequences import Store
from earshot.tables.signals import Averaged, Signals
from earshot.tasks.task import Task
from earshot.training.batches import Batch, Loader
from earshot.training.loop import OnEpoch, Trainer, predict, validate

CALIBRATION = 8  # batches from which activation ranges are taken


@dataclass
class Distilled:
    """A student as trained, the forms of it that imitate int8 (`ptq`, `qat`), and how it went.

    `devices` are models of single devices, in all forms. `answers` are to the validation items, by
    the form to ship; `seconds` is what training took, `routing` as `Layered.chosen`.
    """

    student: nn.Module | None
    answers: dict[str, Any] = field(default_factory=dict)
    int8: dict[str, nn.Module] = field(default_factory=dict)
    seconds: float = 0.0
    routing: dict[str, Any] | None = None
    devices: dict[str, "Distilled"] = field(default_factory=dict)

    @property
    def shipped(self) -> nn.Module:
        """The form to ship: the best int8 one, where training made one."""
        return [self.student, *self.int8.values()][-1]

    def models(self) -> dict[str, nn.Module]:
        """Return every form, by what its file is called behind the seed."""
        forms = {"": self.student, **{f".{form}": model for form, model in self.int8.items()}}
        for device, own in self.devices.items():
            of_device = own.models().items()
            forms |= {f"{suffix(device)}{form}": model for form, model in of_device}
        return forms

    def without_models(self) -> "Distilled":
        """Return the rest of it, light enough to be handed to another process."""
        return replace(self, student=None, int8={}, devices={})


@dataclass
class Distillation:
    """The training of one student on `items` by a recipe.

    Students of one seed start from the same weights whatever the recipe, so recipes can be compared
    in pairs. Without validation items the last epoch stays. `reached` says of each phase how many
    updates its schedule had and how many its chosen model; given as `fitted`, they hold for this
    training too. `devices` says by item id which device recorded it, where the recipe asks.
    """

    recipe: Recipe
    sizes: Student
    params: Distill
    task: Task
    mel: Store
    items: Sequence[Item]
    validation: Sequence[Item]
    signals: Signals | Averaged
    seed: int
    scratch: Path
    on_epoch: OnEpoch
    fitted: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reached: dict[str, tuple[int, int]] = {}
        self.float_epochs = 0
        self.held_out = self._loader(self.validation) if self.validation else None
        self._take(self.recipe.data)
        self._begin(self.sizes)
        if self.params.start:
            students.begin_with(self.student, Path(self.params.start))
        self._check()

    def _loader(self, items: Sequence[Item]) -> Loader:
        """Return batches of items that are scored, not trained on."""
        return Loader(items, self.mel, self.task, 4 * self.params.batch)

    def _take(self, data: Sequence[str]) -> None:
        """Train on the items of these roles from now on; a recipe of one phase takes all it has."""
        items = list(self.items)
        if self.recipe.adapt:
            items = [item for item in self.items if item.role in data]
        self._train_on(items, self.recipe.augment.views)

    def _train_on(self, items: Sequence[Item], views: bool) -> None:
        self.training = items
        labelled = [item for item in items if item.role == "fewshot"]
        self.labelled_items = labelled or items
        self.labelled = self._loader(self.labelled_items)
        self.train = Loader(
            items,
            self.mel,
            self.task,
            self.params.batch,
            views=views,
            balance=self.recipe.balance,
        )

    def _begin(self, params: Student) -> None:
        """Make a student, and the objective with layers of its widths, from the seed."""
        torch.manual_seed(self.seed)
        self.student = students.STUDENTS[params.name](params, self.mel.width, self.task)
        self.objective = self._objective(self.recipe.terms)

    def _check(self) -> None:
        """Raise ValueError where a term can learn nothing from the items, or a device's model can
        have no name.
        """
        for device in self._known_devices():
            suffix(device)
        for term in self.objective.terms.values():
            term.check(self.signals, self.training)

    def _objective(self, terms: Terms) -> Objective:
        self.names = needed(terms)
        example = next(with_lessons(iter(self.train), self.signals, self.names))
        with torch.no_grad():
            _, layers = self.student.eval().encode(example.sequences, example.lengths)
        front = "front" in self.names
        mean = mean_frame(self.signals, self.labelled_items) if front else None
        widths = [layer.shape[-1] for layer in layers]
        kept = self.signals.settings.get("layers", ())
        setting = Setting(self.task, self.student, example, widths, mean, self.seed, kept)
        return Objective(terms, setting, len(self.train))

    def fit(self, model: nn.Module, phase: str, budget: Budget, **settings: Any) -> float:
        """Train a model for `budget`; return the seconds it took. Epochs are counted behind those
        of the phase `float`, which comes first.

        `settings` are the Trainer's where they differ from the track's. Where something was
        `fitted` before, training ends after as many updates as its model had.
        """
        params, per_epoch = self.params, len(self.train)
        steps = budget.updates(per_epoch)
        steps, stop = self.fitted.get(phase, (steps, steps))
        epochs = math.ceil(stop / per_epoch)
        begin = self.float_epochs
        usual = {
            "learning_rate": params.learning_rate,
            "schedule": params.schedule,
            "average": params.average,
            "validate_every": params.validate_every,
            "on_epoch": lambda epoch, scores: self.on_epoch(begin + epoch, scores),
        }
        trainer = Trainer(
            model,
            self.task,
            self.objective,
            epochs=epochs,
            steps_per_epoch=per_epoch,
            steps=steps,
            stop=stop,
            seed=self.seed,
            scratch=self.scratch / phase,
            warmup=params.warmup,
            weight_decay=params.weight_decay,
            optimizer=params.optimizer,
            **usual | settings,
        )

        def batches(epoch: int) -> Iterator[Batch]:
            if fake_quant.is_prepared(model):
                # the last epoch adapts weights to settled ranges
                fake_quant.freeze(model, epoch == epochs - 1)
            return self._epoch(model, begin + epoch)

        judge = partial(validate, loader=self.held_out) if self.held_out else None
        seconds = trainer.fit(batches, judge)
        self.reached[phase] = steps, trainer.chosen
        if phase == "float":
            self.float_epochs = epochs
        return seconds

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
        recipe = self.recipe
        seconds = self.fit(self.student, "float", recipe, first=self.objective.alone)
        if recipe.prune:
            seconds += self.fit_pruned(recipe.prune)
        routing = self.route(self.student.eval()) if self.objective.layered else None
        if recipe.adapt:
            seconds += self.fit_adapted(recipe.adapt)
        student = self.student.eval()
        result = Distilled(student, seconds=seconds, routing=routing)
        if fake_quant.is_static(student):
            result.int8["ptq"] = self.calibrated(student)
            if recipe.qat:
                result.int8["qat"] = self.calibrated(student)
                result.seconds += self.fit_int8(result.int8["qat"], recipe.qat)
        if self.held_out:
            result.answers = predict(result.shipped, self.task, self.held_out)
        if recipe.devices:
            result.devices = self.fit_devices(recipe.devices)
            result.seconds += sum(own.seconds for own in result.devices.values())
            for own in result.devices.values():
                result.answers |= own.answers
        return result

    def fit_pruned(self, prune: Prune) -> float:
        """Make the student smaller by its weakest units and train it onwards, as before; return the
        seconds.

        The objective's layers, as projections, begin anew: they are of other widths.
        """
        student = self.student
        self._begin(self.sizes.pruned(prune.share))
        inherit(self.student, student)
        return self.fit(self.student, "pruned", prune)

    def fit_adapted(self, adapt: Adapt) -> float:
        """Train the student onwards with other terms, on other items where they are given; return
        the seconds. The objective's layers, as projections, begin anew.
        """
        self._take(adapt.data or self.recipe.data)
        torch.manual_seed(self.seed)
        self.objective = self._objective(adapt.terms)
        self._check()
        return self.fit(self.student, "adapted", adapt, learning_rate=adapt.learning_rate)

    def fit_int8(self, student: nn.Module, qat: QAT) -> float:
        """Train a student that imitates int8, behind the epochs in float; return the seconds."""
        rate = qat.learning_rate
        seconds = self.fit(student, "qat", qat, learning_rate=rate, schedule="cosine", average=None)
        student.eval()
        return seconds

    def _known_devices(self) -> list[str]:
        """Return the devices that recorded labelled items; none where the recipe does not ask."""
        named = {self.devices.get(item.id, UNKNOWN_DEVICE) for item in self.labelled_items}
        return sorted(named - {UNKNOWN_DEVICE})

    def fit_devices(self, budget: Devices) -> dict[str, Distilled]:
        """Return a model for each device that recorded a labelled clip: a copy of the student,
        trained onwards on that device's items as they are. Its answers are to those of validation.
        """
        items, held_out, objective = self.training, self.validation, self.objective
        found = {}
        for device in self._known_devices():
            own = [item for item in held_out if self.devices[item.id] == device]
            self.held_out = self._loader(own) if own else None
            self._train_on([item for item in items if self.devices[item.id] == device], False)
            tuned, self.objective = students.shifting(deepcopy(self.student)), deepcopy(objective)
            rate = budget.learning_rate
            settings = {"learning_rate": rate, "average": None, "on_epoch": silent}
            seconds = self.fit(tuned, f"device-{device}", budget, **settings)
            made = found[device] = Distilled(tuned.eval(), seconds=seconds)
            if fake_quant.is_static(tuned):
                made.int8["ptq"] = self.calibrated(tuned)
            if self.held_out:
                made.answers = predict(made.shipped, self.task, self.held_out)
        return found

    def refitted(self) -> "Distillation":
        """Return the same training on the validation items' labels too, silent, of as many updates
        as this one's chosen model had.
        """
        labelled = [replace(item, role="fewshot") for item in self.validation]
        return replace(
            self,
            items=[*self.items, *labelled],
            validation=[],
            scratch=self.scratch / "refit",
            on_epoch=silent,
            fitted=self.reached,
        )


def distil(first: Distillation) -> Distilled:
    """Train a student; with `refit` once more, on the validation items' labels too, where the
    recipe has labels.

    The second training takes as many updates as the first's chosen model had, and its student is
    returned. Answers to the validation items, and curves, are of the first, which had not seen
    them.
    """
    result = first.run()
    if not refits(first.recipe, first.params):
        return result
    again = first.refitted().run()
    return replace(again, answers=result.answers, seconds=result.seconds + again.seconds)


def refits(recipe: Recipe, params: Distill) -> bool:
    """Whether the shipped student learns the validation labels too: only one that has labels."""
    return params.refit and "fewshot" in recipe.data


def silent(epoch: int, scores: dict[str, float]) -> None:
    """Record nothing of an epoch."""
