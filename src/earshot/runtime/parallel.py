"""Work shared out to processes of this machine, or to Ray's workers, in order, whatever their
number.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

from earshot.runtime import ray_workers
from earshot.runtime.orphans import die_with_parent
from earshot.runtime.progress import track, workers

T = TypeVar("T")
R = TypeVar("R")


def _begin(parent: int) -> None:
    die_with_parent(parent)  # a worker left behind would write beside the next run
    threadpool_limits(1)  # one process per core is enough, and sums come out the same everywhere


def run(
    function: Callable[[T], R],
    tasks: Sequence[T],
    what: str,
    unit: str = "it",
    chunk: int = 1,
    method: str = "fork",
    engine: str = "local",
    processes: int | None = None,
) -> Iterator[R]:
    """Yield `function(task)` for each task, in order, from other processes with a bar that names
    `what`.

    There are `processes` of them, as many as cores where that is not given. Fork before torch is
    loaded, as its threads do not survive, or use `method="spawn"`; `engine="ray"` has Ray's workers
    do it, on however many machines. An exception in a worker is raised here.
    """
    if engine == "ray":
        yield from ray_workers.run(function, tasks, what, unit)
        return
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(
        processes or workers(), context, initializer=_begin, initargs=(os.getpid(),)
    ) as pool:
        yield from track(
            pool.map(function, tasks, chunksize=chunk), what, total=len(tasks), unit=unit
        )


def one_by_one(
    function: Callable[[T], R], tasks: Sequence[T], what: str, engine: str = "local"
) -> Iterator[R]:
    """Yield `function(task)` for each task, in order, from this process, where `function` uses all
    cores or the GPU itself.

    With `engine="ray"` each worker does so, with a GPU of its own where there are any.
    """
    if engine == "ray":
        yield from ray_workers.run(function, tasks, what, "part", gpu=True)
    else:
        yield from map(function, track(tasks, what, unit="part", total=len(tasks)))
