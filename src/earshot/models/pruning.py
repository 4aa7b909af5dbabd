"""Structured pruning: a student without some of its units, its matrices smaller, not sparse.

A unit goes as a whole, with every weight that makes it or reads it: a hidden unit of an LSTM with
its four gates, its column of the recurrent matrix and those of the layer above (Wen et al. 2018,
arXiv 1709.05027); a feed-forward unit with its row and column, a head of attention with its
queries, keys and values (McCarley, Chakravarti and Sil 2019, arXiv 1910.06360). Units are ranked
by the L2 norm of all these weights together, the group of Wen et al., within their own layer.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn

from earshot.models.heads import AttentiveHead


class Place(NamedTuple):
    """Where a tensor has weights of units: along `axis`, from `start`, `repeats` times all units,
    `size` weights a unit each time.
    """

    tensor: str
    axis: int
    start: int = 0
    repeats: int = 1
    size: int = 1

    def of_units(self, values: torch.Tensor, units: int) -> torch.Tensor:
        """Return a view `(repeats, units, size)` of values along the axis."""
        length = self.repeats * units * self.size
        return values[self.start : self.start + length].view(self.repeats, units, self.size)


class Group(NamedTuple):
    """The units of a layer that can be taken out, and all their places."""

    units: int
    places: list[Place]


def norms(group: Group, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the L2 norm of each unit's weights `(units,)`."""
    squares = torch.zeros(group.units)
    for place in group.places:
        along = weights[place.tensor].square().movedim(place.axis, 0)
        sums = along.flatten(1).sum(1) if along.dim() > 1 else along
        squares += place.of_units(sums, group.units).sum((0, 2))
    return squares.sqrt()


def removed(
    groups: Sequence[Group], fewer: Sequence[Group], weights: dict[str, torch.Tensor]
) -> Iterator[torch.Tensor]:
    """Return of each group the units of least norm, as many as are too many."""
    for group, less in zip(groups, fewer, strict=True):
        yield norms(group, weights).argsort(stable=True)[: group.units - less.units]


@torch.no_grad()
def inherit(small: nn.Module, student: nn.Module) -> None:
    """Give a student the weights of a larger one of its kind, of whose units the weakest are left
    out.
    """
    weights, groups = student.state_dict(), student.groups()
    stays = {
        (place.tensor, place.axis): torch.ones(weights[place.tensor].shape[place.axis]).bool()
        for group in groups
        for place in group.places
    }
    gone = removed(groups, small.groups(), weights)
    for group, units in zip(groups, gone, strict=True):
        for place in group.places:
            place.of_units(stays[place.tensor, place.axis], group.units)[:, units] = False
    for (name, axis), kept in stays.items():
        weights[name] = weights[name].index_select(axis, kept.nonzero().flatten())
    small.load_state_dict(weights)
    if isinstance(small.head, AttentiveHead):  # it divides by the root of its width
        for parameter in small.head.key.parameters():
            parameter.mul_(small.head.divisor / student.head.divisor)
