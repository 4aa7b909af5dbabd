"""Several optimizers as one."""

from collections.abc import Sequence
from typing import Any

import torch


class Together(torch.optim.Optimizer):
    """Several optimizers, each of its own parameters, as one with one rate."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer], learning_rate: float):
        self.parts = parts
        of_parts = [part.param_groups[0]["params"] for part in parts]
        self._counts = [len(parameters) for parameters in of_parts]
        every = [parameter for parameters in of_parts for parameter in parameters]
        super().__init__(every, {"lr": learning_rate})

    def step(self, closure: None = None) -> None:
        """Let each take a step, at the rate of this one."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.param_groups[0]["lr"]
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all, numbered as the parameters of this one."""
        states, first = {}, 0
        for part, count in zip(self.parts, self._counts, strict=True):
            own = part.state_dict()["state"]
            states |= {first + number: state for number, state in own.items()}
            first += count
        return super().state_dict() | {"state": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states of all."""
        states, first = state_dict["state"], 0
        for part, count in zip(self.parts, self._counts, strict=True):
            own = {n: states[first + n] for n in range(count) if first + n in states}
            part.load_state_dict(part.state_dict() | {"state": own})
            first += count
