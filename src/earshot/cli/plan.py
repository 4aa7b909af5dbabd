"""`earshot plan`: what a run would fetch, fill and take."""

import argparse
import json
import sys
from typing import Any

from earshot.cli.shared import parameters


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "plan",
        help="say what a run would fetch, fill and take",
        description="Say, before anything is fetched, what `dvc repro` would download, how much disk it needs, which stages "
        "it would run and how long each takes here, by speeds measured on the spot (about a minute a track).",
    )
    command.add_argument("--track", help="one track (default: all)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Print what a run would fetch, fill and take."""
    from earshot.workbench import plan

    params = parameters(chosen.track)
    tracks = [chosen.track] if chosen.track else list(params.tracks)
    made = plan.make(params, tracks, lambda track: plan.speeds_of(track, _tell))
    print(json.dumps(made.as_json(), ensure_ascii=False) if chosen.json else plan.render(made))


def _tell(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{what[:100]}", end="", file=sys.stderr, flush=True)
