"""Experiments run beside one another, each by `dvc exp run` in a clone, and brought home as DVC
experiments.

Why not DVC's queue (3.67): a task whose worker is killed says "Running" for ever, after `dvc queue
kill` "Success" though there is no experiment, and its folder stays; `dvc queue start` runs whatever
else is queued, and outlives the command; each `dvc queue status` takes seconds of a core; with two
workers tasks can fail without a log (its issue 10673). Here an experiment is a process group: who
starts it sees how it ends, and can end it.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from earshot.workbench.experiments.snapshot import CommandError, Snapshot, command, environment
from earshot.workbench.experiments.trial import Outcome, State, Trial, written

_PARENT_DEATH_SIGNAL = 1  # of Linux's prctl
_FRAME = (
    "ERROR: failed to reproduce",
    "ERROR: Failed to reproduce",
    "> ",
    "Running stage",
)  # DVC's words about a failure


@dataclass
class Running:
    """A trial that runs: its process, the clone it runs in, since when (`time.monotonic`).

    `began` is when its process did, as file times count (`time.time`).
    """

    trial: Trial
    process: subprocess.Popen
    clone: Path
    log: Path
    since: float
    began: float


@contextmanager
def alone(folder: Path) -> Iterator[IO]:
    """Hold the lock of `folder`, which clones of other holders then are leftovers of; OSError when
    someone has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"{folder}: another sweep or search is running here, or ends just now"
            ) from None
        yield lock


def clean(folder: Path) -> list[str]:
    """Remove the clones that a killed command left in `folder` and return their names; call it
    inside `alone`.
    """
    left = sorted(path for path in folder.iterdir() if path.is_dir())
    for path in left:
        _end_inside(path)
        shutil.rmtree(path)
    return [path.name for path in left]


def _end_inside(clone: Path) -> None:
    """End processes that work in a clone whose command was killed before they could die with it;
    Linux tells which.
    """
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            if (entry / "cwd").readlink().is_relative_to(clone.resolve()):
                os.kill(int(entry.name), signal.SIGKILL)


class Pool:
    """Trials of one stage, at most `workers` at a time; leaving the `with` block ends those that
    still run.

    `folder` holds the clones, `logs` what experiments print, `scores` is the metrics file that a
    trial writes. Each trial may use `cores` processes.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        stage: str,
        scores: str,
        folder: Path,
        logs: Path,
        workers: int,
        cores: int,
        lock: IO,
    ):
        self.snapshot, self.stage, self.scores, self.folder, self.logs = (
            snapshot,
            stage,
            scores,
            folder,
            logs,
        )
        self.workers, self.cores, self.lock = workers, cores, lock
        self.running: dict[str, Running] = {}

    def __enter__(self) -> "Pool":
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        for name in list(self.running):
            self.end(name)

    @property
    def free(self) -> int:
        """How many more trials may start."""
        return self.workers - len(self.running)

    def start(self, trial: Trial) -> None:
        """Start a trial; it dies with this process, where the system can do that."""
        clone, log = self.folder / trial.name, self.logs / f"{trial.name}.log"
        since = time.monotonic()
        try:
            self.snapshot.clone(clone, self.stage)
        except BaseException:
            shutil.rmtree(clone, ignore_errors=True)
            raise
        words = ["dvc", "exp", "run", "--allow-missing", "--name", trial.name]
        for key, value in trial.overrides.items():
            words += ["--set-param", f"{key}={written(value)}"]
        own = {"EARSHOT_WORKERS": os.environ.get("EARSHOT_WORKERS", str(self.cores))}
        began = time.time()
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [*words, self.stage],
                cwd=clone,
                env=environment(clone) | own,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[self.lock.fileno()],  # while an orphan lives, nobody removes its clone
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        self.running[trial.name] = Running(trial, process, clone, log, since, began)

    def ended(self) -> list[Outcome]:
        """Return what became of the trials that ended since the last call; those that succeeded are
        experiments now.
        """
        found = []
        for name, one in list(self.running.items()):
            if one.process.poll() is not None:
                _kill(one.process)  # what it may have left
                found.append(self._outcome(one))
                del self.running[name]
                shutil.rmtree(one.clone, ignore_errors=True)
        return found

    def end(self, name: str, reason: str = "", state: State = "failed") -> Outcome:
        """End a running trial with all its processes, and remove its clone."""
        one = self.running.pop(name)
        _kill(one.process)
        one.process.wait()
        shutil.rmtree(one.clone, ignore_errors=True)
        return self._made(one, state, reason=reason)

    def _outcome(self, one: Running) -> Outcome:
        if code := one.process.returncode:
            return self._made(
                one, "failed", reason=f"killed by signal {-code}" if code < 0 else why(one.log)
            )
        name, head = one.trial.name, self.snapshot.head
        reference = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
        try:
            scores = json.loads((one.clone / self.scores).read_text())
            words = (
                "git",
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                str(one.clone),
                f"+{reference}:{reference}",
            )
            command(*words, cwd=self.snapshot.root)
            commit = command("git", "rev-parse", reference, cwd=self.snapshot.root).strip()
        except (OSError, CommandError, ValueError) as error:
            return self._made(one, "failed", reason=f"{error}")
        return self._made(
            one,
            "done",
            scores={k: v for k, v in scores.items() if not isinstance(v, dict)},
            commit=commit,
        )

    def _made(self, one: Running, state: State, **more: object) -> Outcome:
        seconds = round(time.monotonic() - one.since, 1)
        return Outcome(one.trial.name, one.trial.overrides, state, seconds=seconds, **more)


def why(log: Path) -> str:
    """Return the line of a log that says why: the last that is not DVC's frame around it."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(_FRAME)]
    return (told or lines or ["it said nothing"])[-1][:500]


def _kill(process: subprocess.Popen) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _die_with_parent() -> None:
    _LIBC.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
