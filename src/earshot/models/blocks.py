"""What convolutional students are made of: a normalised input, inverted residual blocks, a mean
over the map.

Maps are `(B, C, T, F)`. `inside` `(B, 1, T, 1)` is 1 within a clip and 0 in its padding, or None
when nothing is padded.
"""

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from operator import mul

import torch
from torch import nn

from earshot.models import heads

EPSILON = 1e-5
Pair = tuple[int, int]  # along time, along frequency


def inside_of(lengths: torch.Tensor, frames: int) -> torch.Tensor | None:
    """Return what is inside clips of lengths `(B,)` as `(B, 1, frames, 1)`, or None when all are
    `frames` long.
    """
    if bool((lengths >= frames).all()):
        return None
    steps = torch.arange(frames, device=lengths.device)
    return (steps < lengths[:, None]).float()[:, None, :, None]


def strided(inside: torch.Tensor | None, stride: Pair) -> torch.Tensor | None:
    """Return `inside` behind a stride over time: T frames leave ⌈T/stride⌉."""
    return inside if inside is None else inside[:, :, :: stride[0]]


def hide(maps: torch.Tensor, inside: torch.Tensor | None) -> torch.Tensor:
    """Return maps with zeros in the padding, which is what a convolution finds beyond the end of a
    clip.
    """
    return maps if inside is None else maps * inside


def masked_moments(
    mel: torch.Tensor, inside: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance over time `(B, C, 1, F)` of maps, padding excluded."""
    if inside is None:
        variance, mean = torch.var_mean(mel, 2, correction=0, keepdim=True)
        return mean, variance
    count = inside.sum(2, keepdim=True)
    mean = (mel * inside).sum(2, keepdim=True) / count
    return mean, ((mel - mean).square() * inside).sum(2, keepdim=True) / count


def residual_norm(
    mel: torch.Tensor, share: float, inside: torch.Tensor | None = None
) -> torch.Tensor:
    """Return λ·x + FreqIN(x) of maps `(B, 1, T, F)`, λ = `share` (Kim et al. 2021).

    FreqIN centres and scales each band of each clip by its moments over time: a device's response
    is constant there.
    """
    mean, variance = masked_moments(mel, inside)
    return share * mel + (mel - mean) * (variance + EPSILON).rsqrt()


class InputNorm(nn.Module):
    """Each mel band normalised over the batch, then within the clip by residual normalisation."""

    def __init__(self, n_mels: int, residual: float, momentum: float):
        super().__init__()
        self.bands = nn.BatchNorm1d(n_mels, momentum=momentum)
        self.residual = residual

    def forward(self, mel: torch.Tensor, inside: torch.Tensor | None) -> torch.Tensor:
        """Return `(B, 1, T, F)` of the same."""
        bands = self.bands(mel.flatten(0, 2)).view_as(mel)
        return hide(residual_norm(bands, self.residual, inside), inside)


class AsItIs(nn.Module):
    """The front of a student that takes log-mel without a norm."""

    def forward(self, mel: torch.Tensor, inside: torch.Tensor | None) -> torch.Tensor:
        return hide(mel, inside)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, and perhaps an activation that begins at 0 and ends at
    `ceiling`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        momentum: float,
        kernel: int = 3,
        stride: Pair = (1, 1),
        groups: int = 1,
        ceiling: float | None = None,
    ):
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs, momentum=momentum)
        self.stride = stride
        self.ceiling = ceiling
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(self, maps: torch.Tensor, inside: torch.Tensor | None) -> torch.Tensor:
        """Return `(B, C, T', F')`; `inside` is that of the outputs."""
        return hide(activate(self.norm(self.conv(maps)), self.ceiling), inside)


def activate(maps: torch.Tensor, ceiling: float | None) -> torch.Tensor:
    """Return maps clipped to 0 … `ceiling` (infinity is ReLU, 6 is ReLU6), or as they are for
    None.
    """
    if ceiling is None:
        return maps
    return maps.relu() if ceiling == float("inf") else nn.functional.hardtanh(maps, 0.0, ceiling)


class Sum(nn.Module):
    """A residual connection, with an activation or without."""

    def __init__(self, ceiling: float | None = None):
        super().__init__()
        self.ceiling = ceiling

    def forward(self, maps: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
        return activate(maps + shortcut, self.ceiling)


class MeanAround(nn.Module):
    """The mean of 3×3 neighbours, zeros beyond the edge: the shortcut past a stride."""

    def __init__(self, stride: Pair):
        super().__init__()
        self.stride = stride

    def forward(self, maps: torch.Tensor, inside: torch.Tensor | None) -> torch.Tensor:
        return hide(nn.functional.avg_pool2d(maps, 3, self.stride, 1), inside)


class MeanOverMap(nn.Module):
    """The mean over time and frequency `(B, C)`, padding excluded."""

    def forward(self, maps: torch.Tensor, inside: torch.Tensor | None) -> torch.Tensor:
        if inside is None:
            return maps.mean((2, 3))
        return maps.mean(3).sum(2) / inside.sum((2, 3))


class Block(nn.Module):
    """An inverted residual block: 1×1 to `hidden` channels, 3×3 on each of them, 1×1 back to
    `outputs`.

    Equal inputs and outputs are joined by a shortcut: past a stride only with `pooled_shortcut`.
    `final` is the ceiling of an activation after the block; MobileNetV2's blocks end without one.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        stride: Pair,
        momentum: float,
        ceiling: float,
        final: float | None = None,
        pooled_shortcut: bool = False,
    ):
        super().__init__()
        self.stride = stride
        plain = stride == (1, 1)
        joined = inputs == outputs and (plain or pooled_shortcut)
        self.expand = (
            ConvNorm(inputs, hidden, momentum, 1, ceiling=ceiling) if hidden != inputs else None
        )
        self.depth = ConvNorm(hidden, hidden, momentum, 3, stride, groups=hidden, ceiling=ceiling)
        self.project = ConvNorm(hidden, outputs, momentum, 1, ceiling=None if joined else final)
        self.shortcut = MeanAround(stride) if joined and not plain else None
        self.sum = Sum(final) if joined else None

    def forward(self, maps: torch.Tensor, inside: torch.Tensor | None) -> torch.Tensor:
        after = strided(inside, self.stride)
        wide = maps if self.expand is None else self.expand(maps, inside)
        narrow = self.project(self.depth(wide, after), after)
        if self.sum is None:
            return narrow
        return self.sum(narrow, maps if self.shortcut is None else self.shortcut(maps, after))


