"""Exact resume, without pickles."""

import json
import pickle

import pytest
import torch
from learning import copied, same
from torch import nn

from earshot.models import checkpoint


def setting() -> tuple[nn.Module, torch.optim.Adam]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2), nn.Linear(2, 2)
    )
    model[4].requires_grad_(False)
    return model, torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)


def steps(model: nn.Module, optimizer: torch.optim.Adam, numbers: range) -> None:
    for number in numbers:
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def test_adam_resumes_exactly(tmp_path):
    straight, optimizer = setting()
    steps(straight, optimizer, range(6))

    first, first_optimizer = setting()
    steps(first, first_optimizer, range(3))
    checkpoint.save(
        tmp_path / "last.safetensors", first, first_optimizer, {"step": 3, "history": [0.1, None]}
    )
    second, second_optimizer = setting()
    assert checkpoint.load(tmp_path / "last.safetensors", second, second_optimizer) == {
        "step": 3,
        "history": [0.1, None],
    }
    assert same(copied(first), copied(second))
    steps(second, second_optimizer, range(3, 6))

    assert same(copied(straight), copied(second))
    for one, other in zip(
        optimizer.state_dict()["state"].values(),
        second_optimizer.state_dict()["state"].values(),
        strict=True,
    ):
        assert same(one, other)
    assert not same(copied(straight), copied(first))


def test_no_checkpoint_is_none_and_changes_nothing(tmp_path):
    model, optimizer = setting()
    before = copied(model)
    assert checkpoint.load(tmp_path / "last.safetensors", model, optimizer) is None
    assert same(before, copied(model))


def test_files_are_safetensors_and_nothing_is_pickled(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("pickled")

    for owner, name in (
        (torch, "save"),
        (torch, "load"),
        (pickle, "dump"),
        (pickle, "dumps"),
        (pickle, "load"),
    ):
        monkeypatch.setattr(owner, name, refuse)
    model, optimizer = setting()
    steps(model, optimizer, range(1))
    checkpoint.save(tmp_path / "last.safetensors", model, optimizer, {"step": 1})
    checkpoint.save_weights(tmp_path / "best.safetensors", model.state_dict())
    assert checkpoint.load(tmp_path / "last.safetensors", model, optimizer) == {"step": 1}
    assert same(checkpoint.load_weights(tmp_path / "best.safetensors"), copied(model))
    for name in ("last", "best"):  # eight bytes of length, then a JSON header
        content = (tmp_path / f"{name}.safetensors").read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        assert any(key.endswith("0.weight") and header[key]["dtype"] == "F32" for key in header)


def test_an_interrupted_save_leaves_the_last_whole_one(tmp_path, monkeypatch):
    model, optimizer = setting()
    checkpoint.save(tmp_path / "last.safetensors", model, optimizer, {"step": 1})

    def half(tensors, path, metadata):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", half)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "last.safetensors", model, optimizer, {"step": 2})
    assert checkpoint.load(tmp_path / "last.safetensors", model, optimizer) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def test_weights_that_are_views_are_kept(tmp_path):
    whole = torch.arange(6.0).reshape(2, 3)
    checkpoint.save_weights(tmp_path / "w.safetensors", {"turned": whole.T})
    assert torch.equal(checkpoint.load_weights(tmp_path / "w.safetensors")["turned"], whole.T)
