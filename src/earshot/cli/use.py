"""`earshot use`: the parameters for a folder of recordings."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "use",
        help="say what a folder of recordings is, and which parameters use it",
        description="Look at a folder or table of recordings: say what it is, what is wrong with "
        "it, and which lines of params.yaml would use it.",
    )
    command.add_argument("path", type=Path, help="a folder, or a table")
    command.add_argument("--track", help="whose corpus it is to be (default: the first that fits)")
    command.add_argument("--write", action="store_true", help="write the lines into params.yaml")
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Print what a folder is and the lines that use it, or write them."""
    from earshot.cli.shared import parameters
    from earshot.runtime import yaml_file
    from earshot.workbench import profile, use

    parameters(chosen.track)  # names a track that is not there
    params = Path("params.yaml")
    found = use.look(chosen.path, yaml_file.read(params), chosen.track)
    print(f"{chosen.path}: {found.what}, {sum(found.counts.values())} recordings")
    print("  " + " · ".join(f"{count} {role}" for role, count in sorted(found.counts.items())))
    for note in found.notes:
        print(f"  {note}")
    for key, value in found.changes.items():
        print(f"{key}: {profile.line(value)}")
    if chosen.write:
        profile.write(found.changes, params)
        print("written to params.yaml")
    else:
        print("--write writes these lines into params.yaml")
