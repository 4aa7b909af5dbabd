"""The one training loop: teacher and students, every track."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from earshot.models import accelerator, checkpoint
from earshot.runtime.progress import track
from earshot.tables.items import Item
from earshot.tasks.task import Score, Task
from earshot.training.batches import Batch, Loader
from earshot.training.optimizers import OPTIMIZERS
from earshot.training.output import Output, run

# Terms of a batch by name, with their weighted sum as "loss".
Objective = Callable[[Output, Batch], dict[str, torch.Tensor]]
OnEpoch = Callable[[int, dict[str, float]], None]
CLIP = 5.0  # largest norm of the gradients
APART = 2.0  # standard errors: the best of many epochs is about so lucky
WARMUP = 0.05  # of the steps

logger = logging.getLogger(__name__)


@torch.inference_mode()
def predict(model: nn.Module, task: Task, batches: Iterable[Batch]) -> dict[str, np.ndarray]:
    """Return a model's answer to each item of `batches`, keyed by item id."""
    model.eval()
    answers: dict[str, np.ndarray] = {}
    with accelerator.hosting(model):
        for batch in batches:
            batch, output = run(model, task, batch)
            answers |= task.decode(output, batch)
    return answers


def validate(model: nn.Module, loader: Loader) -> Score:
    """Return the score of a model on a loader's items; processes share the batches."""
    task, items = loader.task, list[Item]()

    def shared() -> Iterator[Batch]:
        for batch in loader.every(accelerator.rank(), accelerator.processes()):
            items.extend(batch.items)
            yield batch

    answers = predict(model, task, shared())
    counts = accelerator.gathered([task.count(answers[item.id], item) for item in items])
    return task.score(sum(counts))


def rank(score: Score) -> tuple[float, float]:
    """Return what scores are compared by: the value, of equal ones the lower loss."""
    return score.value, -score.loss


def choose(scores: Mapping[int, Score], first: int = 0) -> tuple[int, str]:
    """Return which epoch's model to keep of those that have a score, by epoch counted from 0, and
    why; those before `first` are out.

    The best one, unless it lies within `APART` standard errors of the last: of few items the best
    is mostly luck, and the last has trained longest, at the lowest rate.
    """
    compared = [epoch for epoch in scores if epoch >= first]
    last, best = compared[-1], max(compared, key=lambda epoch: rank(scores[epoch]))
    top = scores[best]
    if best == last:
        return last, f"the last and the best, validation {top.value:.3f}"
    behind = top.value - scores[last].value
    of_best = f"epoch {best + 1} with {top.value:.3f} ± {top.error:.3f}"
    if behind <= APART * top.error:
        return last, f"the last, {behind:.3f} behind {of_best}, which may be luck"
    return best, f"the best, {top.value:.3f} ± {top.error:.3f}; the last has {behind:.3f} less"


def learning_rate(
    base: float, step: int, steps: int, schedule: str, warmup: float = WARMUP
) -> float:
    """Return the rate at `step` of `steps`: constant, or a cosine behind a share `warmup` of
    them.
    """
    if schedule == "constant":
        return base
    warm = max(1, int(steps * warmup))
    return base * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))


class _Run(nn.Module):
    """A model that is called with a batch alone."""

    def __init__(self, model: nn.Module, task: Task):
        super().__init__()
        self.model, self.task = model, task

    def forward(self, batch: Batch) -> None:
        run(self.model, self.task, batch)


