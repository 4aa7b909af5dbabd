"""GPU or CPU, one process or several: the same results, exactly where nothing differs and nearly
where arithmetic does.
"""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from conftest import ROOT
from learning import (
    ABOUT_EIGHT,
    CLASSES,
    TASK,
    TEXT,
    clips,
    copied,
    eight_sequences,
    item,
    noise,
    teacher_params,
    tiny_checkpoint,
)
from safetensors.torch import load_file
from students import bilstm, recurrent
from torch import nn

from earshot.features.recordings import Recordings
from earshot.models import accelerator
from earshot.teacher import auxiliary, frames, frozen
from earshot.teacher.wav2vec2 import Teacher
from earshot.training.batches import Loader
from earshot.training.loop import Trainer, predict, validate
from earshot.training.output import run

SOME_LABELLED = [
    replace(asked, answer=-1) if n % 4 == 1 else asked for n, asked in enumerate(ABOUT_EIGHT)
]
SECONDS = {"u0": 0.3, "u1": 0.41, "u2": 0.3, "u3": 0.3, "u4": 0.28, "u5": 0.41}


def student() -> nn.Module:
    return bilstm(recurrent(hidden=6, stack=2, text=TEXT), 4, seed=5)


def hard_labels(output, batch) -> dict[str, torch.Tensor]:
    return {"loss": batch.share.labelled * TASK.loss(output, batch)}


