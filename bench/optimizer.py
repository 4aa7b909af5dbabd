"""A step of Muon on the matrices of a student, against PyTorch's and against AdamW."""

from functools import partial

import torch
from torch import nn

from bench.rounds import Result, interleave, rows
from earshot.training.optimizers import ROUNDS, Muon

STEPS = 10
N_MELS, STACK = 40, 2


def _matrices(hidden: int) -> list[nn.Parameter]:
    """Return what two layers of LSTMs hold in both directions, with gradients."""
    torch.manual_seed(0)
    widths = (N_MELS * STACK, hidden, 2 * hidden, hidden)  # input and state of each layer
    made = [nn.Parameter(torch.randn(4 * hidden, width)) for width in 2 * widths]
    for matrix in made:
        matrix.grad = torch.randn_like(matrix)
    return made


def _steps(optimizer: torch.optim.Optimizer) -> None:
    for _ in range(STEPS):
        optimizer.step()


def measure(rounds: int = 7, hidden: int = 128) -> Result:
    """Return milliseconds a step of optimizers for a student of size `hidden`."""
    torch.set_num_threads(1)
    optimizers = {
        "Muon": Muon(_matrices(hidden), 1e-3),
        "AdamW, PyTorch's": torch.optim.AdamW(_matrices(hidden), fused=True),
        "Muon, PyTorch's": torch.optim.Muon(
            _matrices(hidden), ns_steps=ROUNDS, adjust_lr_fn="match_rms_adamw", weight_decay=0.0
        ),
    }
    contenders = {name: partial(_steps, optimizer) for name, optimizer in optimizers.items()}
    spent = interleave(contenders, rounds, "steps")
    per_step = {name: [1000 * took / STEPS for took in own] for name, own in spent.items()}
    return Result(
        title="Optimizer: a step",
        note=f"Eight matrices of a BiLSTM, hidden {hidden}, stack {STACK}. PyTorch's Muon computes "
        "in bfloat16: what it takes is a matter of the processor.",
        unit="milliseconds per step",
        ratio="÷ Muon",
        rows=rows(per_step, base="Muon"),
    )
