"""CP-Mobile as the DCASE 2024 baseline for task 1 has it, built from its published description."""

import torch
from torch import nn

from earshot.models.blocks import AsItIs, Block, ConvNorm, ConvStudent
from earshot.params import CPMobile
from earshot.tasks.task import Task

_RELU = float("inf")
_BLOCKS = (3, 2, 1)
_STRIDES = {3: (2, 1), 4: (1, 2)}  # of the blocks, counted from 1: of time, then of frequency


def divisible(channels: float, by: int = 8) -> int:
    """Return the nearest multiple of `by`, but never less than nine tenths of `channels`."""
    nearest = max(by, int(channels + by / 2) // by * by)
    return nearest if nearest >= 0.9 * channels else nearest + by


class NormedHead(nn.Module):
    """A linear layer without bias, batch-normalised: one output per class."""

    def __init__(self, width: int, classes: int, momentum: float):
        super().__init__()
        self.linear = nn.Linear(width, classes, bias=False)
        self.norm = nn.BatchNorm1d(classes, momentum=momentum)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return logits `(N, C)` for pooled vectors `(N, D)`."""
        return self.norm(self.linear(pooled))


class CPMobileStudent(ConvStudent):
    """X → two 3×3 convolutions, stride 2 → six inverted residual blocks → mean over the map →
    logits.

    The baseline classifies every place of the map and means over them. Mean, linear layer and a
    trained batch norm can change places; here the mean is first, so that there is a pooled vector,
    and the classifier costs one place.
    """

    def __init__(self, params: CPMobile, n_mels: int, task: Task):
        momentum, base = params.momentum, divisible(params.base_channels)
        inputs, stages, number = base, [], 0
        for stage, blocks in enumerate(_BLOCKS):
            width = divisible(base * params.channels_multiplier**stage)
            stages.append([])
            for _ in range(blocks):
                number += 1
                stride = _STRIDES.get(number, (1, 1))
                hidden = divisible(inputs * params.expansion)
                block = Block(
                    inputs,
                    hidden,
                    width,
                    stride,
                    momentum,
                    _RELU,
                    final=_RELU,
                    pooled_shortcut=True,
                )
                stages[-1].append(block)
                inputs = width
        stem = [
            ConvNorm(1, base // 4, momentum, stride=(2, 2), ceiling=_RELU),
            ConvNorm(base // 4, base, momentum, stride=(2, 2), ceiling=_RELU),
        ]
        head = NormedHead(inputs, len(task.labels), momentum)
        super().__init__(AsItIs(), stem, stages, inputs, head)
