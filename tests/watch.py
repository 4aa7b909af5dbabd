"""Copied into a pipeline's `src` as `sitecustomize.py`, it notes which of the project's files each
stage opens (Linux).

inotify sees every opening of what lay there when the stage began, by any process and by C libraries
too, which open files behind Python's back. `EARSHOT_WATCH` names the folder for the notes, a JSON
list a stage.
"""

import atexit
import ctypes
import json
import os
import re
import struct
import sys

FOLDERS = ("data", "models", "checkpoints", "metrics", "plots")
OPENED, OVERFLOW, IS_FOLDER = 0x20, 0x4000, 0x40000000  # of inotify


def watch(note: str) -> None:
    """Write to `note`, when this process ends, the files in FOLDERS that were opened since."""
    libc = ctypes.CDLL(None, use_errno=True)
    queue = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    places = {}
    for folder in FOLDERS:
        for where, _, _ in os.walk(folder):
            places[libc.inotify_add_watch(queue, where.encode(), OPENED)] = where
    atexit.register(
        lambda process: process == os.getpid() and _write(note, queue, places), os.getpid()
    )


def _write(note: str, queue: int, places: dict[int, str]) -> None:
    opened = set()
    while True:
        try:
            events = os.read(queue, 1 << 20)
        except BlockingIOError:
            break
        place = 0
        while place < len(events):
            number, mask, _, length = struct.unpack_from("iIII", events, place)
            name = events[place + 16 : place + 16 + length].rstrip(b"\0").decode()
            place += 16 + length
            if mask & OVERFLOW:
                raise OSError("more files were opened than inotify could note")
            if name and not mask & IS_FOLDER:
                final = re.sub(r"^\.(.+)\.partial-\d+$", r"\1", name)  # of earshot.files.atomic
                opened.add(f"{places[number]}/{final}")
    os.makedirs(os.path.dirname(note), exist_ok=True)
    with open(note, "w") as file:
        json.dump(sorted(opened), file)


if "EARSHOT_WATCH" in os.environ and (
    stage := re.search(r"stages/(\w+)\.py (\S+)$", " ".join(sys.orig_argv))
):
    watch(os.path.join(os.environ["EARSHOT_WATCH"], f"{stage[1]}@{stage[2]}.json"))
