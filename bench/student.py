"""Time a student from waveform to logits on one thread: PyTorch float, ONNX float, ONNX int8.

Run as: PYTHONPATH=src python bench/student.py
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from earshot.export import export
from earshot.features import log_mel
from earshot.models.bilstm import BiLSTMStudent
from earshot.params import BiLSTM, Features
from earshot.predict import Student
from earshot.quantization import quantize
from earshot.text import encode_item

SIZES = {"embedded": {"hidden": 96, "stack": 4}, "paper": {"hidden": 512, "stack": 1}}


def measure(rounds: int = 7, seconds: float = 10) -> dict[str, dict[str, dict[str, float]]]:
    """Return `{size: {form: {median_ms, min_ms, max_ms, ratio, megabytes}}}`; ratio is speed against PyTorch float.

    Weights are random, the clip is noise: neither changes the work. The forms take turns, so that a busy machine slows
    all alike.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):  # NumPy's BLAS
            return {name: _measure_one(BiLSTM(name="bilstm", **shape), rounds, seconds) for name, shape in SIZES.items()}
    finally:
        torch.set_num_threads(threads)


def _measure_one(params: BiLSTM, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    features = Features()
    samples = np.random.default_rng(0).normal(0, 0.1, int(seconds * features.sample_rate)).astype(np.float32)
    question, options = encode_item("What did Mary buy?", ["a bike", "a lamp", "a coat"], params.text.buckets)
    student = BiLSTMStudent(params, features.n_mels).eval()

    @torch.inference_mode()
    def in_torch() -> None:
        mel = torch.from_numpy(log_mel(samples, features))[None]
        pooled = student.pool(mel, torch.tensor([mel.shape[1]]))
        student.head(pooled, torch.from_numpy(question)[None], torch.from_numpy(options)[None])

    with TemporaryDirectory() as folder:
        float_path, int8_path = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        export(student, features, params, float_path, {})
        quantize(float_path, int8_path)
        in_float, in_int8 = Student(float_path), Student(int8_path)
        weights = sum(weight.numel() * weight.element_size() for weight in student.parameters())
        megabytes = [size / 1e6 for size in (weights, float_path.stat().st_size, int8_path.stat().st_size)]
    forms: dict[str, Callable] = {
        "PyTorch float": in_torch,
        "ONNX float": lambda: in_float.logits(samples, question[None], options[None]),
        "ONNX int8": lambda: in_int8.logits(samples, question[None], options[None]),
    }
    spent: dict[str, list[float]] = {form: [] for form in forms}
    for turn in range(rounds + 2):
        for form, run in forms.items():
            begin = time.perf_counter()
            run()
            if turn >= 2:  # the first two warm up
                spent[form].append((time.perf_counter() - begin) * 1000)
    base = np.median(spent["PyTorch float"])
    return {
        form: {
            "median_ms": float(np.median(times)),
            "min_ms": min(times),
            "max_ms": max(times),
            "ratio": float(base / np.median(times)),
            "megabytes": size,
        }
        for (form, times), size in zip(spent.items(), megabytes, strict=True)
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10, help="length of the clip")
    chosen = parser.parse_args()
    print(f"{'student':10}{'form':15}{'ms (median)':>12}{'min–max':>17}{'speed':>8}{'MB':>8}")
    for size, forms in measure(chosen.rounds, chosen.seconds).items():
        for form, row in forms.items():
            spread = f"{row['min_ms']:.1f}–{row['max_ms']:.1f}"
            print(f"{size:10}{form:15}{row['median_ms']:12.1f}{spread:>17}{row['ratio']:7.2f}×{row['megabytes']:8.2f}")


if __name__ == "__main__":
    main()
