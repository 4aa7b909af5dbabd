"""`earshot speeds`: how fast this machine works, measured in a process of its own for `earshot
plan`.
"""

import argparse
import json
import logging
from typing import Any

from earshot.cli.shared import parameters


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "speeds",
        description="Measure how fast this machine does the work of a track's stages; JSON.",
    )
    command.add_argument("track")
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Print a track's speeds as JSON, and on standard error what is being measured."""
    from earshot.workbench.plan.speeds import measure

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("earshot.workbench.plan").setLevel(logging.INFO)
    params = parameters(chosen.track)
    recipes = {
        key: recipe for key, recipe in params.recipes.items() if recipe.track == chosen.track
    }
    print(json.dumps(measure(chosen.track, params.tracks[chosen.track], recipes, params.seed)))
