"""Distilling one student: the recipe's weighted sum of terms, the teacher's answers from the cache alone."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from earshot import losses
from earshot.batches import Batch, Loader
from earshot.items import Item
from earshot.models.bilstm import BiLSTMStudent
from earshot.models.heads import ABSENT
from earshot.params import BiLSTM, Distill, Recipe, Terms
from earshot.store import Store
from earshot.teacher_cache import TeacherCache
from earshot.training import OnEpoch, accuracy, fit

STUDENTS: dict[str, Callable[[BiLSTM, int], nn.Module]] = {"bilstm": BiLSTMStudent}

# One row per term: (its parameters, batch, student logits (N, C), student vectors projected to the teacher (N, D)) → scalar.
TERMS: dict[str, Callable[..., torch.Tensor]] = {
    "ce": lambda term, batch, logits, projected: losses.cross_entropy(logits, batch.answers),
    "kd": lambda term, batch, logits, projected: losses.kd(logits, batch.teacher_logits, term.temperature),
    "feature": lambda term, batch, logits, projected: losses.feature_mse(projected, batch.teacher_hidden),
}


class Objective(nn.Module):
    """λ₁·CE + λ₂·KD + λ₃·feature, eq. (9), with the projection that eq. (8) needs between two widths."""

    def __init__(self, terms: Terms, student_width: int, teacher_width: int):
        super().__init__()
        self.terms = {name: term for name, term in terms if term is not None and term.weight > 0}
        self.project = nn.Linear(student_width, teacher_width)

    def forward(self, batch: Batch, logits: torch.Tensor, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return each term unweighted, and their weighted sum as `loss`."""
        projected = self.project(pooled)
        values = {name: TERMS[name](term, batch, logits, projected) for name, term in self.terms.items()}
        return values | {"loss": sum(self.terms[name].weight * value for name, value in values.items())}


def with_teacher(batches: Iterator[Batch], cache: TeacherCache) -> Iterator[Batch]:
    """Attach the teacher's logits `(N, C)` and pooled vectors `(N, D)` to batches, by item id."""
    for batch in batches:
        logits = torch.full(batch.options.shape[:2], ABSENT)
        for row, item in enumerate(batch.items):
            logits[row, : len(item.options)] = torch.from_numpy(cache.logits(item.id))
        hidden = np.stack([cache.hidden(item.id).reshape(-1) for item in batch.items])
        batch.teacher_logits, batch.teacher_hidden = logits, torch.from_numpy(hidden.astype(np.float32))
        yield batch


def distill(
    recipe: Recipe,
    student_params: BiLSTM,
    params: Distill,
    mel: Store,
    items: Sequence[Item],
    validation: Sequence[Item],
    cache: TeacherCache,
    seed: int,
    scratch: Path,
    on_epoch: OnEpoch,
) -> tuple[nn.Module, float]:
    """Train one student on `items` by `recipe`; return it as of the epoch best on `validation`, and the seconds spent.

    Students of one seed start from the same weights whatever the recipe, so recipes can be compared in pairs.
    """
    torch.manual_seed(seed)
    student = STUDENTS[student_params.name](student_params, mel.width)
    teacher_width = cache.hidden(items[0].id).size
    train = Loader(items, mel, student_params.text.buckets, params.batch_passages)
    held_out = Loader(validation, mel, student_params.text.buckets, 4 * params.batch_passages)
    seconds = fit(
        student,
        batches=lambda epoch: with_teacher(train.shuffled(seed, epoch), cache),
        steps_per_epoch=len(train),
        epochs=recipe.epochs,
        objective=Objective(recipe.terms, student.width, teacher_width),
        validate=lambda model: accuracy(model, held_out),
        base_rate=params.learning_rate,
        schedule=params.schedule,
        seed=seed,
        scratch=scratch,
        on_epoch=on_epoch,
    )
    return student.eval(), seconds
