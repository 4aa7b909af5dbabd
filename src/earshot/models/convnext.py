"""A small ConvNeXt along time (Liu et al. 2022, arXiv 2201.03545): each unit looks at near frames,
then each frame mixes its units.

Of a step's arithmetic it asks less than half of what an LSTM does that learns as much
(`docs/bench.md`). Padding changes nothing: it is zeroed before every convolution, and frames are
normalised one by one. B clips, T frames, D the width.
"""

import torch
from torch import nn
from torch.nn import functional as F

from earshot.models.ctc import ctc_head, language_embedding
from earshot.models.depthwise import Depthwise
from earshot.models.heads import inside, mean_of
from earshot.models.pruning import Group, Place
from earshot.models.stack import stack_frames
from earshot.params import ConvNeXt
from earshot.tasks.task import Task


class Block(nn.Module):
    """A convolution of each unit, and two layers that mix them, added to what came."""

    def __init__(self, params: ConvNeXt):
        super().__init__()
        width, units = params.width, params.units
        self.depth, self.norm = Depthwise(width, params.kernel), nn.LayerNorm(width)
        self.wider, self.narrower = nn.Linear(width, units), nn.Linear(units, width)
        self.dropout = nn.Dropout(params.dropout)

    def forward(self, frames: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return `(B, T, D)` for frames `(B, T, D)`, `real` `(B, T)` of them."""
        near = self.depth(frames * real[..., None])
        mixed = self.narrower(F.silu(self.wider(self.norm(near))))
        return frames + self.dropout(mixed)

    def group(self, prefix: str) -> Group:
        """Return the units between the two layers; `prefix` is what its tensors' names begin
        with.
        """
        wider = [Place(f"{prefix}.wider.{name}", 0) for name in ("weight", "bias")]
        return Group(self.wider.out_features, [*wider, Place(f"{prefix}.narrower.weight", 1)])


class ConvNeXtStudent(nn.Module):
    """Stacks of `stack` frames, a linear layer, then blocks; `width` is D."""

    def __init__(self, params: ConvNeXt, n_mels: int, task: Task):
        super().__init__()
        self.width, self.stack = params.width, params.stack
        self.strides = [params.stack] * params.layers
        stacked = params.stack * n_mels
        self.enter, self.input_norm = nn.Linear(stacked, params.width), nn.LayerNorm(params.width)
        self.blocks = nn.ModuleList(Block(params) for _ in range(params.layers))
        self.output_norm = nn.LayerNorm(params.width)
        languages = params.languages, params.language
        self.head = ctc_head(task, params.width, *languages)
        self.language = language_embedding(*languages, stacked)

    def encode(
        self, mel: torch.Tensor, lengths: torch.Tensor, language: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the mean over time `(B, D)` for log-mel `(B, T, n_mels)`, lengths `(B,)` in
        frames, and each block's output `(B, ⌈T/stack⌉, D)`. With `language`, probabilities
        `(B, K)`, their embedding is added to every stack.
        """
        frames, lengths = stack_frames(mel, lengths, self.stack)  # (B, ⌈T/stack⌉, stack·n_mels)
        real = inside(lengths, frames.shape[1])
        if language is not None:
            frames = frames + self.language(language)[:, None]
        frames = self.input_norm(self.enter(frames))
        layers = []
        for block in self.blocks:
            frames = block(frames, real)
            layers.append(frames)
        layers[-1] = self.output_norm(frames)
        return mean_of(layers[-1], real), layers

    def real(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return which stacks are no padding `(B, ⌈T/stack⌉)`."""
        return inside(-(-lengths // self.stack), -(-mel.shape[1] // self.stack))

    def groups(self) -> list[Group]:
        """Return of each block the units that it mixes with."""
        return [block.group(f"blocks.{number}") for number, block in enumerate(self.blocks)]

    def pool(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the mean over time alone, `(B, D)`."""
        return self.encode(mel, lengths)[0]
