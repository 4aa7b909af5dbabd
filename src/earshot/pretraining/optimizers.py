"""Optimizers of pretraining."""

from collections.abc import Iterable
from typing import Any

import torch

BETAS, WEIGHT_DECAY = (0.9, 0.98), 0.01


def adamw(model: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Return AdamW for all of a model."""
    return _adamw(model.parameters(), learning_rate)


def _adamw(parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=learning_rate, betas=BETAS, weight_decay=WEIGHT_DECAY)


class Muon(torch.optim.Optimizer):
    """Muon for the matrices of a model's encoder layers, AdamW for all else, as one optimizer.

    Muon makes the momentum of a matrix orthogonal before it steps, so that rare directions are
    learned as fast as common ones (Jordan et al. 2024, kellerjordan.github.io/posts/muon); its
    steps have the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so both share one rate.
    """

    def __init__(self, model: torch.nn.Module, learning_rate: float):
        named = dict(model.named_parameters())
        matrices = [name for name in named if ".layers." in name and named[name].ndim == 2]
        rest = [name for name in named if name not in matrices]
        self.parts = (
            torch.optim.Muon(
                [named[name] for name in matrices],
                lr=learning_rate,
                weight_decay=WEIGHT_DECAY,
                adjust_lr_fn="match_rms_adamw",
            ),
            _adamw([named[name] for name in rest], learning_rate),
        )
        self._counts = len(matrices), len(rest)
        super().__init__([named[name] for name in [*matrices, *rest]], {"lr": learning_rate})

    def step(self, closure: None = None) -> None:
        """Let both take a step, at the rate of this one."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.param_groups[0]["lr"]
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both, numbered as the parameters of this one."""
        states, first = {}, 0
        for part, count in zip(self.parts, self._counts, strict=True):
            own = part.state_dict()["state"]
            states |= {first + number: state for number, state in own.items()}
            first += count
        return super().state_dict() | {"state": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states of both."""
        states, first = state_dict["state"], 0
        for part, count in zip(self.parts, self._counts, strict=True):
            own = {n: states[first + n] for n in range(count) if first + n in states}
            part.load_state_dict(part.state_dict() | {"state": own})
            first += count


OPTIMIZERS = {"adamw": adamw, "muon": Muon}
