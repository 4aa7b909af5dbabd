"""What a recipe minimises: the weighted sum of its terms."""

from collections.abc import Collection, Mapping

import torch
from torch import nn

from earshot.distillation.terms import TERMS, Layered, Setting
from earshot.params import Terms
from earshot.training.batches import Batch
from earshot.training.output import Output


def active(terms: Terms) -> dict[str, object]:
    """Return the terms that count, by name."""
    return {name: term for name, term in terms if term is not None and term.weight > 0}


def needed(terms: Terms) -> list[str]:
    """Return the teacher's signals that a recipe's terms read."""
    return sorted({signal for name in active(terms) for signal in TERMS[name].needs})


def check_known(
    key: str, terms: Terms, known: Mapping[str, Collection[str]], phase: str = "terms"
) -> None:
    """Raise ValueError where a recipe, by its key, has a term that none of its teachers can teach;
    `known` are the signals that each one's cache has.
    """
    there = set().union(*known.values())
    for name in active(terms):
        missing = [signal for signal in TERMS[name].needs if signal not in there]
        if missing:
            able = [one for one, term in TERMS.items() if term.needs and there >= {*term.needs}]
            raise ValueError(
                f"recipes.{key}.{phase}.{name} learns from {', '.join(missing)}, which "
                f"teachers.{', '.join(known)} did not give; what it gave teaches "
                f"{' and '.join(able)}"
            )


class Objective(nn.Module):
    """Σ weight · term, with the layers that terms need; they are dropped after training."""

    def __init__(self, terms: Terms, setting: Setting, steps_per_epoch: int):
        super().__init__()
        chosen = active(terms)
        self.weights = {name: term.weight for name, term in chosen.items()}
        self.terms = nn.ModuleDict(
            {name: TERMS[name](term, setting) for name, term in chosen.items()}
        )
        self.alone = chosen["front"].alone if "front" in chosen else 0
        self.steps_per_epoch, self.epoch = steps_per_epoch, 0

    @property
    def layered(self) -> Layered | None:
        """The term that is routed anew every epoch, where there is one."""
        return dict(self.terms.items()).get("layered")

    @property
    def is_alone(self) -> bool:
        """Whether this epoch trains on the front end alone."""
        return self.epoch < self.alone

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch, counted from 0 over all phases of a recipe."""
        self.epoch = epoch
        for term in self.terms.values():
            term.start((epoch - self.alone) * self.steps_per_epoch)

    def forward(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """Return each term unweighted, and their weighted sum as `loss`.

        A part of a batch counts by its share of it.
        """
        values = {}
        for name, term in self.terms.items():
            if not self.is_alone or name == "front":
                values[name] = getattr(batch.share, term.per) * term(output, batch)
        loss = sum(self.weights[name] * value for name, value in values.items())
        return values | {"loss": loss}
