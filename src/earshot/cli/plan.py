"""`earshot plan`: what a run would fetch, fill and take."""

import argparse
from typing import Any

from earshot.cli.shared import parameters, print_json


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "plan",
        help="say what a run would fetch, fill and take",
        description="Say, before anything is fetched, what `dvc repro` would download, how much "
        "disk it needs, which stages it would run and how long each takes, about, by the seconds "
        "of the last run here or else of a reference.",
    )
    command.add_argument("--track", help="one track (default: all)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument(
        "--record", action="store_true", help="make the last run's times the reference instead"
    )
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Print what a run would fetch, fill and take."""
    from earshot.workbench import plan
    from earshot.workbench.plan.text import render

    params = parameters(chosen.track)
    if chosen.record:
        print(f"{plan.REFERENCE}: {plan.record(params)} rates of stages")
        return
    tracks = [chosen.track] if chosen.track else list(params.tracks)
    made = plan.make(params, tracks)
    if chosen.json:
        print_json(made.as_json())
    else:
        print(render(made))
