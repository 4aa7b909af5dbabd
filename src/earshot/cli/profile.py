"""`earshot profile`: a preset written into params.yaml."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "profile",
        help="write a preset into params.yaml",
        description=(
            "Write a preset of profiles/ into params.yaml, its comments kept; the "
            "profile `embedded` goes back."
        ),
    )
    command.add_argument("name", help="a file of profiles/, without its ending")
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Write a profile into params.yaml and print what changed."""
    from earshot.workbench import profile

    changes = profile.apply(Path("profiles", f"{chosen.name}.yaml"), Path("params.yaml"))
    print("\n".join(changes) or "params.yaml says so already")
