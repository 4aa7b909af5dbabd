"""Neighbouring frames joined to one, which is where a student's frames become fewer."""

import torch
from torch import nn


def stack_frames(
    mel: torch.Tensor, lengths: torch.Tensor, stack: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Join `stack` neighbouring frames: `(B, T, F)` → `(B, ⌈T/stack⌉, stack·F)`, with the new
    lengths.

    A last, incomplete stack is filled up with zeros, so every clip stacks the same alone or in a
    batch.
    """
    batch, frames, width = mel.shape
    mel = nn.functional.pad(mel, (0, 0, 0, -frames % stack))
    return mel.reshape(batch, -1, stack * width), (lengths + stack - 1) // stack
