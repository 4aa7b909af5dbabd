"""`earshot page`: the students of a run as a page that a class can open."""

import argparse
from pathlib import Path
from typing import Any

MEGABYTES = 12.0
EXAMPLE = """examples:
  earshot page
  earshot page --track listening --track transcripts --out lesson
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "page",
        help="write a page in which a run's students listen, in the browser",
        description="Write a listening test, questions about own recordings, scenes and "
        "transcription as one HTML file that needs no network, and the same as a folder for a "
        "static server. ONNX Runtime Web is fetched from the npm registry once.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--out", type=Path, default=Path("docs/demo"), help="folder (default: %(default)s)"
    )
    command.add_argument(
        "--track", action="append", dest="tracks", help="once per track (default: all)"
    )
    command.add_argument(
        "--limit",
        type=float,
        default=MEGABYTES,
        metavar="MB",
        help="leave out students, then clips, that do not fit (default: %(default)g)",
    )
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Write the page; say where it is, how large, and what was left out."""
    from earshot.workbench import page

    built = page.write(chosen.out, Path(), chosen.tracks, chosen.limit)
    print(f"{built.file}  {built.file.stat().st_size / 1e6:.2f} MB")
    print(f"{built.folder}  for a static server")
    print("clips: " + ", ".join(f"{track} {count}" for track, count in built.clips.items()))
    for line in built.left_out:
        print(f"left out: {line}")
