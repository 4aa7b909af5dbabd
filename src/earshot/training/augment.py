"""Changes made to batches of log-mel while a student trains: time roll, mixup, Freq-MixStyle,
vocal tract length perturbation and SpecAugment.

Where a loss compares the student with the teacher, the teacher's signals are changed alike: rolled
and mixed. Freq-MixStyle, warps and masks are what the student must see through. B clips, T frames,
F bands, C classes, U teacher frames. Every draw comes from torch's generators, so a seeded epoch
repeats.
"""

import numpy as np
import torch
from torch.distributions import Beta
from torch.nn.functional import one_hot
from torchaudio.functional import mask_along_axis_iid

from earshot.params import Augment, Masks, Mixup, Roll, Warp
from earshot.training.batches import Batch
from earshot.training.losses import UNLABELLED

_VARIANCE = 1e-6  # keeps a band that never changes from being blown up
MIXED = {"logits", "layer_logits", "hidden", "front"}  # what a loss compares clip by clip


def augment_batch(batch: Batch, params: Augment) -> None:
    """Change a batch, its labels and its teacher's signals as `params` say."""
    if params.roll:
        roll_batch(batch, draw_shifts(len(batch.lengths), params.roll))
    if params.mixup:
        known = batch.targets["answers"] != UNLABELLED
        mix_batch(batch, *draw_partners(known, params.mixup))
    if params.mixstyle:
        batch.sequences = freq_mixstyle(
            batch.sequences, batch.lengths, params.mixstyle.p, params.mixstyle.alpha
        )
    if params.warp:
        batch.sequences = warp(batch.sequences, draw_factors(len(batch.lengths), params.warp))
    if params.masks:
        batch.sequences = masks(batch.sequences, batch.lengths, params.masks)


def draw_shifts(clips: int, params: Roll) -> torch.Tensor:
    """Return by how many frames each clip moves, `(B,)`: 0 for those outside the share."""
    shifts = torch.randint(-params.frames, params.frames + 1, (clips,))
    return shifts * (torch.rand(clips) < params.p)


def roll_batch(batch: Batch, shifts: torch.Tensor) -> None:
    """Roll each clip by `shifts` `(B,)` frames, and the teacher's front end by as much time."""
    batch.sequences = roll(batch.sequences, batch.lengths, shifts)
    if "front" in batch.signals:
        lengths = batch.signals["front_lengths"]
        scaled = (shifts * lengths / batch.lengths).round().long()
        batch.signals["front"] = roll(batch.signals["front"], lengths, scaled)


def roll(frames: torch.Tensor, lengths: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Return `(B, T, F)` with frame t of each clip at (t + shift) mod its length; padding stays."""
    time = torch.arange(frames.shape[1])
    source = (time - shifts[:, None]) % lengths[:, None]  # (B, T)
    source = source.where(time < lengths[:, None], time)
    return frames.take_along_dim(source.unsqueeze(-1), 1)


def draw_partners(known: torch.Tensor, params: Mixup) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each clip's partner and its own weight, `(B,)` each: 1 for those outside the share.

    Clips whose label is `known` `(B,)` are mixed with such: half a label is none. The larger weight
    is a clip's own, as its length is.
    """
    order = torch.arange(len(known))
    for kind in (known, ~known):
        rows = order[kind]
        order[kind] = rows[torch.randperm(len(rows))]
    drawn = Beta(params.alpha, params.alpha).sample(known.shape)
    weights = torch.maximum(drawn, 1 - drawn)
    return order, weights.where(torch.rand(len(known)) < params.p, 1.0)


def mix_batch(batch: Batch, order: torch.Tensor, weights: torch.Tensor) -> None:
    """Mix each clip, the only item about it, with clip `order[b]`, λ = `weights` `(B,)` its own.

    The cached teacher was never given the mixture: logits and frames are mixed like labels:
    λz + (1−λ)z′. Labels become soft, `(B, C)`.
    """
    batch.sequences = mix_powers(batch.sequences, batch.lengths, order, weights)
    classes = len(batch.items[0].options)
    answers = batch.targets["answers"]
    labels = one_hot(answers.clamp(min=0), classes) * (answers != UNLABELLED)[:, None]
    batch.targets["answers"] = _mixed(labels.float(), order, weights)  # (B, C)
    for name in MIXED & batch.signals.keys():
        batch.signals[name] = _mixed(batch.signals[name], order, weights)


def mix_powers(
    mel: torch.Tensor, lengths: torch.Tensor, order: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return ln(λ·eˣ + (1−λ)·eˣ′) of log-powers `(B, T, F)`: beyond its end the partner is silent.

    Padding is returned as it came.
    """
    log_weights = weights.log()[:, None, None]  # (B, 1, 1)
    log_rest = (1 - weights).log()[:, None, None]  # (B, 1, 1)
    partner = mel[order].masked_fill(~_real(mel, lengths[order]).unsqueeze(-1), -torch.inf)
    mixed = torch.logaddexp(mel + log_weights, partner + log_rest)
    return mixed.where(_real(mel, lengths).unsqueeze(-1), mel)


def _mixed(rows: torch.Tensor, order: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return λ·row + (1−λ)·row of the partner, `(B, …)`."""
    share = weights.view(-1, *[1] * (rows.dim() - 1))
    return share * rows + (1 - share) * rows[order]


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


def draw_factors(clips: int, params: Warp) -> torch.Tensor:
    """Return by how much each clip's mel axis is stretched, `(B,)`: 1 for those outside the
    share.
    """
    drawn = 1 + params.by * (2 * torch.rand(clips) - 1)
    return drawn.where(torch.rand(clips) < params.p, 1.0)


def warp(mel: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Return `(B, T, F)` with band f of what was band f · factor, `factors` `(B,)`, between two
    bands interpolated; beyond the highest it holds.

    Vocal tract length perturbation (Jaitly and Hinton 2013), on mel bands instead of hertz: what is
    said stays, who says it changes.
    """
    bands = mel.shape[2]
    places = torch.arange(bands, device=mel.device) * factors.to(mel)[:, None]  # (B, F)
    places = places.clamp(max=bands - 1)
    below = places.long()
    above = (below + 1).clamp(max=bands - 1)
    share = (places - below)[:, None]  # (B, 1, F)
    lower, upper = (mel.gather(2, of[:, None].expand_as(mel)) for of in (below, above))  # (B, T, F)
    return lower + share * (upper - lower)


def masks(mel: torch.Tensor, lengths: torch.Tensor, params: Masks) -> torch.Tensor:
    """Return `(B, T, F)` with one span of frames and one of bands replaced by the clip's mean
    (SpecAugment), on a share `params.p` of the clips.

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
    kept[torch.rand(len(kept)) >= params.p] = 1
    within = real.unsqueeze(-1)
    mean = mel.masked_fill(~within, 0).sum((1, 2), keepdim=True) / (
        lengths.to(mel)[:, None, None] * mel.shape[2]
    )
    return torch.where(kept.bool(), mel, mean)


def _real(mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return torch.arange(mel.shape[1], device=mel.device) < lengths.to(mel.device)[:, None]  # (B, T)
