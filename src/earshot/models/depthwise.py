"""A convolution of each unit along time."""

import torch
from torch import nn


class Depthwise(nn.Conv2d):
    """A convolution of each unit over `kernel` frames, `(B, T, D)`.

    Of two dimensions, for channels-last memory: that of one takes several times as long.
    """

    def __init__(self, width: int, kernel: int):
        super().__init__(width, width, (kernel, 1), padding=(kernel // 2, 0), groups=width)
        self.to(memory_format=torch.channels_last)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        maps = frames.transpose(1, 2).unsqueeze(3)  # (B, D, T, 1)
        return super().forward(maps).squeeze(3).transpose(1, 2)
