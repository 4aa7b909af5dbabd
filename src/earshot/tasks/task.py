"""The interface of a task: from items to tensors, from a model's output to answers and their score.

B passages, N items about them, D the width of a model's encoder.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import nn

from earshot.params import Text
from earshot.tables.items import Item
from earshot.tables.sequences import Row

if TYPE_CHECKING:
    from earshot.models.heads import Encoded
    from earshot.training.batches import Batch
    from earshot.training.output import Output


class Score(NamedTuple):
    """How good answers are: what the track is scored by, more is better, and its standard error.

    `loss`, less is better, tells apart what has the same value.
    """

    value: float
    error: float
    loss: float


class Task(Protocol):
    """One kind of question. `labels` are what a model with fixed outputs tells apart, in order."""

    labels: tuple[str, ...]

    def __init__(self, text: Text | None, labels: Sequence[str] = ()): ...

    @classmethod
    def of(cls, text: Text | None, items: Sequence[Item]) -> Self:
        """Return the task of these items, for a model that reads texts as `text` says."""
        ...

    def head(self, width: int) -> nn.Module:
        """Return what turns a model's encoding, D = `width`, into logits."""
        ...

    def inputs(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Return what the head reads beside the audio, by name, a row per item."""
        ...

    def targets(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Return the hard labels, by name, a row per item; where unknown, what `loss` ignores."""
        ...

    def logits(
        self, head: nn.Module, encoded: "Encoded", batch: "Batch"
    ) -> dict[str, torch.Tensor]:
        """Return the logits of each head, by name."""
        ...

    def loss(self, output: "Output", batch: "Batch") -> torch.Tensor:
        """Return the loss on hard labels, the mean over the labelled items."""
        ...

    def decode(self, output: "Output", batch: "Batch") -> dict[str, np.ndarray]:
        """Return each item's answer, by item id."""
        ...

    def signals(self, output: "Output", batch: "Batch") -> dict[str, list[Row]]:
        """Return what is kept of a teacher's logits: by signal, rows (id, view, (T, W) array)."""
        ...

    def count(self, answer: np.ndarray, item: Item) -> np.ndarray:
        """Return figures that add up over items, from which `score` is computed."""
        ...

    def score(self, counts: np.ndarray) -> Score:
        """Return how good the answers behind these sums of `count` are."""
        ...
