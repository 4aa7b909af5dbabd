"""`earshot transcribe`: what is said in recordings, with the times of words."""

import argparse
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from earshot.cli.shared import model, print_json
from earshot.features import audio
from earshot.predict import PredictError, SpokenWord, Transcriber, Transcription
from earshot.predict.transcriber import WEIGHT
from earshot.runtime.files import atomic

TRANSCRIBER = Path("models/transcripts/onnx/transcripts-kd_pool/student.int8.onnx")
LONG = 60  # seconds from which progress is told
LINE = 42  # characters of a subtitle
SHOWN = 6.0  # seconds that a subtitle stays at most
PAUSE = 1.0  # seconds of silence that end a subtitle
EXAMPLE = """examples:
  earshot transcribe clip.wav
  earshot transcribe talk.flac --srt talk.srt
  earshot transcribe talk.flac --lm 3-gram.arpa
  earshot transcribe talk.flac --language de
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "transcribe",
        help="write down what is said in recordings",
        description=(
            "Write down what is said in recordings of any length, in any format libsndfile reads, "
            "at any rate."
        ),
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("clips", nargs="+", help="recordings: wav, flac, ogg, mp3, …")
    command.add_argument(
        "--model", type=Path, help=f"student as ONNX file (default: {TRANSCRIBER})"
    )
    command.add_argument(
        "--lm",
        type=Path,
        metavar="FILE.arpa",
        help="n-gram language model: only words that it lists are written (default: none)",
    )
    command.add_argument(
        "--lm-weight",
        type=float,
        default=WEIGHT,
        metavar="W",
        help="how much its log-probabilities count (default: %(default)s)",
    )
    command.add_argument(
        "--language",
        metavar="TAG",
        help="what is spoken, as de; auto finds out (default: auto)",
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object a recording")
    form.add_argument("--srt", type=Path, help="write subtitles of the one recording to this file")
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Print each recording's transcript, with its name where there are several."""
    if chosen.srt and len(chosen.clips) > 1:
        raise PredictError(f"--srt {chosen.srt}: one file for {len(chosen.clips)} recordings")
    transcriber = Transcriber(model(chosen.model, TRANSCRIBER))
    if not 0 <= chosen.lm_weight < math.inf:
        raise PredictError(f"--lm-weight {chosen.lm_weight}: must be a number from 0")
    if chosen.lm:
        transcriber.use(chosen.lm, chosen.lm_weight)
    if chosen.language not in (None, "auto"):
        transcriber.set_language(chosen.language)
    for clip in chosen.clips:
        seconds = audio.header(clip)[0]
        samples = audio.stream(clip, transcriber.sample_rate)
        try:
            result = transcriber.transcribe(samples, partial(_tell, clip, seconds))
        except PredictError as error:
            raise PredictError(f"{clip}: {error}") from None
        if chosen.json:
            print_json(_content(clip, result))
        else:
            several = len(chosen.clips) > 1
            print(f"{clip}: {result.text}" if several else result.text, flush=True)
        if chosen.srt:
            with atomic(chosen.srt) as partial_file:
                partial_file.write_text(srt(result.words), encoding="utf-8")


def _tell(clip: str, seconds: float, done: float) -> None:
    """Tell a terminal how far a long recording is."""
    if seconds >= LONG and sys.stderr.isatty():
        end = "\n" if done >= seconds else ""
        print(f"\r{clip}: {done:.0f} of {seconds:.0f} s", end=end, file=sys.stderr, flush=True)


def _content(clip: str, result: Transcription) -> dict[str, Any]:
    words = [
        {
            "word": one.text,
            "begin": round(one.begin, 3),
            "end": round(one.end, 3),
            "probability": one.probability,
        }
        for one in result.words
    ]
    spent = {"seconds": result.seconds, "milliseconds": result.milliseconds}
    found = {"language": result.language, "languages": result.languages} if result.languages else {}
    return {
        "clip": clip,
        "text": result.text,
        "confidence": result.confidence,
        **found,
        "words": words,
    } | spent


def srt(words: Sequence[SpokenWord]) -> str:
    """Return words as SubRip subtitles: numbers, times, a line of at most `LINE` characters."""
    lines: list[list[SpokenWord]] = []
    for word in words:
        if not lines or not _fits(lines[-1], word):
            lines.append([])
        lines[-1].append(word)
    blocks = [
        f"{number}\n{_time(line[0].begin)} --> {_time(line[-1].end)}\n{_text(line)}\n"
        for number, line in enumerate(lines, 1)
    ]
    return "\n".join(blocks)


def _fits(line: Sequence[SpokenWord], word: SpokenWord) -> bool:
    """Return whether a word still belongs to a subtitle."""
    length = len(_text(line)) + 1 + len(word.text)
    gap, shown = word.begin - line[-1].end, word.end - line[0].begin
    return length <= LINE and gap < PAUSE and shown <= SHOWN


def _text(line: Sequence[SpokenWord]) -> str:
    return " ".join(word.text for word in line)


def _time(seconds: float) -> str:
    """Return a time as hours:minutes:seconds,milliseconds."""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02},{rest % 1000:03}"
