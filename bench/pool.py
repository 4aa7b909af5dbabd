"""Reading a pool's cached states from the disk against reading the same file's bytes in order, with
nothing of it in memory before.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.reading import in_blocks
from bench.rounds import Result, Target, interleave, rows
from earshot.tables import sequences
from earshot.tables.sequences import Store

CLIP, RATE = 12, 50  # seconds, frames a second
SHARE = 0.4  # of the disk's speed, at least


def fill(path: Path, hours: float, width: int) -> None:
    """Write a store of states `(T, width)` of as many hours of clips."""
    noise = np.random.default_rng(0).standard_normal((CLIP * RATE, width)).astype(np.float16)
    clips = range(round(3600 * hours / CLIP))
    sequences.write(path, ((f"{clip:06d}", 0, noise) for clip in clips), "state", width, {})


def forget(path: Path) -> None:
    """Have the system forget what it keeps of a file in memory."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(rounds: int = 5, hours: float = 5.0, width: int = 512) -> Result:
    """Return megabytes per second of the disk itself and of a store of states upon it."""
    with TemporaryDirectory(dir=Path.cwd()) as made:
        path = Path(made, "states.parquet")
        fill(path, hours, width)
        keys = list(Store(path))
        shuffled = [keys[place] for place in np.random.default_rng(1).permutation(len(keys))]

        def disk() -> None:
            forget(path)
            in_blocks(path)

        def through(order: Iterable[tuple[str, int]]) -> None:
            forget(path)
            store = Store(path)
            for key in order:
                store[key].copy()  # as a batch does

        contenders = {
            "bytes, 1-MB blocks": disk,
            "store, in order": lambda: through(keys),
            "store, shuffled": lambda: through(shuffled),
        }
        spent = interleave(contenders, rounds, "pool")
        size = path.stat().st_size / 1e6
    found = rows({n: [size / s for s in each] for n, each in spent.items()}, "bytes, 1-MB blocks")
    shuffled_share = found["store, shuffled"].ratio.median
    return Result(
        title="Reading a pool from the disk",
        note=f"States of {hours:g} hours, {width} numbers 50 times a second, {size:.0f} MB, none "
        "of it in memory; a store is opened and read, each clip copied as into a batch.",
        unit="MB per second",
        ratio="÷ bytes in order",
        rows=found,
        targets=[Target("shuffled, as students read, ÷ the disk", shuffled_share, SHARE)],
    )
