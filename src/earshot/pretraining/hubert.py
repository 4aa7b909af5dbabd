"""HuBERT (Hsu et al. 2021; eqs. 6–8 of the scenes paper): hidden frames are predicted from the
others, by their cluster.

Each round clusters frames, trains on the clusters, and hands its encoder to the next, whose
clusters come from a layer of it. The original starts every round from new weights; here a round
goes on from the last, as steps are few.
"""

import math
import shutil
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModel, HubertConfig, Wav2Vec2FeatureExtractor
from transformers.utils import logging

from earshot.models import checkpoint
from earshot.params import HubertPretrain
from earshot.pretraining import Report, masking, targets
from earshot.pretraining.clips import Clips
from earshot.pretraining.small import size
from earshot.runtime.files import atomic
from earshot.runtime.progress import chunks, track
from earshot.teacher.wav2vec2 import CheckpointError, load_backbone

CHECKPOINT_EVERY = 100
SAMPLED = 100_000  # frames that are clustered
RESAMPLES = 2000
EVALUATED = 32  # clips at once


def config(params: HubertPretrain) -> HubertConfig:
    """Return HuBERT with narrow early convolutions: the same strides, 50 frames a second.

    Its front end is HuBERT base's, GELU and one norm over time: with ReLU or a layer norm after
    each convolution it learns spectra several times more slowly, and there are few steps.
    """
    return HubertConfig(
        **size(params.hidden, params.layers, params.heads),
        feat_extract_activation="gelu",
        feat_extract_norm="group",
        # 0.02 is for a width of 768; here it would all but close the layers
        initializer_range=params.hidden**-0.5,
        mask_time_length=params.mask_frames,
    )


def encoder(params: HubertPretrain) -> nn.Module:
    """Return the encoder that training starts from: new, or the checkpoint `start`; CheckpointError
    if that cannot serve.
    """
    if params.start is None:
        # the fastest here for 49 frames
        backbone = AutoModel.from_config(config(params), attn_implementation="eager")
        # from 0…1 it would drown its neighbours in the positional convolution
        backbone.masked_spec_embed.data *= 0.1
        return backbone
    try:
        backbone, _ = load_backbone(
            params.start, params.revision, params.cache, ("wav2vec2", "hubert")
        )
    except CheckpointError as error:
        raise CheckpointError(f"pretrain.start: {error}") from None
    if (hop := math.prod(backbone.config.conv_stride)) != targets.HOP:
        raise CheckpointError(
            f"pretrain.start={params.start!r}: a frame every {hop} samples, not {targets.HOP}"
        )
    backbone.config.apply_spec_augment = True
    if not hasattr(backbone, "masked_spec_embed"):
        # where it is 0, transformers leaves the mask's embedding out
        backbone.config.mask_time_prob = 0.05
        backbone.masked_spec_embed = nn.Parameter(
            torch.empty(backbone.config.hidden_size).uniform_()
        )
    return backbone