class Stage(nn.ModuleList):
    """Blocks, or the convolutions of a stem, one after another."""

    @property
    def pace(self) -> int:
        """How many frames become one."""
        return prod(part.stride[0] for part in self)

    def forward(
        self, maps: torch.Tensor, inside: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the maps after all of them, and what is inside those."""
        for part in self:
            if isinstance(part, Block):
                maps, inside = part(maps, inside), strided(inside, part.stride)
            else:
                inside = strided(inside, part.stride)
                maps = part(maps, inside)
        return maps, inside


class ConvStudent(nn.Module):
    """Log-mel → input norm, or as it is → stem → stages of blocks → mean over the map → head.

    `strides` says how many input frames one frame of the stem, then of each stage, stands for.
    """

    def __init__(
        self,
        front: nn.Module,
        stem: Sequence[nn.Module],
        stages: Sequence[Sequence[Block]],
        width: int,
        head: nn.Module,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.width = width
        self.front = front
        self.stem = Stage(stem)
        self.stages = nn.ModuleList(map(Stage, stages))
        self.strides = list(accumulate((part.pace for part in (self.stem, *self.stages)), mul))
        self.mean = MeanOverMap()
        self.dropout = nn.Dropout(dropout)
        self.head = head
        self.to(memory_format=torch.channels_last)  # trains in about two thirds of the time

    def encode(
        self, mel: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the pooled map `(B, D)` of log-mel `(B, T, n_mels)`, lengths `(B,)` in frames, and
        what each stage says.

        That is a sequence over time: the stem's `(B, T₀, C₀·F₀)`, channels and frequencies side by
        side, then `(B, Tₖ, Cₖ)`, the mean over frequency. Padding changes nothing but the
        statistics of batch norms in training.
        """
        inside = inside_of(lengths, mel.shape[1])
        maps, inside = self.stem(self.front(mel[:, None], inside), inside)
        sequences = [maps.transpose(1, 2).flatten(2)]
        for stage in self.stages:
            maps, inside = stage(maps, inside)
            sequences.append(maps.mean(3).transpose(1, 2))
        return self.dropout(self.mean(maps, inside)), sequences

    def real(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return which frames of the last stage are no padding `(B, T)`."""
        stride = self.strides[-1]
        return heads.inside(-(-lengths // stride), -(-mel.shape[1] // stride))

    def pool(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the pooled map alone, `(B, D)`."""
        return self.encode(mel, lengths)[0]

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return logits `(B, C)`."""
        return self.head(self.pool(mel, lengths))
