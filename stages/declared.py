"""How a stage script meets the pipeline: declared parameters in, one writer, one-line errors out.

Stages import it before anything else.
"""

import multiprocessing
import os
import sys
from pathlib import Path

from earshot.runtime.orphans import die_with_parent

# Before the imports, which take seconds. Who began this process is known beforehand: an orphan is
# adopted by process 1, or by whoever else adopts here, and cannot tell by itself.
_begun_by = multiprocessing.parent_process()
_dvc = os.environ.pop("EARSHOT_PARENT", None)  # set by stages/run
die_with_parent(_begun_by.pid if _begun_by else int(_dvc) if _dvc else None)

# The same numbers whatever the machine: one thread a process, as many processes as cores.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import fcntl  # noqa: E402
import hashlib  # noqa: E402
import logging  # noqa: E402
import shutil  # noqa: E402
import socket  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import cache  # noqa: E402
from typing import Any  # noqa: E402

from threadpoolctl import threadpool_limits  # noqa: E402

from earshot.params import Params, parse  # noqa: E402
from earshot.runtime import yaml_file  # noqa: E402
from earshot.runtime.curves import Curves  # noqa: E402
from earshot.runtime.files import atomic, remove_unfinished, sha256, write_json  # noqa: E402

logging.basicConfig(level=logging.WARNING, format="%(message)s")
logging.getLogger("earshot").setLevel(logging.INFO)  # what was chosen, and why

Stage = Callable[[str], dict[str, Any] | None]
BESIDE = ("data/{track}", "models/{track}", "metrics/{track}/**", "plots/{track}/**")  # outputs
KNOWN = (ValueError, KeyError, FloatingPointError, OSError)


@cache
def _params() -> Params:
    return parse(yaml_file.read("params.yaml"))


def read(key: str) -> Any:
    """Return the part of params.yaml under a dotted key; tests hold these against dvc.yaml."""
    value: Any = _params()
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def scratch(*parts: str) -> Path:
    """Return a folder for unfinished work, outside the outputs, which DVC deletes before a run."""
    return Path("scratch", *parts)


def digest(*things: Any) -> str:
    """Return a short hash of files (their bytes) and other things (their text)."""
    texts = [sha256(thing) if isinstance(thing, Path) else repr(thing) for thing in things]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def curves(track: str, name: str, seed: int = 0) -> Callable[[int, dict[str, float]], None]:
    """Return what writes learning curves, to be called with an epoch, from 0, and its scores."""
    log = Curves(Path(f"plots/{track}/curves/{name}/seed-{seed}.csv"))
    return lambda epoch, scores: log(epoch + 1, scores)


def run(stage: Stage, rows: str, ranks: int | Callable[[Any], int] = 1) -> None:
    """Run `stage` with the script's one argument, a key of the section `rows` of params.yaml.

    Known faults become one line and exit code 1. How long it took, and what times the stage
    returns, are written beside the metrics, outside Git: they differ from run to run. Only one
    process at a time runs a stage for a key.

    With `ranks` above one, which may depend on the row, the script runs in so many processes, which
    find each other as those of `torchrun` do. It can be started by `torchrun` or `accelerate
    launch` too.
    """
    key = sys.argv[1]
    name = f"{Path(sys.argv[0]).stem}@{key}"
    try:
        row = read(f"{rows}.{key}")
    except KNOWN as error:
        sys.exit(f"{name}: {error}")
    ranks = ranks(row) if callable(ranks) else ranks
    track = getattr(row, "track", key)
    timing = Path(f"metrics/{track}/timing/{name}.json")
    scratch("locks").mkdir(parents=True, exist_ok=True)
    with open(scratch("locks", name), "w") as lock:
        if _is_first():
            fcntl.flock(lock, fcntl.LOCK_EX)
            remove_unfinished("scratch", *(place.format(track=track) for place in BESIDE))
            _keep_lock()
        if ranks > 1:
            _share(stage, name, timing, ranks)
        else:
            _guarded(stage, name, timing)


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _keep_lock() -> None:
    """Keep dvc.lock, which is whole while a stage runs; a kill tears it while DVC writes it."""
    if Path("dvc.lock").exists():
        with atomic(scratch("dvc.lock")) as partial:
            shutil.copyfile("dvc.lock", partial)


def _guarded(stage: Stage, name: str, timing: Path) -> None:
    begun = time.monotonic()
    try:
        with threadpool_limits(1):  # for libraries loaded before the variables above were set
            times = stage(sys.argv[1]) or {}
    except KNOWN as error:
        if os.environ.get("EARSHOT_TRACEBACK"):
            raise
        sys.exit(f"{name}: {error}")
    if _is_first():
        write_json(timing, {"seconds": round(time.monotonic() - begun, 3), **times})


def _share(stage: Stage, name: str, timing: Path, ranks: int) -> None:
    """Run `stage` in `ranks` processes of this machine; when one fails the others end too."""
    from torch.multiprocessing.spawn import (
        ProcessExitedException,
        ProcessRaisedException,
        start_processes,
    )

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (stage, name, timing, sys.argv, ranks, port)
    try:
        start_processes(_rank, arguments, nprocs=ranks, start_method="spawn")
    except ProcessExitedException as error:
        sys.exit(error.exit_code)  # it has said why
    except ProcessRaisedException as error:
        sys.exit(f"{name}: {error}")


def _rank(
    rank: int, stage: Stage, name: str, timing: Path, argv: list[str], ranks: int, port: int
) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {key: str(value) for key, value in (place | address).items()}
    sys.argv = argv
    _guarded(stage, name, timing)
