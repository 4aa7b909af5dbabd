"""Which teacher layers resemble a student's stage: by which moments of a clip resemble which.

A convolutional student has no attention weights. What can be compared is the map that attention is
computed from: every moment's frames against every other's. B clips, S student stages, L teacher
layers.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

SIZE = 12  # moments a clip
_ROUNDING = 1e-5  # relative: what differs by less is taken as constant


@torch.no_grad()
def attention(frames: torch.Tensor, lengths: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    """Return the attention maps `(B, size, size)` of frames `(B, T, D)`, of which the first
    `lengths` `(B,)` are real.

    A clip's own length is cut into `size` equal moments (a frame on a border counts in both by its
    shares); cosines between their means, the clip's mean subtracted. Of these, the ones between
    different moments, less their mean and over their norm: the inner product of two maps is then
    the correlation in [−1, 1] of what resembles what. Rotating, scaling or shifting the features
    changes nothing. A clip that never changes, or whose moments all differ alike, has nothing to
    compare: zeros.
    """
    lengths = lengths.to(frames.device).clamp(min=1)[:, None, None]
    # (B, size + 1, 1)
    borders = torch.arange(size + 1, device=frames.device)[None, :, None] * lengths / size
    start = torch.arange(frames.shape[1], device=frames.device)
    shares = (
        torch.minimum(borders[:, 1:], start + 1) - torch.maximum(borders[:, :-1], start)
    ).clamp(min=0)
    real = start[None, :, None] < lengths
    # (B, size, D)
    pooled = (shares * size / lengths).to(frames.dtype) @ frames.masked_fill(~real, 0)
    moments = pooled - pooled.mean(1, keepdim=True)
    loudest = pooled.norm(dim=-1).amax(1)[:, None, None]
    moments = F.normalize(
        moments.where(moments.norm(dim=-1, keepdim=True) > _ROUNDING * loudest, 0), dim=-1
    )
    off_diagonal = ~torch.eye(size, dtype=torch.bool, device=frames.device)
    cosines = moments @ moments.mT
    mean = (cosines * off_diagonal).sum((1, 2), keepdim=True) / max(off_diagonal.sum().item(), 1)
    centred = (cosines - mean) * off_diagonal
    norm = centred.norm(dim=(1, 2), keepdim=True)
    return torch.where(norm > _ROUNDING * size, centred / norm.clamp(min=_ROUNDING), 0)


def similarity(student: Sequence[torch.Tensor], teacher: torch.Tensor) -> torch.Tensor:
    """Return how alike S stages' maps, each `(B, size, size)`, and L layers' `(B, L, size, size)`
    are: `(S, L)`.

    The inner product of two maps of `attention`, mean over clips, in [−1, 1].
    """
    return torch.einsum("sbij,blij->sl", torch.stack(list(student)), teacher) / len(teacher)


def top(similarity: torch.Tensor, k: int) -> torch.Tensor:
    """Return the k layers `(S, k)` most similar to each stage, from 0, the best first; of equals
    the lower one.

    Raises ValueError when there are fewer than k layers.
    """
    if k > similarity.shape[1]:
        raise ValueError(f"top={k} layers to learn from, but the teacher has {similarity.shape[1]}")
    return similarity.sort(dim=1, descending=True, stable=True).indices[:, :k]
