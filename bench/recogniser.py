"""Students that transcribe: a step of their training, and ten seconds in int8, against a BiLSTM's.

Weights are random, clips are noise: neither changes the work.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from bench.rounds import Result, interleave, rows
from earshot.export.int8 import quantize
from earshot.export.onnx_file import export
from earshot.models.students import STUDENTS
from earshot.params import BiLSTM, Conformer, ConvNeXt, Features, Student
from earshot.predict import Transcriber
from earshot.tables.items import Item
from earshot.tasks.transcript import Transcript
from earshot.text.alphabet import alphabet
from earshot.training.batches import Batch, collate
from earshot.training.loop import Trainer
from earshot.training.output import Output

PARAMS = Features(silence_db=60.0, silence="quietest")
CLIPS, SECONDS, SAID = 8, 3, "what somebody says in three seconds"
TASK = Transcript(None, alphabet("abcdefghijklmnopqrstuvwxyz"))
STEPS = 10
SIZES: dict[str, Student] = {
    "BiLSTM": BiLSTM(name="bilstm", hidden=128, layers=2, stack=2),
    "ConvNeXt": ConvNeXt(name="convnext", width=96, layers=6, kernel=11),
    "Conformer": Conformer(name="conformer", width=96, layers=3, kernel=11),
}


def _batch() -> Batch:
    """Return a batch of clips of noise, all with the same text."""
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(SECONDS * 100, PARAMS.n_mels)).astype(np.float16)
    clips = [
        Item(id, "fewshot", "transcript", id, (id,), options=TASK.labels, transcript=SAID)
        for id in map(str, range(CLIPS))
    ]
    mel = {(clip.id, 0): frames for clip in clips}
    return collate([(clip.utterances, 0, [clip]) for clip in clips], mel, TASK)


def _train(student: nn.Module, batch: Batch) -> None:
    """Take `STEPS` steps of CTC with Muon."""

    def objective(output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        return {"loss": TASK.loss(output, batch)}

    with TemporaryDirectory() as scratch:
        settings = {"epochs": 1, "steps_per_epoch": STEPS, "learning_rate": 1e-3, "seed": 0}
        trainer = Trainer(
            student,
            TASK,
            objective,
            schedule="constant",
            optimizer="muon",
            scratch=Path(scratch),
            **settings,
        )
        trainer.fit(lambda epoch: [batch] * STEPS, None)


def _transcriber(student: nn.Module, params: Student) -> Transcriber:
    """Return a student's int8 file, loaded."""
    with TemporaryDirectory() as folder:
        in_float, in_int8 = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        export(student.eval(), PARAMS, params, in_float, {}, TASK.labels)
        quantize(in_float, in_int8)
        return Transcriber(in_int8)


def measure(rounds: int = 7, seconds: float = 10, sizes: Mapping[str, Student] = SIZES) -> Result:
    """Return milliseconds of a training step, and of `seconds` of sound in int8, by student."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.1, int(seconds * PARAMS.sample_rate)).astype(np.float32)
    batch, step, answer = _batch(), {}, {}
    for name, params in sizes.items():
        torch.manual_seed(0)
        student = STUDENTS[params.name](params, PARAMS.n_mels, TASK)
        answer[f"{name}, {seconds:g} s in int8"] = partial(
            _transcriber(student, params).logits, sound
        )
        step[f"{name}, a step"] = partial(_train, student, batch)
    trained = interleave(step, rounds, "training")
    answered = interleave(answer, rounds, "answering", warm=True)
    table = {}
    for spent, parts in ((trained, STEPS), (answered, 1)):
        milliseconds = {name: [1000 * took / parts for took in own] for name, own in spent.items()}
        table |= rows(milliseconds, base=next(iter(milliseconds)))
    shapes = "; ".join(f"{name}: {_shape(params)}" for name, params in sizes.items())
    return Result(
        title="Recogniser: a step of training, and what a device takes",
        note=f"A step is of {CLIPS} clips of {SECONDS} s, with CTC and Muon. {shapes}.",
        unit="milliseconds",
        ratio=f"÷ {next(iter(sizes))}",
        rows=table,
    )


def _shape(params: Student) -> str:
    """Return a student's sizes, and how many numbers it holds."""
    student = STUDENTS[params.name](params, PARAMS.n_mels, TASK)
    sizes = {name: getattr(params, name, None) for name in ("hidden", "width", "layers")}
    shape = ", ".join(f"{name} {size}" for name, size in sizes.items() if size)
    return f"{shape}, {sum(one.numel() for one in student.parameters()):,} parameters"
