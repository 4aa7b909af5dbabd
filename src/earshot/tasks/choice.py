"""Multiple choice: options are read, and one of them is chosen."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import nn

from earshot import text as reader
from earshot.models.heads import HEADS
from earshot.params import Text
from earshot.tables.items import Item
from earshot.tasks.options import OneOfSeveral

if TYPE_CHECKING:
    from earshot.models.heads import Encoded
    from earshot.training.batches import Batch


class Choice(OneOfSeveral):
    """A question and its options are read by the model: logitsᵢ = e(q, oᵢ) · h, eq. (3)."""

    def __init__(self, text: Text | None, labels: Sequence[str] = ()):
        self.text = text

    @classmethod
    def of(cls, text: Text | None, items: Sequence[Item]) -> Self:
        """Return the task; the items do not matter, as any options can be read."""
        return cls(text)

    def head(self, width: int) -> nn.Module:
        """Return a head that reads questions and options."""
        return HEADS[self.text.pool](width, self.text)

    def inputs(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Return `questions` `(N, Lq)` and `options` `(N, C, Lo)`, ids of `text.encode_item`.

        Options that an item lacks are padding.
        """
        buckets, version = self.text.buckets, self.text.version
        encoded = [
            reader.encode_item(item.question, item.options, buckets, version) for item in items
        ]
        questions = reader.pad([question for question, _ in encoded])  # (N, Lq)
        options = reader.pad_options([options for _, options in encoded])  # (N, C, Lo)
        return {"questions": torch.from_numpy(questions), "options": torch.from_numpy(options)}

    def logits(
        self, head: nn.Module, encoded: "Encoded", batch: "Batch"
    ) -> dict[str, torch.Tensor]:
        """Return the logits of the options, `answers` `(N, C)`."""
        inputs = batch.inputs
        return {"answers": head(encoded, inputs["questions"], inputs["options"])}
