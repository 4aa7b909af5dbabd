"""Long work: progress bars on a terminal (logs stay readable), chunks that keep memory flat, and
how many workers.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def track(
    things: Iterable[T], what: str, total: int | None = None, unit: str = "it"
) -> Iterator[T]:
    """Iterate over `things` with a bar that names `what`; silent when standard error is not a
    terminal.
    """
    return iter(
        tqdm(
            things,
            desc=what,
            total=total,
            unit=unit,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )
    )


def chunks(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` things, the last one maybe shorter."""
    rest = iter(things)
    while some := list(islice(rest, size)):
        yield some


def workers() -> int:
    """Return how many processes to use: `EARSHOT_WORKERS`, else the cores of this machine. Never
    changes a result.
    """
    allowed = getattr(os, "sched_getaffinity", None)  # macOS has none
    return int(os.environ.get("EARSHOT_WORKERS", 0)) or (
        len(allowed(0)) if allowed else os.cpu_count() or 1
    )
