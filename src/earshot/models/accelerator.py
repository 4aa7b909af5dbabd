"""Where models run and which of several processes this is: the one place that knows of GPUs and of
fellow processes.

With a GPU, models run there under bfloat16 autocast; on a CPU everything here leaves things as they
are, and results stay the same to the byte. Several processes share a stage's work when it is
started by `torchrun` or `accelerate launch`, or when it starts them itself (`ranks`).
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

T = TypeVar("T")


@cache
def engine() -> Accelerator:
    """Return this process' accelerator: a GPU where there is one, with bfloat16, else the CPU as it
    is.
    """
    gpu = torch.cuda.is_available()
    return Accelerator(cpu=not gpu, mixed_precision="bf16" if gpu else "no")


def device() -> torch.device:
    """Return where models run."""
    return engine().device


def on_gpu() -> bool:
    """Whether models run on a GPU."""
    return device().type != "cpu"


def prefer(number: int) -> None:
    """Let this process use GPU `number`, counted round; call it first. Nothing without GPUs."""
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


def where(model: nn.Module) -> torch.device:
    """Return the device that a model's weights are on; the CPU for one without weights."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


@contextmanager
def hosting(model: nn.Module) -> Iterator[None]:
    """Have a model where models run, and where it was again afterwards."""
    before = where(model)
    if before == device():
        yield
        return
    with torch.inference_mode(False):  # weights moved within it could never be trained again
        model.to(device())
    try:
        yield
    finally:
        with torch.inference_mode(False):
            model.to(before)


def autocast(model: nn.Module) -> AbstractContextManager:
    """Return the context for a model's forward pass; one whose `in_float32` is set has no use for
    less.
    """
    return nullcontext() if getattr(model, "in_float32", False) else engine().autocast()


def put(thing: T, place: torch.device) -> T:
    """Return a tensor, or a dataclass with the tensors in it, on `place`; copies to a GPU overlap
    with its work.
    """
    if place.type == "cpu":
        return thing
    if isinstance(thing, torch.Tensor):
        return (thing.pin_memory() if place.type == "cuda" else thing).to(place, non_blocking=True)
    if isinstance(thing, dict):
        return {name: put(value, place) for name, value in thing.items()}
    if is_dataclass(thing):
        return replace(
            thing, **{field.name: put(getattr(thing, field.name), place) for field in fields(thing)}
        )
    return thing


# several processes


def ranks(default: int | None = None, on_cpu: int = 1) -> int:
    """Return how many processes a stage shall start to share its work.

    `EARSHOT_PROCESSES`, else `default`, else one a GPU, or `on_cpu` where there is none. One where
    a launcher has started several already.
    """
    if "RANK" in os.environ:
        return 1
    wanted = int(os.environ.get("EARSHOT_PROCESSES", 0))
    return wanted or default or torch.cuda.device_count() or on_cpu


def rank() -> int:
    """Return the number of this process, from 0."""
    return engine().process_index


def processes() -> int:
    """Return how many processes share the work."""
    return engine().num_processes


def is_main() -> bool:
    """Whether this is the process that writes what all of them made."""
    return engine().is_main_process


def wait() -> None:
    """Wait until all processes are here."""
    if processes() > 1:
        engine().wait_for_everyone()


def share(things: Sequence[T]) -> Sequence[T]:
    """Return those of `things` that fall to this process, dealt out in turns."""
    return things[rank() :: processes()]


def collect(part: list[T]) -> list[T]:
    """Return the results of all processes, each with those of its `share`, in the order of what was
    shared.
    """
    if processes() == 1:
        return part
    dealt = gather_object([part])
    return [dealt[n % len(dealt)][n // len(dealt)] for n in range(sum(map(len, dealt)))]


def gathered(part: list[T]) -> list[T]:
    """Return the lists of all processes as one; a process may have nothing to give."""
    return part if processes() == 1 else gather_object(part)


def total(*figures: float) -> list[float]:
    """Return the sum over all processes of each figure."""
    if processes() == 1:
        return list(figures)
    return (
        engine().reduce(torch.tensor(figures, dtype=torch.float64, device=device()), "sum").tolist()
    )


def average(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the mean over all processes of each named figure."""
    if processes() == 1:
        return dict(figures)
    return {
        name: sum / processes() for name, sum in zip(figures, total(*figures.values()), strict=True)
    }


def average_gradients(model: nn.Module) -> None:
    """Give every process the mean of all processes' gradients."""
    gradients = (parameter.grad for parameter in model.parameters())
    _average(gradient for gradient in gradients if gradient is not None)


def average_buffers(model: nn.Module) -> None:
    """Give every process the mean of all processes' running moments and ranges, each of which saw
    its share alone.
    """
    _average(buffer for buffer in model.buffers() if buffer.is_floating_point())


@torch.no_grad()
def _average(found: Iterable[torch.Tensor]) -> None:
    # to look for them takes 3% of a small student's step
    tensors = list(found) if processes() > 1 else []
    if not tensors:
        return
    flat: Any = engine().reduce(torch.cat([tensor.flatten() for tensor in tensors]), "mean")
    for tensor, mean in zip(
        tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True
    ):
        tensor.copy_(mean.view_as(tensor))