def logits(projected: torch.Tensor, codes: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return cos(A·o_t, e_c)/τ `(M, C)`, what eq. (8) takes the softmax of, for A·o_t `(M, D)` and
    e_c `(C, D)`.
    """
    return (
        functional.normalize(projected, dim=-1)
        @ functional.normalize(codes, dim=-1).T
        / temperature
    )


class Predictor(nn.Module):
    """An encoder, the projection A and the codes' embeddings e_c: which cluster are the masked
    frames of?
    """

    def __init__(self, backbone: nn.Module, clusters: int, temperature: float):
        super().__init__()
        wide = backbone.config.hidden_size
        self.backbone, self.temperature = backbone, temperature
        self.project = nn.Linear(wide, min(wide, 256))
        self.codes = nn.Parameter(torch.randn(clusters, min(wide, 256)))
        # for good: a checkpoint's own dropout and masks stay out, ours are drawn outside
        self.eval()

    def forward(self, waves: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        """Return eq. (8)'s logits `(M, C)` of the M masked frames, masks `(B, T)`, of waves `(B,
        N)`.
        """
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = self.backbone(waves, mask_time_indices=masked).last_hidden_state
            projected = self.project(hidden[masked])
        return logits(projected.float(), self.codes, self.temperature)

    @torch.inference_mode()
    def layer(self, waves: torch.Tensor, number: int) -> np.ndarray:
        """Return the output `(B, T, D)` of the transformer's layer `number`, from 1, for waves `(B,
        N)`.
        """
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return (
                self.backbone(waves, output_hidden_states=True)
                .hidden_states[number]
                .float()
                .numpy()
            )


def batches(lengths: np.ndarray, size: int, seed: list[int]) -> list[np.ndarray]:
    """Return one epoch: every clip once, in batches of similar length, shuffled."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lengths))
    pools = [order[i : i + 8 * size] for i in range(0, len(order), 8 * size)]
    pools = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
    rows = [pool[i : i + size] for pool in pools for i in range(0, len(pool), size)]
    return [rows[i] for i in rng.permutation(len(rows))]


def alike(lengths: np.ndarray, numbers: Iterable[int]) -> Iterator[list[int]]:
    """Yield runs of up to 32 clips of one length, in order."""
    for _, run in groupby(numbers, key=lambda number: lengths[number]):
        yield from chunks(run, EVALUATED)


def collate(
    clips: Clips, codes: list[np.ndarray], numbers: Iterable[int], rng: np.random.Generator
) -> tuple[torch.Tensor, np.ndarray]:
    """Return waves `(B, N)` and their clusters `(B, T)`, cut to the frames of the shortest clip at
    random places.
    """
    numbers = list(numbers)
    shortest = min(len(codes[number]) for number in numbers)
    waves, wanted = [], []
    for number in numbers:
        first = rng.integers(len(codes[number]) - shortest + 1)
        begin, wave = first * targets.HOP, targets.unit_variance(clips[number])
        waves.append(wave[begin : begin + (shortest - 1) * targets.HOP + targets.RECEPTIVE])
        wanted.append(codes[number][first : first + shortest])
    return torch.from_numpy(np.stack(waves)), np.stack(wanted)


def cluster(
    clips: Clips,
    features: targets.Features,
    clusters: int,
    standardise: bool,
    seed: int,
    path: Path,
) -> list[np.ndarray]:
    """Return each clip's clusters `(T,)`, from the file `path` or written to it.

    Centres are those of a sample of the training clips; no more than that and a batch is in memory.
    """
    counts = [targets.frames(length) for length in clips.lengths]
    if not path.exists():
        order = np.random.default_rng(seed).permutation(clips.training)
        enough = int(np.searchsorted(np.cumsum([counts[number] for number in order]), SAMPLED)) + 1
        codebook = targets.fit(features(np.sort(order[:enough])), clusters, seed, standardise)
        everything = track(features(range(len(clips))), "targets", total=len(clips), unit="clip")
        codes = np.concatenate([codebook.assign(one) for one in everything])
        arrays = {"codes": codes.astype(np.int32)} | vars(codebook)
        checkpoint.save_weights(
            path, {name: torch.from_numpy(array) for name, array in arrays.items()}
        )
    codes = checkpoint.load_weights(path)["codes"].numpy()
    return np.split(codes, np.cumsum(counts)[:-1])


def train(
    predictor: Predictor,
    clips: Clips,
    codes: list[np.ndarray],
    params: HubertPretrain,
    steps: int,
    seed: list[int],
    path: Path,
    report: Report,
) -> None:
    """Minimise eq. (7) over the masked frames, their mean; `report` gets each step's loss and
    accuracy.

    An interrupted run goes on from `path`, repeats what it had reported, and ends in the same
    weights.
    """
    optimizer = torch.optim.AdamW(
        predictor.parameters(), lr=params.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    saved = checkpoint.load(path, predictor, optimizer) or {"step": 0, "seen": []}
    seen: list[list[float]] = saved["seen"]
    for step, (loss, right) in enumerate(seen):
        report(step, {"loss": loss, "accuracy": right})
    lengths, epoch, rows = clips.lengths[clips.training], -1, []
    for step in track(range(saved["step"], steps), "hubert", unit="step"):
        per_epoch = math.ceil(len(lengths) / params.batch_clips)
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            rows = batches(lengths, params.batch_clips, [*seed, epoch])
        rng = np.random.default_rng([*seed, 2**31, step])
        waves, wanted = collate(clips, codes, rows[step % per_epoch], rng)
        masked = masking.spans(*wanted.shape, params.mask_share, params.mask_frames, rng)
        rise, fall = (step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps)
        optimizer.param_groups[0]["lr"] = params.learning_rate * min(rise, fall)
        answers = torch.from_numpy(wanted[masked]).long()
        guesses = predictor(waves, torch.from_numpy(masked))
        loss = functional.cross_entropy(guesses, answers)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"step {step}: the loss is {loss.item()}")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(predictor.parameters(), 1.0)
        optimizer.step()
        seen.append([loss.item(), (guesses.argmax(-1) == answers).float().mean().item()])
        report(step, {"loss": seen[-1][0], "accuracy": seen[-1][1]})
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            checkpoint.save(path, predictor, optimizer, {"step": step + 1, "seen": seen})


@torch.inference_mode()
def evaluate(
    predictor: Predictor, clips: Clips, codes: list[np.ndarray], params: HubertPretrain, seed: int
) -> dict[str, float]:
    """Return accuracy on masked frames of the held-out clips, 95% by resampling clips, beside
    always the commonest cluster.

    `perplexity` and `clusters_used` are of the training clips' targets.
    """
    right, masked_frames, answers, losses = [], [], [], []
    for number, run in enumerate(alike(clips.lengths, clips.held_out)):
        rng = np.random.default_rng([seed, *b"held out", number])
        waves, wanted = collate(clips, codes, run, rng)
        masked = masking.spans(*wanted.shape, params.mask_share, params.mask_frames, rng)
        guesses = predictor(waves, torch.from_numpy(masked))
        hits = np.zeros(wanted.shape, bool)
        hits[masked] = guesses.argmax(-1).numpy() == wanted[masked]
        right += hits.sum(1).tolist()
        masked_frames += masked.sum(1).tolist()
        answers.append(wanted[masked])
        losses.append(
            functional.cross_entropy(
                guesses, torch.from_numpy(wanted[masked]).long(), reduction="none"
            ).numpy()
        )
    hit, count, wanted = np.array(right), np.array(masked_frames), np.concatenate(answers)
    draws = np.random.default_rng(seed).integers(len(hit), size=(RESAMPLES, len(hit)))
    low, high = np.quantile(hit[draws].sum(1) / count[draws].sum(1), [0.025, 0.975])
    learnt = np.concatenate([codes[number] for number in clips.training])
    return {
        "accuracy": float(hit.sum() / count.sum()),
        "accuracy_low": float(low),
        "accuracy_high": float(high),
        "majority": float(np.bincount(wanted).max() / len(wanted)),
        "loss": float(np.concatenate(losses).mean()),
        "clusters_used": len(np.unique(learnt)),
        "perplexity": targets.perplexity(learnt),
    }


def save(backbone: nn.Module, folder: Path, scratch: Path) -> None:
    """Write the encoder and its preprocessor as a checkpoint folder: float16 safetensors, as
    transformers reads it.
    """
    logging.disable_progress_bar()
    backbone.half().save_pretrained(scratch)
    backbone.float()
    Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=True).save_pretrained(scratch)
    for file in sorted(scratch.iterdir()):
        with atomic(folder / file.name) as partial:
            shutil.copyfile(file, partial)


def _features(predictor: Predictor | None, clips: Clips, layer: int | None) -> targets.Features:
    def heard(numbers: Iterable[int]) -> Iterator[np.ndarray]:
        if layer is None:
            yield from (targets.mfcc(targets.unit_variance(clips[number])) for number in numbers)
            return
        for run in alike(clips.lengths, numbers):
            waves = np.stack([targets.unit_variance(clips[number]) for number in run])
            yield from predictor.layer(torch.from_numpy(waves), layer)

    return heard


def _check(params: HubertPretrain, layers: int) -> None:
    for number, iteration in enumerate(params.iterations):
        if (iteration.layer or 0) > layers:
            raise ValueError(
                f"pretrain.iterations.{number}.layer={iteration.layer} must be at most {layers}"
            )
    if params.start is None and params.iterations[0].layer is not None:
        raise ValueError(
            f"pretrain.iterations.0.layer={params.iterations[0].layer} needs pretrain.start; "
            "null is MFCC"
        )


def run(
    clips: Clips, params: HubertPretrain, seed: int, scratch: Path, folder: Path, report: Report
) -> dict[str, Any]:
    """Train all rounds and write the checkpoint; return held-out scores of each, `iteration_1` and
    so on.

    CheckpointError or ValueError say why it cannot be done.
    """
    torch.manual_seed(seed)
    backbone = encoder(params)
    _check(params, len(backbone.encoder.layers))
    metrics: dict[str, Any] = {
        "clips": len(clips.training),
        "held_out_clips": len(clips.held_out),
        "skipped_clips": clips.skipped,
    }
    predictor, before = Predictor(backbone, 2, params.temperature), 0
    for number, iteration in enumerate(params.iterations, 1):
        name = f"iteration_{number}"
        features = _features(predictor, clips, iteration.layer)
        file = scratch / f"{name}-targets.safetensors"
        codes = cluster(
            clips, features, iteration.clusters, iteration.layer is not None, seed + number, file
        )
        torch.manual_seed(seed + number)
        predictor = Predictor(predictor.backbone, iteration.clusters, params.temperature)

        def tell(
            step: int, figures: dict[str, float], name: str = name, before: int = before
        ) -> None:
            report(before + step, {f"{name}/{key}": value for key, value in figures.items()})

        train(
            predictor,
            clips,
            codes,
            params,
            iteration.steps,
            [seed, number],
            scratch / f"{name}.safetensors",
            tell,
        )
        metrics[name] = evaluate(predictor, clips, codes, params, seed)
        before += iteration.steps
    save(predictor.backbone, folder, scratch / "checkpoint")
    return metrics
