"""One right answer among options or classes: what tasks of this kind share."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from earshot.tables.items import Item
from earshot.tables.sequences import Row
from earshot.tasks.task import Score
from earshot.training import losses

if TYPE_CHECKING:
    from earshot.training.batches import Batch
    from earshot.training.output import Output
SMALLEST = 1e-12  # a probability of zero would cost infinitely much


class OneOfSeveral:
    """C options or classes, of which a model gives each its probability."""

    labels: tuple[str, ...] = ()

    def targets(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Return the right options `(N,)`, −1 where unknown."""
        return {"answers": torch.tensor([item.answer for item in items])}

    def loss(self, output: "Output", batch: "Batch") -> torch.Tensor:
        """Return the cross-entropy of logits `(N, C)`, eq. (6)."""
        return losses.cross_entropy(output.logits["answers"], batch.targets["answers"])

    def decode(self, output: "Output", batch: "Batch") -> dict[str, np.ndarray]:
        """Return the probabilities `(C,)` of each item's options, float64."""
        probabilities = output.logits["answers"].double().softmax(-1).cpu().numpy()  # (N, C)
        return {
            item.id: row[: len(item.options)]
            for item, row in zip(batch.items, probabilities, strict=True)
        }

    def signals(self, output: "Output", batch: "Batch") -> dict[str, list[Row]]:
        """Return logits as sequences of options, `(C, 1)` each: items may differ in their
        number.
        """
        logits = output.logits["answers"].cpu().numpy()  # (N, C)
        rows = zip(batch.items, batch.views, logits, strict=True)
        return {
            "logits": [(item.id, view, row[: len(item.options), None]) for item, view, row in rows]
        }

    def count(self, answer: np.ndarray, item: Item) -> np.ndarray:
        """Return for each group of `group` the right and all items `(2, G)`, and −ln p `(1,)`."""
        group, groups = self.group(item)
        counts = np.zeros((2, groups))
        counts[:, group] = answer.argmax() == item.answer, 1
        loss = -np.log(max(answer[item.answer], SMALLEST))
        return np.append(counts, loss)

    def group(self, item: Item) -> tuple[int, int]:
        """Return which of how many groups an item counts in: groups weigh alike in the score."""
        return 0, 1

    def score(self, counts: np.ndarray) -> Score:
        """Return the mean over groups of the share right, its error, and the mean of −ln p.

        The error is that of (right + 1)/(total + 2): a group of two, both right, is not certain.
        """
        right, total = counts[:-1].reshape(2, -1)
        known = total > 0
        right, total = right[known], total[known]
        shares = right / total
        smoothed = (right + 1) / (total + 2)
        variances = smoothed * (1 - smoothed) / total
        error = np.sqrt(variances.sum()) / len(shares)
        return Score(float(shares.mean()), float(error), float(counts[-1] / total.sum()))

    def score_all(self, answers: Mapping[str, np.ndarray], items: Sequence[Item]) -> Score:
        """Return the score of answers, by item id, to these items."""
        return self.score(sum(self.count(answers[item.id], item) for item in items))
