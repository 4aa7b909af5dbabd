"""Work shared out to processes, in order, whatever their number."""

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

from earshot.progress import track, workers

T = TypeVar("T")
R = TypeVar("R")
_PARENT_DEATH_SIGNAL = 1  # of Linux's prctl


def _begin() -> None:
    if sys.platform == "linux":  # a killed stage leaves no workers behind, which would write beside the next run
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    threadpool_limits(1)  # one process per core is enough, and sums come out the same everywhere


def run(
    function: Callable[[T], R], tasks: Sequence[T], what: str, unit: str = "it", chunk: int = 1, method: str = "fork"
) -> Iterator[R]:
    """Yield `function(task)` for each task, in order, from other processes with a bar that names `what`.

    Fork before torch is loaded, as its threads do not survive, or use `method="spawn"`. An exception in a worker is
    raised here.
    """
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(workers(), mp_context=context, initializer=_begin) as pool:
        yield from track(pool.map(function, tasks, chunksize=chunk), what, total=len(tasks), unit=unit)
