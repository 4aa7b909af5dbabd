"""`earshot table`: the results as Markdown."""

import argparse
from pathlib import Path
from typing import Any

from earshot.cli.shared import parameters


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "table",
        help="print the results as Markdown",
        description="Print the tracks' results as Markdown tables, or renew the marked parts of "
        "pages: complete between <!-- results:TRACK:begin --> and <!-- results:TRACK:end -->, a "
        "few rows where it says short for begin, all tracks where it names none.",
    )
    command.add_argument("--track", help="one track (default: every track that has results)")
    command.add_argument(
        "--write", nargs="+", type=Path, metavar="PAGE", help="*.zh-CN.md gets Chinese headings"
    )
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Print the results tables, or write them into pages."""
    from earshot.workbench import table
    from earshot.workbench.results import read_track

    tracks = parameters(chosen.track).tracks
    done = [name for name in tracks if Path("metrics", name, "quality.json").is_file()]
    shown = [chosen.track] if chosen.track and not chosen.write else done
    results = {
        name: (read_track(Path(), name), tracks[name].evaluate.reference_seconds) for name in shown
    }
    for page in chosen.write or []:
        table.renew(page, results, chosen.track)
    if not chosen.write:
        for name, one in results.items():
            print(f"{name}\n\n{table.full(*one)}\n")
