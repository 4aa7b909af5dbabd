"""How a stage script meets the pipeline: declared parameters in, one writer at a time, one-line
errors out.
"""

import ctypes
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

# The same numbers whatever the machine: one thread a process, and as many processes as there are
# cores.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import yaml  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

from earshot.params import Params, parse  # noqa: E402


@cache
def _params() -> Params:
    with open("params.yaml") as file:
        return parse(yaml.safe_load(file))


def read(key: str) -> Any:
    """Return the part of params.yaml under a dotted key; a test holds these keys against what
    dvc.yaml declares.
    """
    value: Any = _params()
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def scratch(*parts: str) -> Path:
    """Return a folder for unfinished work, outside the stage's outputs, which DVC deletes before a
    run.
    """
    return Path("scratch", *parts)


def run(stage: Callable[[str], None], ranks: int = 1, timed: bool = True) -> None:
    """Run `stage` with the script's one argument (a track or a recipe); known faults become one
    line and exit code 1.

    How long it took is written beside its outputs, unless it is not `timed`; of a run that was
    killed and went on, the rest.

    A `dvc repro` that was killed can leave its stage running. It dies with its parent where the
    system can do that; elsewhere the next run waits for it, as two writers would spoil each other's
    work.

    With `ranks` above one the script runs in so many processes, which find each other as those of
    `torchrun` do. It can be started by `torchrun` or `accelerate launch` too.
    """
    _die_with_parent()
    name = f"{Path(sys.argv[0]).stem}@{sys.argv[1]}"
    scratch("locks").mkdir(parents=True, exist_ok=True)
    with open(scratch("locks", name), "w") as lock:
        if os.environ.get("RANK", "0") == "0":
            fcntl.flock(lock, fcntl.LOCK_EX)
        begun = time.monotonic()
        if ranks > 1:
            _share(stage, name, ranks)
        else:
            _guarded(stage, name)
        if timed and os.environ.get("RANK", "0") == "0":
            _write_seconds(name, time.monotonic() - begun)


def _write_seconds(name: str, seconds: float) -> None:
    from earshot.runtime.files import write_json

    recipe = _params().recipes.get(sys.argv[1])
    track = recipe.track if recipe else sys.argv[1]
    write_json(f"metrics/{track}/seconds/{name}.json", {"seconds": round(seconds, 1)})


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _guarded(stage: Callable[[str], None], name: str) -> None:
    try:
        with threadpool_limits(1):  # for libraries loaded before the variables above were set
            stage(sys.argv[1])
    except (ValueError, KeyError, FloatingPointError, OSError) as error:
        if os.environ.get("EARSHOT_TRACEBACK"):
            raise
        sys.exit(f"{name}: {error}")


def _share(stage: Callable[[str], None], name: str, ranks: int) -> None:
    """Run `stage` in `ranks` processes of this machine; when one fails the others end too."""
    from torch.multiprocessing.spawn import (
        ProcessExitedException,
        ProcessRaisedException,
        start_processes,
    )

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        start_processes(
            _rank, (stage, name, sys.argv, ranks, port), nprocs=ranks, start_method="spawn"
        )
    except ProcessExitedException as error:
        sys.exit(error.exit_code)  # it has said why
    except ProcessRaisedException as error:
        sys.exit(f"{name}: {error}")


def _rank(
    rank: int, stage: Callable[[str], None], name: str, argv: list[str], ranks: int, port: int
) -> None:
    _die_with_parent()
    place = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": ranks,
        "LOCAL_WORLD_SIZE": ranks,
        "MASTER_PORT": port,
    }
    os.environ |= {key: str(value) for key, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
    sys.argv = argv
    _guarded(stage, name)


def curves(live: Any) -> Callable[[int, dict[str, float]], None]:
    """Return a listener that writes every epoch's scores to a dvclive run."""

    def log(epoch: int, scores: dict[str, float]) -> None:
        live.step = epoch + 1
        for name, value in scores.items():
            live.log_metric(name, value)

    return log


def digest(*things: Any) -> str:
    """Return a short hash of files (their bytes) and other things (their text): the name of
    resumable work.
    """
    import hashlib

    from earshot.runtime.files import sha256

    texts = [sha256(thing) if isinstance(thing, Path) else repr(thing) for thing in things]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
