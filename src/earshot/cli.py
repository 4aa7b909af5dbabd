"""The command `earshot`: one function and one parser block for each subcommand."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from earshot import audio, table
from earshot.predict import PredictError, Student

STUDENT = Path("models/listening/onnx/listening-kd_pool/student.int8.onnx")
_BAR = 30  # characters

ANSWER_EXAMPLE = """example:
  earshot answer clip.wav --question "What did Mary buy?" \\
      --option "a bike" --option "a lamp" --option "a coat"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return 0, or 2 after one line on standard error."""
    chosen = _parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except (ValueError, OSError) as error:
        print(f"earshot: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="earshot", description="Small students of large speech models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "answer",
        help="answer a multiple-choice question about a recording",
        description="Answer a multiple-choice question about a recording, in any format libsndfile reads, at any rate.",
        epilog=ANSWER_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("clip", help="recording: wav, flac, ogg, mp3, …")
    command.add_argument("--question", required=True)
    command.add_argument("--option", required=True, action="append", dest="options", help="once per option, 2 or more")
    command.add_argument("--model", type=Path, help=f"student as ONNX file (default: {STUDENT})")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=answer)

    command = commands.add_parser(
        "table",
        help="print a track's results as Markdown",
        description="Print a track's results as Markdown tables, or put them between the markers of READMEs.",
    )
    command.add_argument("--track", default="listening")
    command.add_argument("--write", nargs="+", type=Path, metavar="README", help="*.zh-CN.md gets Chinese headings")
    command.set_defaults(run=results)

    command = commands.add_parser(
        "profile",
        help="write a preset into params.yaml",
        description="Write a preset of profiles/ into params.yaml; `git checkout params.yaml` goes back.",
    )
    command.add_argument("name", help="paper, embedded, …")
    command.set_defaults(run=preset)
    return parser


def answer(chosen: argparse.Namespace) -> None:
    """Print each option with its probability, the chosen one marked, and the time taken."""
    if chosen.model is None and not STUDENT.is_file():
        raise PredictError(f"{STUDENT}: no such file; run `make repro` to train it, or pass --model")
    student = Student(chosen.model or STUDENT)
    samples = audio.decode(chosen.clip, student.sample_rate)
    try:
        result = student.answer(samples, chosen.question, chosen.options)
    except PredictError as error:
        raise PredictError(f"{chosen.clip}: {error}") from None
    seconds = len(samples) / student.sample_rate
    if chosen.json:
        content = {
            "answer": chosen.options[result.option],
            "option": result.option,
            "options": chosen.options,
            "probabilities": result.probabilities,
            "seconds": seconds,
            "milliseconds": result.milliseconds,
        }
        print(json.dumps(content, ensure_ascii=False))
        return
    width = max(map(len, chosen.options))
    for index, (option, probability) in enumerate(zip(chosen.options, result.probabilities, strict=True)):
        bar = "#" * round(_BAR * probability) if sys.stdout.isatty() else ""
        print(f"{'>' if index == result.option else ' '} {option:{width}}  {probability:6.1%}  {bar}".rstrip())
    print(f"answered in {result.milliseconds:.1f} ms, {seconds:.2f} s of audio")


def results(chosen: argparse.Namespace) -> None:
    """Print the results table, or write it into READMEs."""
    quality, cost = table.load(chosen.track)
    if not chosen.write:
        print(table.render(quality, cost))
    for readme in chosen.write or []:
        table.insert(readme, table.render(quality, cost, "zh" if ".zh" in readme.name else "en"))


def preset(chosen: argparse.Namespace) -> None:
    """Write a profile into params.yaml and print what changed."""
    from earshot import profile

    changes = profile.apply(Path("profiles", f"{chosen.name}.yaml"), Path("params.yaml"))
    print("\n".join(changes) or "params.yaml says so already")


if __name__ == "__main__":
    sys.exit(main())
