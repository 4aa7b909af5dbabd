"""Muon: what it moves, how far, and beside PyTorch's own."""

import pytest
import torch
from learning import TASK, TEXT, copied
from students import bilstm, mobilenet, recurrent
from torch import nn

from earshot.training.optimizers import OPTIMIZERS, ROUNDS, Muon, encoder_matrices, orthogonal


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (24, 7)])
def test_a_matrix_keeps_its_ways_and_loses_their_sizes(shape):
    torch.manual_seed(0)
    left, sizes, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    sizes = torch.logspace(-1.5, 0, len(sizes))  # thirty times as much one way as another
    made = left.T @ orthogonal(100 * left * sizes @ right) @ right.T  # in its own ways
    assert made.diagonal().min() > 0.6 and made.diagonal().max() < 1.3
    assert (made - made.diagonal().diag()).abs().max() < 1e-3
    assert orthogonal(torch.zeros(3, 2)).abs().max() == 0


def test_its_steps_are_those_of_pytorch():
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(12, 5)) for _ in range(2))
    told = {"weight_decay": 0.5, "adjust_lr_fn": "match_rms_adamw"}
    one = Muon([ours], 0.1, weight_decay=0.5)
    other = torch.optim.Muon([theirs], 0.1, ns_steps=ROUNDS, **told)
    for _ in range(4):
        ours.grad = torch.randn(12, 5)
        theirs.grad = ours.grad.clone()
        one.step()
        other.step()
    assert ours.detach() == pytest.approx(theirs.detach(), abs=0.01)  # its bfloat16
    assert (ours - 1).abs().max() > 0.1


def test_matrices_of_the_encoder_and_no_others():
    student = bilstm(recurrent(hidden=6, layers=1, stack=2, text=TEXT), 4, TASK, seed=0)
    names = {id(parameter): name for name, parameter in student.named_parameters()}
    assert sorted(names[id(matrix)] for matrix in encoder_matrices(student)) == [
        f"{direction}.0.weight_{of}_l0" for direction in ("ahead", "behind") for of in ("hh", "ih")
    ]
    shapes = {tuple(matrix.shape[2:]) for matrix in encoder_matrices(mobilenet())}
    assert shapes == {(1, 1)}
    student.requires_grad_(False)
    assert encoder_matrices(student) == []


@pytest.mark.parametrize("frozen", [False, True])
def test_muon_takes_the_matrices_adamw_the_rest(frozen):
    torch.manual_seed(0)
    model = nn.ModuleDict({"layer": nn.Linear(8, 8), "head": nn.Linear(8, 8)})
    model["layer"].requires_grad_(not frozen)
    trained = nn.ModuleDict({"model": model, "objective": nn.Linear(8, 8)})
    before = copied(trained)
    for parameter in trained.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    optimizer = OPTIMIZERS["muon"](trained, 1.0, 0.0)
    optimizer.param_groups[0]["lr"] = 0.1  # as a schedule does
    optimizer.step()
    moved = {name: before[name] - tensor for name, tensor in copied(trained).items()}
    assert moved["model.head.weight"] == pytest.approx(torch.full((8, 8), 0.1), rel=0.01)
    assert moved["objective.weight"] == pytest.approx(torch.full((8, 8), 0.1), rel=0.01)
    # all ways but one are nothing: 0.1 · 0.2 · √8, an eighth to each entry
    way = 0.0 if frozen else 0.1 * 0.2 * 8**0.5 / 8
    assert moved["model.layer.weight"] == pytest.approx(torch.full((8, 8), way), rel=0.4)
