"""From waveform to answer on one thread: the full-size teacher, and students as PyTorch float, ONNX
float, ONNX int8.

Weights are random, the clip is noise: neither changes the work.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import Wav2Vec2Config

from bench.rounds import Result, Target, interleave, rows
from bench.teacher import BASE, TASK, TEXT, random_teacher
from earshot.export.int8 import quantize
from earshot.export.onnx_file import export
from earshot.features.log_mel import log_mel
from earshot.models.bilstm import BiLSTMStudent
from earshot.models.heads import encode
from earshot.params import BiLSTM, Features, Text
from earshot.predict import Student
from earshot.tasks.choice import Choice
from earshot.teacher.wav2vec2 import Teacher
from earshot.text import encode_item

MATCH = Text(buckets=2048, dim=16, pool="match")
SIZES = {
    "embedded": {"hidden": 96, "stack": 4, "text": MATCH},
    "paper": {"hidden": 512, "stack": 1},
}
PARAMS = Features()
PASSAGE = torch.tensor([0])  # what the only item is about
QUESTION = ("What did Mary buy?", ("a bike", "a lamp", "a coat"))
TEACHER = "teacher"


def _teacher(samples: np.ndarray, config: Wav2Vec2Config) -> Callable[[], None]:
    with TemporaryDirectory() as folder:
        params = random_teacher(Path(folder), config)
        model = Teacher(params, TASK).eval()
    question, options = encode_item(*QUESTION, params.text.buckets, params.text.version)

    @torch.inference_mode()
    def respond() -> None:
        hidden = model.lower(samples).states[-1]
        encoded = encode(model, hidden[None], torch.tensor([len(hidden)]), PASSAGE)
        model.head(encoded, torch.from_numpy(question)[None], torch.from_numpy(options)[None])

    return respond


def _students(samples: np.ndarray, params: BiLSTM) -> tuple[dict[str, Callable[[], object]], float]:
    """Return the three forms of a student, and the megabytes of its int8 file."""
    question, options = encode_item(*QUESTION, params.text.buckets, params.text.version)
    student = BiLSTMStudent(params, PARAMS.n_mels, Choice(params.text)).eval()

    @torch.inference_mode()
    def in_torch() -> None:
        mel = torch.from_numpy(log_mel(samples, PARAMS))[None]
        encoded = encode(student, mel, torch.tensor([mel.shape[1]]), PASSAGE)
        student.head(encoded, torch.from_numpy(question)[None], torch.from_numpy(options)[None])

    with TemporaryDirectory() as folder:
        float_path, int8_path = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        export(student, PARAMS, params, float_path, {})
        quantize(float_path, int8_path)
        in_float, in_int8 = Student(float_path), Student(int8_path)
        megabytes = int8_path.stat().st_size / 1e6
    forms = {
        "PyTorch float": in_torch,
        "ONNX float": lambda: in_float.logits(samples, question[None], options[None]),
        "ONNX int8": lambda: in_int8.logits(samples, question[None], options[None]),
    }
    return forms, megabytes


def measure(
    rounds: int = 7,
    seconds: float = 10,
    sizes: dict[str, dict[str, Any]] = SIZES,
    config: Wav2Vec2Config = BASE,
) -> Result:
    """Return milliseconds for a clip of so many seconds, with a random teacher of this shape."""
    torch.set_num_threads(1)
    samples = (
        np.random.default_rng(0)
        .normal(0, 0.1, int(seconds * PARAMS.sample_rate))
        .astype(np.float32)
    )
    contenders, megabytes = {TEACHER: _teacher(samples, config)}, {}
    for size, sides in sizes.items():
        forms, megabytes[size] = _students(
            samples, BiLSTM(name="bilstm", **({"text": TEXT} | sides))
        )
        contenders |= {f"{size}, {form}": run for form, run in forms.items()}
    spent = interleave(contenders, rounds, "student", warm=True)
    table = rows(
        {name: [1000 * s for s in each] for name, each in spent.items()}, base=TEACHER, inverse=True
    )
    targets = [
        Target(
            f"{size}, int8: times as fast as the teacher",
            table[f"{size}, ONNX int8"].ratio.median,
            20,
        )
        for size in sizes
    ]
    if "paper" in sizes:
        against = rows(spent, base="paper, PyTorch float", inverse=True)["paper, ONNX int8"]
        targets.append(Target("paper, int8: times as fast as in PyTorch", against.ratio.median, 3))
        targets.append(Target("paper, int8: MB", megabytes["paper"], 10, at_least=False))
    files = "; ".join(
        f"{size}: hidden {sides['hidden']}, stack {sides['stack']}, {megabytes[size]:.2f} MB "
        "in int8"
        for size, sides in sizes.items()
    )
    return Result(
        title="Student: from waveform to answer",
        note=f"One clip of {seconds:g} s. {files}.",
        unit="milliseconds",
        ratio="speed ÷ teacher's",
        rows=table,
        targets=targets,
    )
