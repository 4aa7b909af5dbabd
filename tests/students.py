"""Small students and frames for them."""

import torch
from torch import nn

from earshot.models.bilstm import BiLSTMStudent
from earshot.models.cp_mobile import CPMobileStudent
from earshot.models.mobilenet import MobileNetStudent
from earshot.params import BiLSTM, CPMobile, MobileNet, Text
from earshot.tasks.choice import Choice
from earshot.tasks.classes import Classes
from earshot.tasks.task import Task


def numbered(classes: int) -> Classes:
    """A task of so many classes."""
    return Classes(None, [f"class{n}" for n in range(classes)])


def recurrent(**changes) -> BiLSTM:
    known = {"hidden": 8, "stack": 4, "text": Text(buckets=64, dim=6)}
    return BiLSTM(name="bilstm", **known | changes)


def bilstm(
    params: BiLSTM, n_mels: int = 40, task: Task | None = None, seed: int = 3
) -> BiLSTMStudent:
    """A student of random weights, of choices if not told otherwise."""
    torch.manual_seed(seed)
    return BiLSTMStudent(params, n_mels, task or Choice(params.text)).eval()


def opinionated(params: BiLSTM) -> BiLSTMStudent:
    """One whose random opinions are strong."""
    student = bilstm(params)
    student.head.embed[2].weight.data *= 60
    return student


def mobilenet(n_mels: int = 40, classes: int = 10, **changes) -> MobileNetStudent:
    torch.manual_seed(0)
    return settle(
        MobileNetStudent(MobileNet(name="mobilenet", **changes), n_mels, numbered(classes))
    )


def cp_mobile(n_mels: int = 40, classes: int = 10) -> CPMobileStudent:
    torch.manual_seed(0)
    return settle(CPMobileStudent(CPMobile(name="cp_mobile"), n_mels, numbered(classes)))


def settle(model: nn.Module) -> nn.Module:
    """Give every batch norm moments and factors of its own, as training would."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return model.eval()


def mels(*lengths: int, width: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(lengths), max(lengths), width, generator=generator), torch.tensor(
        lengths
    )


def learning(model: nn.Module) -> tuple[float, float]:
    """Train a student of two classes to tell clips with a rhythm in some bands; return the first
    and the last loss.
    """
    mel, lengths = mels(*[20] * 16)
    answers = torch.arange(16) % 2
    mel[answers == 1, ::4, 10:20] += 4
    model, losses = model.train(), []
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(25):
        losses.append(nn.functional.cross_entropy(model(mel, lengths), answers))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    return losses[0].item(), losses[-1].item()
