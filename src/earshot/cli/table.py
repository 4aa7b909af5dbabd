"""`earshot table`: the results as Markdown."""

import argparse
from pathlib import Path
from typing import Any

from earshot.cli.shared import parameters
from earshot.workbench import table


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "table",
        help="print the results as Markdown",
        description="Print the tracks' results as Markdown tables, or put them between the markers of READMEs.",
    )
    command.add_argument("--track", help="one track (default: every track that has results)")
    command.add_argument(
        "--write", nargs="+", type=Path, metavar="README", help="*.zh-CN.md gets Chinese headings"
    )
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Print the results tables, or write them into READMEs."""
    tracks = parameters(chosen.track).tracks
    done = [track for track in tracks if Path("metrics", track, "quality.json").is_file()]
    for track in [chosen.track] if chosen.track else done:
        scores = table.load(track)
        seconds = tracks[track].evaluate.reference_seconds
        if not chosen.write:
            print(f"{track}\n\n{table.render(*scores, seconds=seconds)}\n")
        for readme in chosen.write or []:
            table.insert(
                readme,
                track,
                table.render(*scores, "zh" if ".zh" in readme.name else "en", seconds),
            )
