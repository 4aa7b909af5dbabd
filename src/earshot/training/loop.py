"""The one training loop: teacher and students, every track."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import convert_to_fp32
from torch import nn

from earshot.models import accelerator, checkpoint
from earshot.runtime.progress import track
from earshot.tables.items import Item
from earshot.training.batches import Batch, Loader

Objective = Callable[["Heard"], dict[str, torch.Tensor]]
OnEpoch = Callable[[int, dict[str, float]], None]


@dataclass
class Heard:
    """What a model makes of a batch at a training step: N items, B passages."""

    batch: Batch
    step: int  # since training began
    logits: torch.Tensor  # (N, C)
    pooled: torch.Tensor  # (N, D)
    stages: list[torch.Tensor]  # (B, T_k, D_k) of each stage or layer, the lowest first


def answer(model: nn.Module, batch: Batch, step: int = 0) -> Heard:
    """Let a model hear a batch's passages and answer its items, where the model is; all it makes of
    them is float32.
    """
    batch = accelerator.put(batch, accelerator.where(model))
    with accelerator.autocast(model):
        pooled, stages = model.encode(batch.sequences, batch.lengths)
        pooled = pooled[batch.passage]
        logits = model.head(pooled, batch.questions, batch.options)
    return Heard(batch, step, *convert_to_fp32((logits, pooled, stages)))


@torch.inference_mode()
def predict(model: nn.Module, batches: Iterable[Batch]) -> dict[str, np.ndarray]:
    """Return each item's option probabilities `(C,)`, keyed by item id."""
    model.eval()
    answers: dict[str, np.ndarray] = {}
    with accelerator.hosting(model):
        for batch in batches:
            probabilities = answer(model, batch).logits.double().softmax(-1).cpu().numpy()
            answers |= {
                item.id: row[: len(item.options)]
                for item, row in zip(batch.items, probabilities, strict=True)
            }
    return answers


def accuracy(model: nn.Module, loader: Loader) -> float:
    """Return the share of items answered right (a fraction); processes share the batches, and all
    return the same.
    """
    items: list[Item] = []

    def own() -> Iterator[Batch]:
        for batch in loader.every(accelerator.rank(), accelerator.processes()):
            items.extend(batch.items)
            yield batch

    probabilities = predict(model, own())
    right, asked = accelerator.total(
        sum(probabilities[item.id].argmax() == item.answer for item in items), len(items)
    )
    return float(right / asked)


def learning_rate(base: float, step: int, steps: int, schedule: str) -> float:
    """Return the rate at `step` of `steps`: constant, or a cosine to zero after a warm-up of one
    twentieth.
    """
    if schedule == "constant":
        return base
    warm = max(1, steps // 20)
    return base * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))


def fit(
    model: nn.Module,
    batches: Callable[[int], Any],
    steps_per_epoch: int,
    epochs: int,
    objective: Objective,
    validate: Callable[[nn.Module], float],
    base_rate: float,
    schedule: str,
    seed: int,
    scratch: Path,
    on_epoch: OnEpoch = lambda epoch, scores: None,
    first: int = 0,
) -> float:
    """Train with Adam, leave the model as of its best validation score (the earliest on a tie),
    return the seconds spent.

    Epochs before `first` do not compete. `batches(epoch)` yields the epoch's batches. `objective`
    returns its terms and their weighted sum as `loss`; when it is a module its own parameters (a
    projection) train too. A killed run continues from `scratch` and ends the same.

    Several processes each get their part of every batch from `batches`; gradients are averaged, so
    they take the steps that one process would. Two things differ: a batch norm sees its own part of
    a batch, its running moments are averaged before every validation; and each process draws its
    own dropout. The first alone writes to `scratch`, all resume from it.
    """
    trained = nn.ModuleDict({"model": model})
    if isinstance(objective, nn.Module):
        trained["objective"] = objective
    accelerator.wait()  # what the first wrote before is whole
    with accelerator.hosting(trained):
        optimizer = torch.optim.Adam(
            [p for p in trained.parameters() if p.requires_grad], lr=base_rate
        )
        progress = checkpoint.load(scratch / "last.safetensors", trained, optimizer) or {
            "history": [],
            "best": None,
            "seconds": 0.0,
        }
        best = (
            checkpoint.load_weights(scratch / "best.safetensors")
            if progress["best"] is not None
            else {}
        )
        for epoch, scores in enumerate(progress["history"]):
            on_epoch(epoch, scores)
        for epoch in range(len(progress["history"]), epochs):
            torch.manual_seed(1_000_003 * seed + epoch + 7_919 * accelerator.rank())
            trained.train()
            begun, sums = time.monotonic(), dict[str, float]()
            for number, batch in enumerate(
                track(batches(epoch), f"epoch {epoch + 1}/{epochs}", total=steps_per_epoch)
            ):
                step = epoch * steps_per_epoch + number
                optimizer.param_groups[0]["lr"] = learning_rate(
                    base_rate, step, epochs * steps_per_epoch, schedule
                )
                terms = objective(answer(model, batch, step))
                optimizer.zero_grad()
                terms["loss"].backward()
                accelerator.average_gradients(trained)
                nn.utils.clip_grad_norm_(trained.parameters(), 5.0)
                optimizer.step()
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + value.item()
            accelerator.average_buffers(trained)
            scores = {
                name: value / steps_per_epoch for name, value in accelerator.average(sums).items()
            }
            scores["validation"] = validate(model)
            if not math.isfinite(scores["loss"]):
                raise FloatingPointError(
                    f"loss is {scores['loss']} in epoch {epoch + 1}; try a lower learning_rate"
                )
            rival = (
                progress["history"][progress["best"]]["validation"]
                if progress["best"] is not None
                else -math.inf
            )
            if epoch >= first and scores["validation"] > rival:
                progress["best"] = epoch
                best = checkpoint.trained(model)
                if accelerator.is_main():
                    checkpoint.save_weights(scratch / "best.safetensors", best)
            progress["history"].append(scores)
            progress["seconds"] += time.monotonic() - begun
            if accelerator.is_main():
                checkpoint.save(scratch / "last.safetensors", trained, optimizer, progress)
            on_epoch(epoch, scores)
        model.load_state_dict(best, strict=False)
        return progress["seconds"]