class Trainer:
    """Trains a model; a killed run goes on from `scratch` and ends the same.

    `objective` turns outputs into terms; when it is a module, its own parameters train too. Epochs
    before `first` do not compete for the best. Every `validate_every` epochs, counted back from the
    last, the model is validated: with short epochs that would take a fifth of the time.

    The schedule is of `steps`, all of the epochs' where none are given; the last epoch may end
    early. Training ends after `stop` of them. Where that is all, with `average` the last epoch
    leaves a running mean of the weights after each step, of which a step keeps that share, with the
    moments of its batch norms taken from one more pass.

    Several processes each get their part of every batch. Gradients are averaged, so they take the
    steps that one process would. Two things differ: a batch norm sees its own part of a batch, and
    its running moments are averaged before every validation; each process draws its own dropout.
    The first alone writes to `scratch`, all resume from it.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        objective: Objective,
        *,
        epochs: int,
        steps_per_epoch: int,
        learning_rate: float,
        schedule: str,
        seed: int,
        scratch: Path,
        on_epoch: OnEpoch = lambda epoch, scores: None,
        first: int = 0,
        validate_every: int = 1,
        warmup: float = WARMUP,
        weight_decay: float = 0.0,
        optimizer: str = "adamw",
        steps: int | None = None,
        stop: int | None = None,
        average: float | None = None,
    ):
        self.model, self.task, self.objective = model, task, objective
        self.steps = steps or epochs * steps_per_epoch
        self.stop = stop or self.steps
        self.epochs = math.ceil(self.stop / steps_per_epoch)
        self.steps_per_epoch, self.first = steps_per_epoch, first
        self.validate_every = validate_every
        self.base_rate, self.schedule, self.seed = learning_rate, schedule, seed
        self.warmup, self.weight_decay, self.optimizer_name = warmup, weight_decay, optimizer
        self.scratch, self.on_epoch = scratch, on_epoch
        self.trained = nn.ModuleDict({"model": model})
        if isinstance(objective, nn.Module):
            self.trained["objective"] = objective
        self.kept = nn.ModuleDict(dict(self.trained.items()))  # what `scratch` holds
        if average is not None and self.stop == self.steps:
            self.kept["mean"] = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(average))

    def fit(
        self,
        batches: Callable[[int], Iterable[Batch]],
        validate: Callable[[nn.Module], Score] | None,
    ) -> float:
        """Leave the model as of the chosen epoch (`choose`), the last without `validate`; return
        the seconds that training took.

        `batches(epoch)` yields the epoch's batches, from epoch 0. FloatingPointError when the loss
        is no longer finite.
        """
        accelerator.wait()  # what the first process wrote before is whole
        with accelerator.hosting(self.kept):
            self._resume()
            for epoch in range(len(self.progress["history"]), self.epochs):
                begun = time.monotonic()
                scores = self._train_epoch(epoch, batches(epoch))
                if "mean" in self.kept and epoch == self.epochs - 1:
                    self._take_mean(epoch, batches(epoch))
                if validate and (self.epochs - 1 - epoch) % self.validate_every == 0:
                    score = validate(self.model)
                    scores |= {"validation": score.value, "validation_loss": score.loss}
                    self._keep_best(epoch, score)
                    self.progress["scores"].append((epoch, score))
                self.progress["history"].append(scores)
                self.progress["seconds"] += time.monotonic() - begun
                self._save()
                self.on_epoch(epoch, scores)
            self._choose()
        return self.progress["seconds"]

    def _take_mean(self, epoch: int, batches: Iterable[Batch]) -> None:
        """Leave the model as the mean of its weights; the batches are for its batch norms."""
        self.model.load_state_dict(self.kept["mean"].module.state_dict())
        self._seed(epoch)
        update_bn(batches, _Run(self.model, self.task))
        accelerator.average_buffers(self.model)

    def _choose(self) -> None:
        """Leave the model as of its best epoch, or as it is; say in the log which, and why."""
        scores = self._scores()
        chosen, reason = self.epochs - 1, "the last, without validation"
        if scores:
            chosen, reason = choose(scores, self.first)
        if chosen < self.epochs - 1:
            self.model.load_state_dict(self.best, strict=False)
        self.chosen = min((chosen + 1) * self.steps_per_epoch, self.stop)
        if accelerator.is_main():
            logger.info("%s: epoch %d of %d: %s", self.scratch, chosen + 1, self.epochs, reason)

    def _resume(self) -> None:
        make = OPTIMIZERS[self.optimizer_name]
        self.optimizer = make(self.trained, self.base_rate, self.weight_decay)
        saved = checkpoint.load(self.scratch / "last.safetensors", self.kept, self.optimizer)
        self.progress: dict[str, Any] = saved or {
            "history": [],
            "scores": [],
            "best": None,
            "seconds": 0.0,
        }
        self.best: dict[str, torch.Tensor] = {}
        if self.progress["best"] is not None:
            self.best = checkpoint.load_weights(self.scratch / "best.safetensors")
        for epoch, scores in enumerate(self.progress["history"]):
            self.on_epoch(epoch, scores)

    def _train_epoch(self, epoch: int, batches: Iterable[Batch]) -> dict[str, float]:
        """Take an epoch's steps; return the mean of each term."""
        self._seed(epoch)
        self.trained.train()
        sums: dict[str, float] = {}
        begin = epoch * self.steps_per_epoch
        steps = min(self.steps_per_epoch, self.stop - begin)
        for number, batch in enumerate(
            track(islice(batches, steps), f"epoch {epoch + 1}/{self.epochs}", total=steps)
        ):
            terms = self._step(begin + number, batch)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value.item()
        accelerator.average_buffers(self.trained)
        scores = {name: value / steps for name, value in accelerator.average(sums).items()}
        if not math.isfinite(scores["loss"]):
            raise FloatingPointError(
                f"loss is {scores['loss']} in epoch {epoch + 1}; try a lower learning_rate"
            )
        return scores

    def _seed(self, epoch: int) -> None:
        """Nothing random is saved: every epoch seeds itself, so a resumed one repeats."""
        torch.manual_seed(1_000_003 * self.seed + epoch + 7_919 * accelerator.rank())

    def _step(self, step: int, batch: Batch) -> dict[str, torch.Tensor]:
        rate = learning_rate(self.base_rate, step, self.steps, self.schedule, self.warmup)
        self.optimizer.param_groups[0]["lr"] = rate
        batch, output = run(self.model, self.task, batch)
        terms = self.objective(output, batch)
        self.optimizer.zero_grad()
        terms["loss"].backward()
        accelerator.average_gradients(self.trained)
        nn.utils.clip_grad_norm_(self.trained.parameters(), CLIP)
        self.optimizer.step()
        if "mean" in self.kept:
            self.kept["mean"].update_parameters(self.model)
        return terms

    def _scores(self) -> dict[int, Score]:
        """Return the scores on validation items, by the epochs that have one."""
        return {epoch: Score(*score) for epoch, score in self.progress["scores"]}

    def _keep_best(self, epoch: int, score: Score) -> None:
        """Keep the model when it is the best so far, the earliest of equals."""
        best = self.progress["best"]
        rival = None if best is None else self._scores()[best]
        if epoch >= self.first and (rival is None or rank(score) > rank(rival)):
            self.progress["best"] = epoch
            self.best = checkpoint.trained(self.model)
            if accelerator.is_main():
                checkpoint.save_weights(self.scratch / "best.safetensors", self.best)

    def _save(self) -> None:
        if accelerator.is_main():
            last = self.scratch / "last.safetensors"
            checkpoint.save(last, self.kept, self.optimizer, self.progress)
