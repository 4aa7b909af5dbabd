"""Whether a student's forms agree: PyTorch, float ONNX, int8 ONNX, and the simulation of int8."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from earshot import predict
from earshot.features.log_mel import log_mel
from earshot.models.ctc import CTCHead
from earshot.models.heads import Encoded, encode
from earshot.params import Features


class Clip(NamedTuple):
    """A clip's samples `(N,)`, and what is read beside it, each with a leading axis of 1."""

    samples: np.ndarray
    inputs: tuple[np.ndarray, ...]  # question ids (1, Lq) and option ids (1, C, Lo), or nothing


@torch.inference_mode()
def agreement(
    student: nn.Module,
    features: Features,
    float_path: str | Path,
    int8_path: str | Path,
    clips: Sequence[Clip],
    simulated: nn.Module | None = None,
) -> dict[str, float]:
    """Compare logits and the share of same answers, one item per clip; differences are absolute. Of
    a transcript every frame is an answer, and its log-posteriors are the logits.

    `float_…` is float ONNX against PyTorch, `int8_…` is int8 against float ONNX, and `simulated_…`
    is int8 against the student of `fake_quant` that it was made from, if there is one. ValueError
    when there are no clips.
    """
    if not clips:
        raise ValueError("no clips to compare")
    mels = [torch.from_numpy(log_mel(clip.samples, features))[None] for clip in clips]
    in_torch = _logits_of(student, mels, clips)
    in_float = _logits_of_file(float_path, clips)
    in_int8 = _logits_of_file(int8_path, clips)
    found = _compared("float", in_float, in_torch) | _compared("int8", in_int8, in_float)
    if simulated is not None:
        found |= _compared("simulated", in_int8, _logits_of(simulated, mels, clips))
    return found


def _logits_of(
    model: nn.Module, mels: Sequence[torch.Tensor], clips: Sequence[Clip]
) -> list[np.ndarray]:
    """Return logits `(1, C)` of each clip, whose mel is `(1, T, F)`."""
    model.eval()
    logits = []
    for mel, clip in zip(mels, clips, strict=True):
        inputs = [torch.from_numpy(ids) for ids in clip.inputs]
        encoded = encode(model, mel, torch.tensor([mel.shape[1]]), torch.zeros(1, dtype=torch.long))
        logits.append(_answer(model.head, encoded, inputs).numpy())
    return logits


def _answer(head: nn.Module, encoded: Encoded, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return what a file of this head says of one clip."""
    if isinstance(head, CTCHead):
        return head.symbols(encoded)[0].log_softmax(-1)  # (T, V)
    return head(encoded, *inputs) if inputs else head(encoded.pooled)  # (1, C)


def _logits_of_file(path: str | Path, clips: Sequence[Clip]) -> list[np.ndarray]:
    student = predict.load(path)
    return [np.atleast_2d(student.logits(clip.samples, *clip.inputs)) for clip in clips]


def _same(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of rows `(N, C)` whose largest value is in the same place."""
    return float((one.argmax(-1) == other.argmax(-1)).mean())


def _compared(
    name: str, one: Sequence[np.ndarray], other: Sequence[np.ndarray]
) -> dict[str, float]:
    pairs = list(zip(one, other, strict=True))
    differences = np.concatenate([np.abs(a - b) for a, b in pairs], axis=None)
    return {
        f"{name}_max_difference": float(differences.max()),
        f"{name}_mean_difference": float(differences.mean()),
        f"{name}_same_answers": float(np.mean([_same(a, b) for a, b in pairs])),
    }