def train(folder: Path, epochs: int = 3) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train on the eight items, some of them without label, in the processes there are."""
    name = folder / f"sequences-{os.environ.get('RANK', '')}.parquet"
    loader = Loader(SOME_LABELLED, eight_sequences(name), TASK, 3)
    # one batch: of two processes, one has nothing to score
    held_out = Loader(ABOUT_EIGHT, eight_sequences(name), TASK, 8)
    model, history = student(), []
    trainer = Trainer(
        model,
        TASK,
        hard_labels,
        steps_per_epoch=len(loader),
        epochs=epochs,
        learning_rate=1e-3,
        schedule="constant",
        seed=0,
        scratch=folder / "scratch",
        on_epoch=lambda _, scores: history.append(scores),
    )
    rank, processes = accelerator.rank(), accelerator.processes()
    trainer.fit(
        lambda epoch: loader.shuffled(0, epoch, rank, processes),
        lambda model: validate(model, held_out),
    )
    return model, history


# a GPU's arithmetic, on the CPU


@pytest.fixture
def bf16(monkeypatch):
    """Autocast to bfloat16, as on a GPU."""
    own = accelerator.engine
    AcceleratorState._reset_state(True)
    forced = Accelerator(cpu=True, mixed_precision="bf16")
    monkeypatch.setattr(accelerator, "engine", lambda: forced)
    yield
    AcceleratorState._reset_state(True)
    own.cache_clear()


def test_on_a_cpu_nothing_is_cast_or_moved():
    engine = accelerator.engine()
    assert accelerator.device() == torch.device("cpu") and not accelerator.on_gpu()
    assert engine.mixed_precision == "no"
    assert accelerator.processes() == 1 and accelerator.rank() == 0 and accelerator.is_main()
    thing = torch.ones(2)
    assert accelerator.put(thing, torch.device("cpu")) is thing
    assert accelerator.share([1, 2, 3]) == accelerator.collect([1, 2, 3]) == [1, 2, 3]


def test_a_batch_moves_with_all_its_tensors(tmp_path):
    (batch, *_) = Loader(ABOUT_EIGHT, eight_sequences(tmp_path / "mel.parquet"), TASK, 3)
    moved = accelerator.put(batch, torch.device("meta"))
    own = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    tensors = [*own, *moved.inputs.values(), *moved.targets.values()]
    assert len(tensors) == 6 and {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.items is batch.items and moved.signals == {}
    assert batch.sequences.device.type == "cpu"


def test_bfloat16_answers_nearly_the_same_and_in_float32(tmp_path, monkeypatch, request):
    loader = Loader(ABOUT_EIGHT, eight_sequences(tmp_path / "mel.parquet"), TASK, 3)
    exact = predict(student(), TASK, loader)
    _, exact_history = train(tmp_path / "exact")
    request.getfixturevalue("bf16")
    near = predict(student(), TASK, loader)
    assert not all(np.array_equal(near[id], exact[id]) for id in exact)
    assert all(np.allclose(near[id], exact[id], atol=0.02) for id in exact)
    model, history = train(tmp_path / "near")
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert history[-1]["loss"] == pytest.approx(exact_history[-1]["loss"], rel=0.02)
    assert history != exact_history


def test_a_student_with_simulated_int8_is_never_cast(bf16):
    model = nn.Linear(2, 2)
    model.in_float32 = True
    with accelerator.autocast(model):
        assert model(torch.ones(1, 2)).dtype == torch.float32
    with accelerator.autocast(nn.Linear(2, 2)):
        assert model(torch.ones(1, 2)).dtype == torch.bfloat16


def test_clips_of_one_length_run_together_as_alone(tmp_path, monkeypatch):
    torch.manual_seed(7)
    # group norm: padding would change the outputs
    model = Teacher(teacher_params(tiny_checkpoint(tmp_path / "encoder")), TASK).eval()
    recordings = Recordings(clips(tmp_path / "clips", SECONDS))
    keys = [(id, 0) for id in SECONDS]
    alone = [model.lower(recordings[key]) for key in keys]
    sizes, together = [], model.lower_together

    def noted(some):
        sizes.append(len(some))
        return together(some)

    monkeypatch.setattr(model, "lower_together", noted, raising=False)
    both = list(frozen.frozen_states(model, recordings, keys, whole=True))
    assert sorted(sizes) == [1, 2, 3]
    assert [key for key, _ in both] == keys
    for (_, one), other in zip(both, alone, strict=True):
        assert torch.allclose(one.front, other.front, atol=1e-5)
        for state, its in zip(one.states, other.states, strict=True):
            assert torch.allclose(state, its, atol=1e-4)
    monkeypatch.setitem(frozen.TOGETHER, "cpu", 9600)
    sizes.clear()
    assert [key for key, _ in frozen.frozen_states(model, recordings, keys)] == keys
    assert sorted(sizes) == [1, 1, 1, 1, 2]
    monkeypatch.setattr(accelerator, "on_gpu", lambda: True)
    sizes.clear()
    assert [key for key, _ in frozen.frozen_states(model, recordings, keys)] == keys
    assert sorted(sizes) == [1, 2, 3]


@pytest.mark.parametrize("track", ["listening", "scenes"])
def test_a_trained_teacher_hears_nearly_the_same_in_bfloat16(track, request):
    model = Teacher(teacher_params(str(ROOT / "checkpoints" / track)), TASK).eval()
    waves = [noise(number, 0.5) for number in range(2)]
    exact = model.lower_together(waves)
    request.getfixturevalue("bf16")
    for near, one in zip(model.lower_together(waves), exact, strict=True):
        for state, other in zip([near.front, *near.states], [one.front, *one.states], strict=True):
            assert state.dtype == torch.float32 and not torch.equal(state, other)
            assert (state - other).norm() < 0.03 * other.norm()


# shares of a batch


def test_shares_of_a_batch_make_up_the_whole(tmp_path):
    loader = Loader(SOME_LABELLED, eight_sequences(tmp_path / "mel.parquet"), TASK, 3)
    for parts in (2, 5):
        each = [loader.shuffled(1, 2, part, parts) for part in range(parts)]
        for whole, *shared in zip(loader.shuffled(1, 2), *each, strict=True):
            counted = [batch for batch in shared if batch.share.items]
            held = [one.id for batch in counted for one in batch.items]
            assert sorted(held) == sorted(one.id for one in whole.items)
            assert len(counted) == min(parts, len(whole.sequences))
            for name in ("items", "labelled", "frames"):
                total = sum(getattr(batch.share, name) for batch in shared)
                assert total in (pytest.approx(parts), 0)
            means = [_loss(batch) for batch in shared]
            assert np.mean(means) == pytest.approx(_loss(whole), rel=1e-5)


def _loss(batch) -> float:
    batch, output = run(student().eval(), TASK, batch)
    return hard_labels(output, batch)["loss"].item()


# several processes


def _in_two(function: str, folder: Path) -> None:
    """Run `function(folder)` of this module in two processes that know of each other."""
    module = "test_accelerator"
    code = f"import sys, {module} as t; t.{function}(t.Path(sys.argv[1]))"
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20_000 + os.getpid() % 20_000)}
    shared = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"} | address
    shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            env=os.environ | shared | {"RANK": str(n), "LOCAL_RANK": str(n)},
        )
        for n in range(2)
    ]
    try:
        # when one fails, the other would wait for it
        while all(process.poll() is None for process in started):
            time.sleep(0.1)
        assert [process.wait(10 if process.poll() else 60) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()


def _train_and_resume(folder: Path) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    assert accelerator.processes() == 2
    train(folder / "short", epochs=1)
    model, history = train(folder / "short", epochs=3)  # goes on where the first left it
    torch.save((copied(model), history), folder / f"{accelerator.rank()}.pt")


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_resume_alike(tmp_path):
    # gradients that cancel would leave rounding errors, which Adam blows up
    torch.set_default_dtype(torch.float64)
    try:
        model, history = train(tmp_path / "alone")
    finally:
        torch.set_default_dtype(torch.float32)
    (tmp_path / "short").mkdir()
    _in_two("_train_and_resume", tmp_path)
    (first, ours), (second, theirs) = (
        torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in range(2)
    )
    assert ours == theirs and all(torch.equal(first[name], second[name]) for name in first)
    for mine, alone in zip(ours, history, strict=True):
        assert mine == {name: pytest.approx(value, rel=1e-4) for name, value in alone.items()}
    assert first["ahead.0.weight_ih_l0"].dtype == torch.float64
    for name, tensor in model.state_dict().items():
        assert torch.allclose(first[name], tensor, atol=1e-6), name
    best = load_file(tmp_path / "short/scratch/best.safetensors")
    assert all(torch.equal(best[name], first[name]) for name in best)


TWO = [item(f"t{n}", [f"u{n % 6}"], n % 3) for n in range(12)]


def _hear(folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(7)
    params = teacher_params(str(folder / "encoder"), text=None, auxiliary=True)
    model = Teacher(params, CLASSES).eval()
    recordings = Recordings(clips(folder / f"clips-{os.environ.get('RANK', '')}", SECONDS))
    name = f"{accelerator.processes()}"
    frames.BATCH = auxiliary.BATCH = 2
    frozen.store_states(model, recordings, TWO, folder / f"lower-{name}.parquet")
    auxiliary.fit_auxiliary(model, CLASSES, recordings, TWO)
    torch.save(copied(model.auxiliary), folder / f"heads-{name}-{accelerator.rank()}.pt")


@pytest.mark.slow
def test_two_processes_hear_what_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "BATCH", 2)
    monkeypatch.setattr(auxiliary, "BATCH", 2)
    tiny_checkpoint(tmp_path / "encoder")
    _hear(tmp_path)
    _in_two("_hear", tmp_path)
    one, two = ((tmp_path / f"lower-{number}.parquet").read_bytes() for number in (1, 2))
    assert one == two
    assert not list(tmp_path.glob("lower-2.?.parquet"))
    alone, *both = (
        torch.load(tmp_path / name, weights_only=True)
        for name in ("heads-1-0.pt", "heads-2-0.pt", "heads-2-1.pt")
    )
    for name in alone:
        assert all(torch.equal(alone[name], other[name]) for other in both), name
