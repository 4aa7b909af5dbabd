"""Changes made to log-mel batches while a student trains: Freq-MixStyle and SpecAugment. Only the
student sees them.

B clips, T frames, F bands. Every draw comes from torch's generators, so a seeded epoch repeats.
"""

import numpy as np
import torch
from torchaudio.functional import mask_along_axis_iid

from earshot.params import Augment, Masks

_VARIANCE = 1e-6  # keeps a band that never changes from being blown up


def augment_batch(mel: torch.Tensor, lengths: torch.Tensor, params: Augment) -> torch.Tensor:
    """Return a batch `(B, T, F)` of clips of `lengths` `(B,)` frames as `params` change it; labels
    stay as they are.
    """
    if params.mixstyle:
        mel = freq_mixstyle(mel, lengths, params.mixstyle.p, params.mixstyle.alpha)
    return masks(mel, lengths, params.masks) if params.masks else mel


def freq_mixstyle(
    mel: torch.Tensor,
    lengths: torch.Tensor,
    p: float,
    alpha: float,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Return `(B, T, F)` with probability p in mixed styles (Kim et al. 2022), each weight λ ~
    Beta(alpha, alpha).

    The partners are a permutation of the batch. Bands that the features have already normalised
    over time (`norm: meanvar`) have no style left to mix. `generator` defaults to torch's global
    one.
    """
    drawn = torch.randint(2**62, (), generator=generator).item()
    rng = np.random.default_rng(drawn)  # torch.distributions takes no generator
    if rng.random() >= p:
        return mel
    order, weights = rng.permutation(len(mel)), rng.beta(alpha, alpha, len(mel))
    return mix_styles(
        mel, lengths, torch.from_numpy(order), torch.from_numpy(weights).to(mel.dtype)
    )


def mix_styles(
    mel: torch.Tensor, lengths: torch.Tensor, order: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return `(B, T, F)` with λ = `weights` `(B,)` of each clip's own style and 1 − λ of clip
    `order[b]`'s.

    A style is each band's mean μ and deviation σ over the clip's frames, padding left out, without
    gradient: (x − μ)/σ · (λσ + (1−λ)σ′) + λμ + (1−λ)μ′. Padding is returned as it came.
    """
    real = _real(mel, lengths).unsqueeze(-1)
    order, weights = order.to(mel.device), weights.to(mel.device)[:, None, None]
    with torch.no_grad():
        frames = lengths.to(mel)[:, None, None]
        mean = mel.masked_fill(~real, 0).sum(1, keepdim=True) / frames
        variance = (mel - mean).masked_fill(~real, 0).square().sum(1, keepdim=True) / frames
        deviation = (variance + _VARIANCE).sqrt()
        scale = (weights * deviation + (1 - weights) * deviation[order]) / deviation
        mixed_mean = weights * mean + (1 - weights) * mean[order]
    return torch.where(real, (mel - mean) * scale + mixed_mean, mel)


def masks(mel: torch.Tensor, lengths: torch.Tensor, params: Masks) -> torch.Tensor:
    """Return `(B, T, F)` with one span of frames and one of bands per clip replaced by the clip's
    mean (SpecAugment).

    Widths are uniform in 0 … `params.time` and 0 … `params.frequency`; time masks lie within the
    clip's frames, and padding is returned as it came.
    """
    real, kept = _real(mel, lengths), torch.ones_like(mel)
    for length in lengths.unique().tolist():
        rows = (lengths == length).to(mel.device)
        clips = kept[rows, :length]
        for axis, widest in ((1, params.time), (2, params.frequency)):
            if widest > 0:  # torchaudio's widest is exclusive
                clips = mask_along_axis_iid(clips, min(widest, clips.shape[axis]) + 1, 0.0, axis)
        kept[rows, :length] = clips
    within = real.unsqueeze(-1)
    mean = mel.masked_fill(~within, 0).sum((1, 2), keepdim=True) / (
        lengths.to(mel)[:, None, None] * mel.shape[2]
    )
    return torch.where(kept.bool(), mel, mean)


def _real(mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return torch.arange(mel.shape[1], device=mel.device) < lengths.to(mel.device)[:, None]  # (B, T)
