"""`earshot classify`: what kind of place a recording was made in."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from earshot.cli.shared import bar, model, print_json
from earshot.features import audio
from earshot.predict import Classifier, PredictError
from earshot.tables.devices import beside

CLASSIFIER = Path("models/scenes/onnx/scenes-layered_plain/student.int8.onnx")
EXAMPLE = """example:
  earshot classify street.wav --top 3
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "classify",
        help="say what kind of place a recording was made in",
        description=(
            "Classify a recording of any length, second by second and all in all, in any "
            "format libsndfile reads."
        ),
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("clip", help="recording: wav, flac, ogg, mp3, …")
    command.add_argument("--model", type=Path, help=f"student as ONNX file (default: {CLASSIFIER})")
    command.add_argument(
        "--device", help="what recorded it, where the student has a model of that device"
    )
    command.add_argument(
        "--top", type=int, default=3, help="how many classes to show (default: %(default)s)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Print the most probable classes of a recording, then the most probable one of each second."""
    if chosen.top < 1:
        raise PredictError(f"--top {chosen.top}: at least 1 is needed")
    file = model(chosen.model, CLASSIFIER)
    if chosen.device is not None:
        known = beside(file)
        if chosen.device not in known:
            there = ", ".join(known) or "none"
            raise PredictError(f"--device {chosen.device}: {file} has models of {there}")
        file = known[chosen.device]
    classifier = Classifier(file)
    samples = audio.stream(chosen.clip, classifier.sample_rate)
    try:
        result = classifier.classify(samples)
    except PredictError as error:
        raise PredictError(f"{chosen.clip}: {error}") from None
    labels, best = result.labels, result.windows.argmax(1)
    if chosen.json:
        content = {
            "label": labels[int(result.pooled.argmax())],
            "probabilities": dict(zip(labels, result.pooled.tolist(), strict=True)),
            "windows": [
                {
                    "start": start,
                    "label": labels[index],
                    "probabilities": dict(zip(labels, row, strict=True)),
                }
                for start, index, row in zip(
                    result.starts.tolist(), best, result.windows.tolist(), strict=True
                )
            ],
            "seconds": result.seconds,
            "milliseconds": result.milliseconds,
        }
        print_json(content)
        return
    ranked = np.argsort(-result.pooled, kind="stable")[: chosen.top]
    width = max(map(len, labels))
    for place, index in enumerate(ranked):
        print(bar(" " if place else ">", labels[index], width, result.pooled[index]))
    print()
    for start, index, row in zip(result.starts, best, result.windows, strict=True):
        print(bar(f"{start:7.2f} s", labels[index], width, row[index]))
    print(f"classified in {result.milliseconds:.1f} ms, {result.seconds:.2f} s of audio")
