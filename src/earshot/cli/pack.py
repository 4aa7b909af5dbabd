"""`earshot pack`: a student as a folder to hand on."""

import argparse
from pathlib import Path
from typing import Any

EXAMPLE = """examples:
  earshot pack listening student --licence apache-2.0
  earshot pack scenes student --licence cc-by-nc-4.0 --push owner/name
  earshot pack scenes student --push owner/name --yes
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "pack",
        help="write a student as a folder that stands alone",
        description="Write a student's float and int8 ONNX files, a model card in the format of "
        "the Hugging Face hub, examples in Python and JavaScript with the code that they need, "
        "and checksums. The licence is yours to choose; what corpora forbid is refused.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("track", help="as in params.yaml")
    command.add_argument("out", type=Path, help="folder to make")
    command.add_argument("--recipe", help="whose student (default: the one that ships)")
    command.add_argument("--licence", help="as the hub writes it, like apache-2.0")
    command.add_argument("--push", metavar="OWNER/NAME", help="show what goes to the hub")
    command.add_argument("--yes", action="store_true", help="send what --push has shown")
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Write the folder; show or do the push."""
    from earshot.workbench import pack
    from earshot.workbench.pack import hub

    if chosen.yes and not chosen.push:
        raise ValueError("--yes: only --push OWNER/NAME asks for it")
    folder = chosen.out
    if chosen.yes and folder.exists():  # what was shown before is what is sent
        pack.check(folder)
    else:
        pack.write(folder, Path(), chosen.track, chosen.recipe, chosen.licence)
    print(f"{folder}  {sum(one.stat().st_size for one in folder.rglob('*.onnx')) / 1e6:.2f} MB")
    if not chosen.push:
        return
    push = hub.plan(folder, chosen.push)
    for name, size in push.files.items():
        print(f"{size:>10,}  {name}")
    if chosen.yes:
        print(f"sent to {hub.send(folder, push)}, private")
    else:
        print(f"would go to {push.endpoint}/{push.name}, private; nothing was sent: add --yes")
