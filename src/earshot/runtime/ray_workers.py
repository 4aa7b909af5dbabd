"""Work shared out to Ray's workers through Ray Data: on this machine, or on the cluster that
RAY_ADDRESS names.

A cluster's machines must see the project's folder under the same path. Ray says nothing to its
makers, shows no dashboard and, without a cluster, talks to this machine alone.
"""

import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from earshot.runtime.progress import track, workers

T = TypeVar("T")
R = TypeVar("R")
STORE = 128 << 20  # bytes of shared memory: only paths and short answers pass through it
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
# on Linux too: without it Ray uses this machine's address
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
PATIENCE = 300  # seconds until the first worker
TOKEN = "a cluster that wants a token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or ~/.ray/auth_token"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class EngineError(ValueError):
    """Ray is chosen but not there; the message is one line."""


class Worker:
    """One process of Ray's: keeps `function`, and what that has loaded, from task to task."""

    def __init__(self, function: Callable[[Any], Any], folder: str):
        os.chdir(folder)
        # one process per core is enough, and sums come out the same everywhere
        threadpool_limits(1)
        self._function = function

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the pickled result of a pickled task, or the exception it raised: Ray's own errors
        are many lines long.
        """
        try:
            outcome = True, self._function(pickle.loads(row["task"]))
        except Exception as error:
            outcome = False, error
        return {"number": row["number"], "result": pickle.dumps(outcome)}


def run(
    function: Callable[[T], R], tasks: Sequence[T], what: str, unit: str = "it", gpu: bool = False
) -> Iterator[R]:
    """Yield `function(task)` for each task, in order, with a bar that names `what`; an exception in
    a worker is raised here.

    `function` and tasks are pickled. With `gpu` each worker has one of its own where there are any.
    Raises EngineError where Ray is not installed or its cluster cannot be reached.
    """
    if not tasks:
        return
    os.environ |= SETTINGS if "RAY_ADDRESS" in os.environ else SETTINGS | LOOPBACK
    try:
        import ray
    except ModuleNotFoundError:
        raise EngineError("engine=ray: Ray is not installed; pip install 'earshot[ray]'") from None
    local = "RAY_ADDRESS" not in os.environ
    if local:
        _check_path(sys.executable, ray.__file__)
    try:
        _connect(ray)
        if local:
            _await_worker(ray)
        yield from _results(ray, function, tasks, what, unit, gpu)
    finally:
        ray.shutdown()


def _connect(ray: Any) -> None:
    path = os.pathsep.join(
        filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")))
    )
    shared = {"PYTHONPATH": path, **dict.fromkeys(THREADS, "1"), **SETTINGS}
    local = {
        "address": "local",
        "num_cpus": workers(),
        "object_store_memory": STORE,
        "include_dashboard": False,
    }
    cluster = {"address": "auto"} if "RAY_ADDRESS" in os.environ else local
    try:
        ray.init(
            **cluster, runtime_env={"env_vars": shared}, logging_level="ERROR", log_to_driver=False
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        hint = f"; {TOKEN}" if "RAY_ADDRESS" in os.environ else ""
        raise EngineError(f"engine=ray: {str(error).splitlines()[0]}{hint}") from None


def _check_path(*paths: str) -> None:
    """Refuse paths that Ray's command line for a worker, split at spaces, would not survive."""
    for path in paths:
        if " " in path:
            raise EngineError(
                f"engine=ray: Ray starts no worker from a path with a space, {path!r}; move the "
                "environment, or set engine: local"
            )


def _begin() -> None:
    """Do nothing: a worker that can is there."""


def _await_worker(ray: Any) -> None:
    """Raise EngineError where no worker of this machine's begins: Ray would wait for ever."""
    try:
        ray.get(ray.remote(num_cpus=1)(_begin).remote(), timeout=PATIENCE)
    except ray.exceptions.GetTimeoutError:
        raise EngineError(
            f"engine=ray: no worker began within {PATIENCE} seconds; what they said is under "
            "/tmp/ray/session_latest/logs; set engine: local"
        ) from None


def _results(
    ray: Any, function: Callable, tasks: Sequence, what: str, unit: str, gpu: bool
) -> Iterator:
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0)) if gpu else 0
    count = min(len(tasks), gpus or int(resources["CPU"]))
    rows = [{"number": number, "task": pickle.dumps(task)} for number, task in enumerate(tasks)]
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        Worker,
        fn_constructor_args=(function, os.getcwd()),
        compute=ray.data.ActorPoolStrategy(size=count),
        num_cpus=1,
        num_gpus=1 if gpus else 0,
    )
    results: dict[int, Any] = {}
    try:
        for row in track(done.iter_rows(), what, total=len(rows), unit=unit):
            whole, result = pickle.loads(row["result"])
            if not whole:
                raise result
            results[row["number"]] = result
    except ray.exceptions.RayError as error:  # a worker that cannot begin, or was killed
        raise EngineError(f"engine=ray: {str(error).strip().splitlines()[-1]}") from None
    yield from (results[number] for number in range(len(rows)))
