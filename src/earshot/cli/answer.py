"""`earshot answer`: a multiple-choice question about a recording."""

import argparse
from pathlib import Path
from typing import Any

from earshot.cli.shared import bar, model, print_json, words
from earshot.features import audio
from earshot.predict import Attention, PredictError, Student

STUDENT = Path("models/listening/onnx/listening-kd_pool/student.int8.onnx")
LITTLE = 0.1  # seconds of silence that are not worth a word
DIGITS = 4
EXAMPLE = """example:
  earshot answer clip.wav --question "What did Mary buy?" \\
      --option "a bike" --option "a lamp" --option "a coat"
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "answer",
        help="answer a multiple-choice question about a recording",
        description=(
            "Answer a multiple-choice question about a recording, in any format "
            "libsndfile reads, at any rate."
        ),
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("clip", help="recording: wav, flac, ogg, mp3, …")
    command.add_argument("--question", required=True, type=words)
    command.add_argument(
        "--option",
        required=True,
        type=words,
        action="append",
        dest="options",
        help="once per option, 2 or more",
    )
    command.add_argument("--model", type=Path, help=f"student as ONNX file (default: {STUDENT})")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Print each option with its probability, the chosen one marked, and the time taken."""
    student = Student(model(chosen.model, STUDENT))
    samples = audio.stream(chosen.clip, student.sample_rate)
    try:
        result = student.answer(samples, chosen.question, chosen.options)
    except PredictError as error:
        raise PredictError(f"{chosen.clip}: {error}") from None
    tied = [chosen.options[index] for index in result.tied]
    if chosen.json:
        content = {
            "answer": chosen.options[result.option],
            "option": result.option,
            "options": chosen.options,
            "tied": tied,
            "probabilities": result.probabilities,
            "seconds": result.seconds,
            "silence": result.silence,
            "attention": [_attention(one) for one in result.attention],
            "milliseconds": result.milliseconds,
        }
        print_json(content)
        return
    width = max(map(len, chosen.options))
    for index, (option, probability) in enumerate(
        zip(chosen.options, result.probabilities, strict=True)
    ):
        best = index == result.option or index in result.tied
        print(bar(">" if best else " ", option, width, probability))
    if tied:
        print(f"a tie: {' and '.join(map(repr, tied))} are equally probable to this student")
    print(f"answered in {result.milliseconds:.1f} ms, {result.seconds:.2f} s of audio")
    if max(result.silence) >= LITTLE:
        before, after = result.silence
        print(f"left out as silence: {before:.2f} s at the beginning, {after:.2f} s at the end")


def _attention(one: Attention) -> dict[str, Any]:
    """Return a piece's attention as JSON: a row of weights per option."""
    weights = one.weights.astype(float).round(DIGITS).tolist()
    return {"begin": one.begin, "end": one.end, "weights": weights}
