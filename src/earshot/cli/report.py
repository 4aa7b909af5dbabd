"""`earshot report`: the results as a page that needs nothing else."""

import argparse
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "zh")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "report",
        help="write the results as one HTML file",
        description="Write results, charts, the hardest test items with their sound, parameters "
        "and hashes as one HTML file that needs no network. Equal inputs give equal bytes.",
    )
    command.add_argument(
        "--out", type=Path, default=Path("docs/report.html"), help="default: %(default)s"
    )
    command.add_argument(
        "--lang", choices=(*LANGUAGES, "both"), default="both", help="both: Chinese goes beside OUT"
    )
    command.add_argument(
        "--figures", type=Path, metavar="FOLDER", help="also write the main charts there, as SVG"
    )
    command.add_argument(
        "--commit", help="that of the results (default: the last that touched them)"
    )
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Write the page, or both; say where, and how large."""
    from earshot.workbench import report
    from earshot.workbench.report import provenance

    languages = LANGUAGES if chosen.lang == "both" else (chosen.lang,)
    root, params = Path(), Path("params.yaml")
    commit = chosen.commit or provenance.commit(root, params)
    written = report.write(chosen.out, languages, root, params, commit)
    if chosen.figures:
        written += report.draw(chosen.figures, languages, root)
    for path in written:
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")
