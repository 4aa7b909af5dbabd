"""Classification: every clip is of one of the same few classes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import nn

from earshot.models.heads import ClassHead
from earshot.params import Text
from earshot.tables.items import Item
from earshot.tasks.options import OneOfSeveral

if TYPE_CHECKING:
    from earshot.models.heads import Encoded
    from earshot.training.batches import Batch


class Classes(OneOfSeveral):
    """One output per class; nothing is read."""

    def __init__(self, text: Text | None, labels: Sequence[str] = ()):
        self.labels = tuple(labels)

    @classmethod
    def of(cls, text: Text | None, items: Sequence[Item]) -> Self:
        """Return the task of items whose options are the classes."""
        return cls(text, items[0].options)

    def head(self, width: int) -> ClassHead:
        """Return a linear layer with an output per class."""
        return ClassHead(width, len(self.labels))

    def inputs(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Return nothing."""
        return {}

    def logits(
        self, head: nn.Module, encoded: "Encoded", batch: "Batch"
    ) -> dict[str, torch.Tensor]:
        """Return the logits of the classes, `answers` `(N, C)`."""
        return {"answers": head(encoded.pooled)}

    def group(self, item: Item) -> tuple[int, int]:
        """Return the item's class: the score is macro accuracy, no class counts more than
        another.
        """
        return item.answer, len(item.options)
