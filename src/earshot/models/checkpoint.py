"""Exact resume of a training run, as safetensors: no pickles.

Nothing random is stored: every step seeds itself from (seed, step), so model, optimizer and
position are all there is.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from earshot.runtime.files import atomic


class WeightsError(ValueError):
    """A damaged file of weights; the message is one line and names it."""


def trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of a model's weights without its frozen parameters, which may be most of it."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {
        name: tensor.clone().contiguous()
        for name, tensor in model.state_dict().items()
        if name not in frozen
    }


def save(
    path: str | Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
) -> None:
    """Write what trains of a model, its Adam state and JSON-able progress to one atomic safetensors
    file.
    """
    tensors = {f"model.{name}": tensor for name, tensor in trained(model).items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer.{index}.{name}": tensor.contiguous() for name, tensor in state.items()
        }
    with atomic(path) as partial:
        save_file(tensors, partial, metadata={"progress": json.dumps(progress)})


def load(
    path: str | Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Restore what `save` wrote; return its progress, or None when there is no checkpoint."""
    if not Path(path).exists():
        return None
    weights: dict[str, torch.Tensor] = {}
    states: dict[int, dict[str, torch.Tensor]] = {}
    with safe_open(path, "pt") as file:
        for key in file.keys():
            owner, name = key.split(".", 1)
            if owner == "model":
                weights[name] = file.get_tensor(key)
            else:
                index, field = name.split(".", 1)
                states.setdefault(int(index), {})[field] = file.get_tensor(key)
        progress = json.loads(file.metadata()["progress"])
    model.load_state_dict(weights, strict=False)
    optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
    return progress


def save_weights(
    path: str | Path, weights: dict[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write named tensors, and what `read_metadata` returns, to one atomic safetensors file."""
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    with atomic(path) as partial:
        save_file(tensors, partial, metadata=metadata)


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return what a file of weights says of them; WeightsError names a damaged file."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(f"{path}: damaged weights ({str(error).splitlines()[0]})") from None


def load_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read named tensors; WeightsError names a damaged file."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path}: damaged weights ({str(error).splitlines()[0]})") from None
