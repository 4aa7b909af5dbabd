"""What a model makes of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate.utils import convert_to_fp32
from torch import nn

from earshot.models import accelerator, heads
from earshot.tasks.task import Task
from earshot.training.batches import Batch


@dataclass
class Output:
    """What a model makes of a batch of N items about B passages; all of it is float32."""

    logits: dict[str, torch.Tensor]  # by head; of one answer among C options: "answers" (N, C)
    pooled: torch.Tensor  # (N, D)
    layers: list[torch.Tensor]  # (B, T_l, D_l), the lowest first
    languages: Sequence[str] = ()  # those of its logits "language" (N, K), where it has such


def run(model: nn.Module, task: Task, batch: Batch) -> tuple[Batch, Output]:
    """Return the batch where the model is, and there the model's output for it."""
    batch = accelerator.put(batch, accelerator.where(model))
    with accelerator.autocast(model):
        inputs = batch.sequences, batch.lengths, batch.passage
        encoded = heads.encode(model, *inputs, _given_languages(model, batch))
        logits = task.logits(model.head, encoded, batch)
    logits, pooled, layers = convert_to_fp32((logits, encoded.pooled, encoded.layers))
    return batch, Output(logits, pooled, layers, getattr(model.head, "languages", ()))


def _given_languages(model: nn.Module, batch: Batch) -> torch.Tensor | None:
    """Return the passages' languages `(B, K)` for a model that takes them; None for others."""
    if getattr(model.head, "conditioning", None) != "given":
        return None
    of_passage = dict(zip(batch.passage.tolist(), batch.items, strict=True))
    languages = [of_passage[row].language for row in range(len(batch.lengths))]
    return model.head.one_hot(languages).to(batch.sequences)
