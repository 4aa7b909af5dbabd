"""The command `earshot`: a file per subcommand, with its parser (`add`) and what it does
(`run`).
"""

import argparse
import sys
from collections.abc import Sequence

from earshot.cli import (
    answer,
    classify,
    compare,
    plan,
    profile,
    report,
    search,
    sweep,
    table,
    verify,
)

COMMANDS = (answer, classify, table, compare, report, sweep, search, profile, plan, verify)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return what it returns, or 2 after one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="earshot", description="Small students of large speech models."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    chosen = parser.parse_args(arguments)
    try:
        return chosen.run(chosen) or 0
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as error:
        print(f"earshot: {error}", file=sys.stderr)
        return 2
