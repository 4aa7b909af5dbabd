"""`earshot compare`: what a pull request changes, as Markdown or JSON, and whether it passes the
gate.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from earshot.cli.shared import print_json

_FAILED = 1


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "compare",
        help="compare metrics, parameters and costs of two commits",
        description="Compare two commits, or a commit with the working tree: metrics "
        "beside their intervals, costs, "
        "parameters. Reads Git's objects; nothing is checked out.",
    )
    command.add_argument(
        "commits", nargs="*", metavar="COMMIT", help="BASE [HEAD]; without HEAD, the working tree"
    )
    command.add_argument(
        "--root",
        action="store_true",
        help="compare HEAD, or the working tree, with nothing: a first commit",
    )
    command.add_argument(
        "--format",
        choices=("md", "json"),
        default="md",
        help="Markdown (default) or one JSON object",
    )
    command.add_argument(
        "--gate",
        action="store_true",
        help="exit 1 when a figure that `guard` names got too much worse",
    )
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print the comparison; return 1 when the gate is asked for and fails."""
    from earshot.workbench import comparison
    from earshot.workbench.comparison.markdown import render

    here = Path()
    most = 1 if chosen.root else 2
    if not most - 1 <= len(chosen.commits) <= most:
        raise ValueError("compare wants BASE [HEAD], or --root [HEAD] for a first commit")
    names = [None, *chosen.commits] if chosen.root else chosen.commits
    base = comparison.commit(here, names[0]) if names[0] else comparison.nothing(here)
    head = comparison.commit(here, names[1]) if len(names) > 1 else comparison.working_tree(here)
    found = comparison.compare(base, head, "params.yaml")
    if chosen.format == "json":
        print_json(found.as_json())
    else:
        print(render(found), end="")
    if not chosen.gate:
        return 0
    for line in [*found.gate.notes, *found.gate.failures]:
        print(f"gate: {line}", file=sys.stderr)
    return _FAILED if found.gate.failures else 0
