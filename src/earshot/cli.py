"""The command `earshot`: one function and one parser block for each subcommand."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from earshot import audio, table
from earshot.predict import Classifier, PredictError, Student

STUDENT = Path("models/listening/onnx/listening-kd_pool/student.int8.onnx")
CLASSIFIER = Path("models/scenes/onnx/scenes-layered/student.int8.onnx")
_BAR = 30  # characters

ANSWER_EXAMPLE = """example:
  earshot answer clip.wav --question "What did Mary buy?" \\
      --option "a bike" --option "a lamp" --option "a coat"
"""

CLASSIFY_EXAMPLE = """example:
  earshot classify street.wav --top 3
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
        "classify",
        help="say what kind of place a recording was made in",
        description="Classify a recording of any length, second by second and all in all, in any format libsndfile reads.",
        epilog=CLASSIFY_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("clip", help="recording: wav, flac, ogg, mp3, …")
    command.add_argument("--model", type=Path, help=f"student as ONNX file (default: {CLASSIFIER})")
    command.add_argument("--top", type=int, default=3, help="how many classes to show (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=classify)

    command = commands.add_parser(
        "table",
        help="print the results as Markdown",
        description="Print the tracks' results as Markdown tables, or put them between the markers of READMEs.",
    )
    command.add_argument("--track", help="one track (default: every track that has results)")
    command.add_argument("--write", nargs="+", type=Path, metavar="README", help="*.zh-CN.md gets Chinese headings")
    command.set_defaults(run=results)

    command = commands.add_parser(
        "profile",
        help="write a preset into params.yaml",
        description="Write a preset of profiles/ into params.yaml, its comments kept; the profile `embedded` goes back.",
    )
    command.add_argument("name", help="embedded, mini, paper, full")
    command.set_defaults(run=preset)

    command = commands.add_parser(
        "plan",
        help="say what a run would fetch, fill and take",
        description="Say, before anything is fetched, what `dvc repro` would download, how much disk it needs, which stages "
        "it would run and how long each takes here, by speeds measured on the spot (about a minute a track).",
    )
    command.add_argument("--track", help="one track (default: all)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=planned)

    command = commands.add_parser(
        "speeds", description="Measure how fast this machine does the work of a track's stages; JSON."
    )
    command.add_argument("track")
    command.set_defaults(run=speeds)
    return parser


def answer(chosen: argparse.Namespace) -> None:
    """Print each option with its probability, the chosen one marked, and the time taken."""
    student = Student(_model(chosen.model, STUDENT))
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
        print(_line(">" if index == result.option else " ", option, width, probability))
    print(f"answered in {result.milliseconds:.1f} ms, {seconds:.2f} s of audio")


def classify(chosen: argparse.Namespace) -> None:
    """Print the most probable classes of a recording, then the most probable one of each second."""
    if chosen.top < 1:
        raise PredictError(f"--top {chosen.top}: at least 1 is needed")
    classifier = Classifier(_model(chosen.model, CLASSIFIER))
    samples = audio.decode(chosen.clip, classifier.sample_rate)
    try:
        result = classifier.classify(samples)
    except PredictError as error:
        raise PredictError(f"{chosen.clip}: {error}") from None
    seconds = len(samples) / classifier.sample_rate
    labels, best = result.labels, result.windows.argmax(1)
    if chosen.json:
        content = {
            "label": labels[int(result.pooled.argmax())],
            "probabilities": dict(zip(labels, result.pooled.tolist(), strict=True)),
            "windows": [
                {"start": start, "label": labels[index], "probabilities": dict(zip(labels, row, strict=True))}
                for start, index, row in zip(result.starts.tolist(), best, result.windows.tolist(), strict=True)
            ],
            "seconds": seconds,
            "milliseconds": result.milliseconds,
        }
        print(json.dumps(content, ensure_ascii=False))
        return
    ranked = np.argsort(-result.pooled, kind="stable")[: chosen.top]
    width = max(map(len, labels))
    for place, index in enumerate(ranked):
        print(_line(" " if place else ">", labels[index], width, result.pooled[index]))
    print()
    for start, index, row in zip(result.starts, best, result.windows, strict=True):
        print(_line(f"{start:7.2f} s", labels[index], width, row[index]))
    print(f"classified in {result.milliseconds:.1f} ms, {seconds:.2f} s of audio")


def _model(given: Path | None, usual: Path) -> Path:
    if given is None and not usual.is_file():
        raise PredictError(f"{usual}: no such file; run `make repro` to train it, or pass --model")
    return given or usual


def _line(before: str, name: str, width: int, probability: float) -> str:
    bar = "#" * round(_BAR * probability) if sys.stdout.isatty() else ""
    return f"{before} {name:{width}}  {probability:6.1%}  {bar}".rstrip()


def _params(track: str | None) -> Any:
    """Return what params.yaml says; ValueError when it has no such track."""
    import yaml

    from earshot import params

    parsed = params.parse(yaml.safe_load(Path("params.yaml").read_text()))
    if track and track not in parsed.tracks:
        raise ValueError(f"--track {track}: params.yaml has {', '.join(parsed.tracks)}")
    return parsed


def results(chosen: argparse.Namespace) -> None:
    """Print the results tables, or write them into READMEs."""
    tracks = _params(chosen.track).tracks
    done = [track for track in tracks if Path("metrics", track, "quality.json").is_file()]
    for track in [chosen.track] if chosen.track else done:
        scores = table.load(track)
        seconds = tracks[track].evaluate.reference_seconds
        if not chosen.write:
            print(f"{track}\n\n{table.render(*scores, seconds=seconds)}\n")
        for readme in chosen.write or []:
            table.insert(readme, track, table.render(*scores, "zh" if ".zh" in readme.name else "en", seconds))


def preset(chosen: argparse.Namespace) -> None:
    """Write a profile into params.yaml and print what changed."""
    from earshot import profile

    changes = profile.apply(Path("profiles", f"{chosen.name}.yaml"), Path("params.yaml"))
    print("\n".join(changes) or "params.yaml says so already")


def planned(chosen: argparse.Namespace) -> None:
    """Print what a run would fetch, fill and take."""
    from earshot import plan

    params = _params(chosen.track)
    tracks = [chosen.track] if chosen.track else list(params.tracks)
    made = plan.make(params, tracks, lambda track: plan.speeds_of(track, _tell))
    print(json.dumps(made.as_json(), ensure_ascii=False) if chosen.json else plan.render(made))


def _tell(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{what[:100]}", end="", file=sys.stderr, flush=True)


def speeds(chosen: argparse.Namespace) -> None:
    """Print a track's speeds as JSON, and on standard error what is being measured."""
    from earshot.plan.speeds import measure

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("earshot.plan").setLevel(logging.INFO)
    params = _params(chosen.track)
    recipes = {key: recipe for key, recipe in params.recipes.items() if recipe.track == chosen.track}
    print(json.dumps(measure(chosen.track, params.tracks[chosen.track], recipes, params.seed)))


if __name__ == "__main__":
    sys.exit(main())
