"""Optimizers: AdamW for all of a model, or Muon for the matrices of its encoder."""

from collections.abc import Iterable

import torch
from torch import nn

from earshot.training.together import Together

MOMENTUM = 0.95
SIZE = 0.2  # of a step's entries, in the mean square, over the rate: about that of AdamW's
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024
ROUNDS = 3  # five teach students no more (docs/findings.md)
OUTSIDE = ("head.", "language.")  # of a student's encoder


class Muon(torch.optim.Optimizer):
    """Muon: a matrix steps by its momentum made orthogonal, so that rare directions are learned as
    fast as common ones (Jordan et al. 2024, kellerjordan.github.io/posts/muon); its steps have the
    size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so both share one rate.

    PyTorch's computes in bfloat16, which a processor without it does two dozen times as slowly
    (`docs/bench.md`), so this one keeps the matrices' own precision. A 1×1 convolution is a matrix.
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], learning_rate: float, weight_decay: float = 0.0
    ):
        super().__init__(matrices, {"lr": learning_rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._move(matrix, group["lr"], group["weight_decay"])

    def _move(self, matrix: nn.Parameter, rate: float, weight_decay: float) -> None:
        state = self.state[matrix]
        momentum = state.setdefault("momentum", torch.zeros_like(matrix))
        momentum.lerp_(matrix.grad, 1 - MOMENTUM)
        ahead = matrix.grad.lerp(momentum, MOMENTUM)  # Nesterov's
        way = orthogonal(ahead.flatten(1))
        size = SIZE * max(way.shape) ** 0.5
        matrix.mul_(1 - rate * weight_decay).sub_(way.view_as(matrix), alpha=rate * size)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return about U·Vᵀ of a matrix `(M, N)` = U·Σ·Vᵀ by rounds of Newton–Schulz: X ← aX + (bA +
    cA²)X with A = XXᵀ. Singular values from a fiftieth of Σ's norm on end between 0.7 and 1.2.
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrix.T if len(matrix) > matrix.shape[1] else matrix  # A is the smaller one
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(ROUNDS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if len(matrix) > matrix.shape[1] else wide


def encoder_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return what maps vectors to vectors inside a model's encoder and is trained: weights of
    linear layers, LSTMs and 1×1 convolutions. What reads answers off it is no such.
    """
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and not name.startswith(OUTSIDE)
        and parameter.ndim > 1
        and parameter.numel() == parameter.shape[0] * parameter.shape[1]
        and min(parameter.shape[:2]) > 1
    ]


def adamw(
    trained: nn.ModuleDict, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return AdamW for all that is trained."""
    return _adamw([p for p in trained.parameters() if p.requires_grad], learning_rate, weight_decay)


def muon(trained: nn.ModuleDict, learning_rate: float, weight_decay: float) -> Together:
    """Return Muon for the matrices of the encoder of `trained["model"]`, AdamW for the rest."""
    matrices = encoder_matrices(trained["model"])
    taken = {id(matrix) for matrix in matrices}
    rest = [p for p in trained.parameters() if p.requires_grad and id(p) not in taken]
    parts = [_adamw(rest, learning_rate, weight_decay)]
    if matrices:
        parts.append(Muon(matrices, learning_rate, weight_decay))
    return Together(parts, learning_rate)


def _adamw(
    parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    # fused: a step of it costs a seventh on small layers, on the CPU too
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)


OPTIMIZERS = {"adamw": adamw, "muon": muon}
