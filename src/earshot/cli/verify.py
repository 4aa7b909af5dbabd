"""`earshot verify`: whether outputs and DVC's cache are still what dvc.lock records."""

import argparse
from dataclasses import asdict
from typing import Any

from earshot.cli.shared import print_json


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "verify",
        help="read every output again, and its copy in DVC's cache",
        description="Hash every output that dvc.lock records, in the workspace and in DVC's cache, "
        "and open files of known kinds to their end. What is missing, changed, extra or rotten is "
        "named, with the command that mends it, and so is what you handed in and edited since a "
        "stage read it; the exit status is then 1.",
    )
    command.add_argument(
        "stages",
        nargs="*",
        metavar="STAGE",
        help="as in dvc.lock, `distill` or '*@scenes' (default: all)",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print what is wrong, and return 1 when anything is."""
    from earshot.workbench import integrity

    report = integrity.verify(wanted=chosen.stages)
    if chosen.json:
        print_json(asdict(report))
        return int(bool(report.faults))
    for fault in report.faults:
        print(f"{fault.kind:10} {fault.path}")
        print(f"{'':10} {fault.stage}: {fault.detail}")
        print(f"{'':10} $ {fault.mend}")
    counts = [f"stages: {report.stages}", f"files: {report.files}"]
    counts += [f"objects of DVC's cache: {report.objects}", f"read: {report.bytes / 1e6:.1f} MB"]
    print(", ".join([*counts, f"wrong: {len(report.faults)}"]))
    return int(bool(report.faults))
