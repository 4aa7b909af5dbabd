"""The command `earshot`: a file per subcommand, with its parser (`add`) and what it does (`run`);
`sweep` and `search` share one.
"""

import argparse
import codecs
import os
import sys
from collections.abc import Sequence

from earshot.cli import (
    answer,
    classify,
    compare,
    experiments,
    pack,
    page,
    plan,
    profile,
    report,
    table,
    transcribe,
    use,
    verify,
)

# What a terminal that is not UTF-8 may lack, in ASCII.
_PLAIN = {"–": "-", "—": "-", "−": "-", "→": "->", "…": "...", "±": "+-", "≥": ">=", "≤": "<="}
COMMANDS = (
    *(answer, classify, transcribe, table, compare),
    *(report, page, pack, experiments, profile, plan, verify, use),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; return what it returns, or 2 after one line on standard error.

    With EARSHOT_TRACEBACK in the environment an error is raised instead.
    """
    codecs.register_error("earshot.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="earshot.plain")
    parser = argparse.ArgumentParser(
        prog="earshot", description="Small students of large speech models."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    chosen = parser.parse_args(arguments)
    try:
        status = chosen.run(chosen) or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # who read the output, `head` perhaps, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        return 141
    except (ValueError, OSError) as error:
        if os.environ.get("EARSHOT_TRACEBACK"):
            raise
        print(f"earshot: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # no fault of the input's that is known
        if os.environ.get("EARSHOT_TRACEBACK"):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        print(f"earshot: {reason} (EARSHOT_TRACEBACK=1 shows where)", file=sys.stderr)
        return 2


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Spell characters that a terminal cannot show."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    spelled = [_PLAIN.get(one, ascii(one)[1:-1]) for one in lacking]
    return "".join(spelled), error.end
