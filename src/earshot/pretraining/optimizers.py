"""Optimizers of pretraining."""

from collections.abc import Iterable

import torch

from earshot.training.together import Together

BETAS, WEIGHT_DECAY = (0.9, 0.98), 0.01


def adamw(model: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Return AdamW for all of a model."""
    return _adamw(model.parameters(), learning_rate)


def _adamw(parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=learning_rate, betas=BETAS, weight_decay=WEIGHT_DECAY)


def muon(model: torch.nn.Module, learning_rate: float) -> Together:
    """Return Muon for the matrices of a model's encoder layers, AdamW for all else.

    It is PyTorch's, in bfloat16 as all of pretraining (`training.optimizers.Muon` says more).
    """
    named = dict(model.named_parameters())
    matrices = [name for name in named if ".layers." in name and named[name].ndim == 2]
    rest = [name for name in named if name not in matrices]
    of_layers = torch.optim.Muon(
        [named[name] for name in matrices],
        lr=learning_rate,
        weight_decay=WEIGHT_DECAY,
        adjust_lr_fn="match_rms_adamw",
    )
    others = _adamw([named[name] for name in rest], learning_rate)
    return Together((of_layers, others), learning_rate)


OPTIMIZERS = {"adamw": adamw, "muon": muon}
