"""A small Conformer (Gulati et al. 2020): what a clip says near and far, frame by frame.

Padding changes nothing: it is zeroed before every convolution and left out of attention, and frames
are normalised one by one (layer norms; a batch norm would take padding into account). B clips, T
frames, D the width.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from earshot.models.ctc import ctc_head, language_embedding
from earshot.models.depthwise import Depthwise
from earshot.models.heads import inside, mean_of
from earshot.models.pruning import Group, Place
from earshot.params import Conformer
from earshot.tasks.task import Task

_LOWEST = 10_000.0  # of the sines that encode positions


def rates(width: int) -> torch.Tensor:
    """Return the angular rates of the positional sines `(D / 2,)` (Vaswani et al. 2017)."""
    return torch.exp(-torch.arange(0, width, 2) / width * math.log(_LOWEST))


def places(frames: int, width: int) -> torch.Tensor:
    """Return sines and cosines of each frame's place `(T, D)`."""
    angles = torch.arange(frames)[:, None] * rates(width)  # (T, D / 2)
    return torch.cat([angles.sin(), angles.cos()], 1)


class Feed(nn.Sequential):
    """A feed-forward layer that widens a frame and narrows it again, `(B, T, D)`."""

    def __init__(self, width: int, units: int, dropout: float):
        layers = nn.Linear(width, units), nn.SiLU(), nn.Dropout(dropout)
        super().__init__(nn.LayerNorm(width), *layers, nn.Linear(units, width))

    def group(self, prefix: str) -> Group:
        """Return its units; `prefix` is what its tensors' names begin with."""
        wider, narrower = self[1], f"{prefix}.4.weight"
        places = [Place(f"{prefix}.1.weight", 0), Place(f"{prefix}.1.bias", 0), Place(narrower, 1)]
        return Group(wider.out_features, places)


class Attention(nn.Module):
    """Every real frame looks at all real frames of its clip, in several heads of `units` each."""

    def __init__(self, width: int, heads: int, units: int):
        super().__init__()
        self.heads, self.units = heads, units
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * heads * units)
        self.out = nn.Linear(heads * units, width)

    def forward(self, frames: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return `(B, T, D)` for frames `(B, T, D)`, `real` `(B, T)` of them."""
        parts = self.qkv(self.norm(frames)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (B, heads, T, units) each
        looked = F.scaled_dot_product_attention(query, key, value, real[:, None, None])
        return self.out(looked.transpose(1, 2).flatten(2))

    def group(self, prefix: str) -> Group:
        """Return its heads; `prefix` is what its tensors' names begin with."""
        qkv = [f"{prefix}.qkv.weight", f"{prefix}.qkv.bias"]  # queries, keys, values
        places = [Place(name, 0, repeats=3, size=self.units) for name in qkv]
        return Group(self.heads, [*places, Place(f"{prefix}.out.weight", 1, size=self.units)])


class Convolution(nn.Module):
    """A gate, a convolution of each unit over `kernel` frames, a mix of the units."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.norm, self.gate = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.depth = Depthwise(width, kernel)
        self.between, self.mix = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, frames: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return `(B, T, D)` for frames `(B, T, D)`, `real` `(B, T)` of them."""
        gated = F.glu(self.gate(self.norm(frames)), -1) * real[..., None]
        return self.mix(F.silu(self.between(self.depth(gated))))


class Block(nn.Module):
    """Half a feed-forward layer, attention, convolution, the other half."""

    def __init__(self, params: Conformer):
        super().__init__()
        width, dropout = params.width, params.dropout
        self.before = Feed(width, params.feed_units, dropout)
        self.behind = Feed(width, params.feed_units, dropout)
        self.attention = Attention(width, params.heads, params.head_units)
        self.convolution = Convolution(width, params.kernel)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(self, frames: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Return `(B, T, D)` for frames `(B, T, D)`, `real` `(B, T)` of them."""
        frames = frames + 0.5 * self.dropout(self.before(frames))
        frames = frames + self.dropout(self.attention(frames, real))
        frames = frames + self.dropout(self.convolution(frames, real))
        frames = frames + 0.5 * self.dropout(self.behind(frames))
        return self.norm(frames)


class ConformerStudent(nn.Module):
    """Convolutions that keep every `stride`-th frame, then Conformer blocks; `width` is D."""

    def __init__(self, params: Conformer, n_mels: int, task: Task):
        super().__init__()
        self.width = params.width
        self.strides = [params.stride] * params.layers
        halvings = params.stride.bit_length() - 1
        inputs = [n_mels, *[params.width] * (halvings - 1)]
        self.halve = nn.ModuleList(
            nn.Conv1d(width, params.width, 3, stride=2, padding=1) for width in inputs
        )
        self.blocks = nn.ModuleList(Block(params) for _ in range(params.layers))
        languages = params.languages, params.language
        self.head = ctc_head(task, params.width, *languages)
        self.language = language_embedding(*languages, params.width)

    def encode(
        self, mel: torch.Tensor, lengths: torch.Tensor, language: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the mean over time `(B, D)` for log-mel `(B, T, n_mels)`, lengths `(B,)` in
        frames, and each block's output `(B, ⌈T/stride⌉, D)`. With `language`, probabilities
        `(B, K)`, their embedding is added to every frame before the blocks.
        """
        frames = mel
        for halve in self.halve:
            frames = frames * inside(lengths, frames.shape[1])[..., None]
            frames = F.silu(halve(frames.transpose(1, 2)).transpose(1, 2))
            lengths = (lengths + 1) // 2
        real = inside(lengths, frames.shape[1])
        frames = frames + places(frames.shape[1], self.width).to(frames)
        if language is not None:
            frames = frames + self.language(language)[:, None]
        layers = []
        for block in self.blocks:
            frames = block(frames, real)
            layers.append(frames)
        return mean_of(frames, real), layers

    def real(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return which frames are no padding `(B, ⌈T/stride⌉)`."""
        stride = self.strides[-1]
        return inside(-(-lengths // stride), -(-mel.shape[1] // stride))

    def groups(self) -> list[Group]:
        """Return of each block the units of its feed-forward layers, and its heads."""
        found = []
        for number, block in enumerate(self.blocks):
            prefix = f"blocks.{number}"
            found.append(block.before.group(f"{prefix}.before"))
            found.append(block.behind.group(f"{prefix}.behind"))
            found.append(block.attention.group(f"{prefix}.attention"))
        return found

    def pool(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the mean over time alone, `(B, D)`."""
        return self.encode(mel, lengths)[0]
