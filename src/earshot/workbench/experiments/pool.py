"""Experiments run beside one another, each by `dvc exp run` in a clone, and brought home as DVC
experiments.

Why not DVC's queue (3.67): a task whose worker is killed says "Running" for ever, after `dvc queue
kill` "Success" though there is no experiment, and its folder stays; `dvc queue start` runs whatever
else is queued, and outlives the command; each `dvc queue status` takes seconds of a core; with two
workers tasks can fail without a log (its issue 10673). Here an experiment is a process group: who
starts it sees how it ends, and can end it.
"""

import csv
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
from earshot.workbench.experiments.task import Task
from earshot.workbench.experiments.trial import Outcome, State, Trial

# DVC's words around a failure
_FRAME = ("ERROR: failed to reproduce", "ERROR: Failed to reproduce", "> ", "Running stage")


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PARENT_DEATH_SIGNAL = 1  # of Linux's prctl


@dataclass
class Running:
    """A trial that runs: its process, clone and log, and when it began (`time.time`)."""

    trial: Trial
    process: subprocess.Popen
    clone: Path
    log: Path
    began: float


@contextmanager
def alone(folder: Path) -> Iterator[IO]:
    """Hold the lock of `folder`: its clones are then leftovers. OSError when someone has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            running = "another sweep or search is running here, or ends just now"
            raise BlockingIOError(f"{folder}: {running}") from None
        yield lock


def clean(folder: Path) -> list[str]:
    """Remove the clones that a killed command left and return their names; call it in `alone`."""
    left = sorted(path for path in folder.iterdir() if path.is_dir())
    for path in left:
        _end_inside(path)
        shutil.rmtree(path)
    return [path.name for path in left]


def _end_inside(clone: Path) -> None:
    """End processes that work in a clone and outlived their command; Linux tells which."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            if (entry / "cwd").readlink().is_relative_to(clone.resolve()):
                os.kill(int(entry.name), signal.SIGKILL)


class Pool:
    """Trials of a task, at most `workers` at a time; leaving the `with` block ends what still runs.

    `folder` holds the clones. Each trial may use `cores` processes.
    """

    def __init__(
        self, task: Task, snapshot: Snapshot, folder: Path, workers: int, cores: int, lock: IO
    ):
        self.task, self.snapshot, self.folder = task, snapshot, folder
        self.workers, self.cores, self.lock = workers, cores, lock
        self.running: dict[str, Running] = {}

    def __enter__(self) -> "Pool":
        self.logs = self.task.folder / "logs"
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
        clone, log, began = self.folder / trial.name, self.logs / f"{trial.name}.log", time.time()
        try:
            self.snapshot.clone(clone, self.task.stage)
        except BaseException:
            shutil.rmtree(clone, ignore_errors=True)
            raise
        words = ["dvc", "exp", "run", "--allow-missing", "--name", trial.name]
        for key, value in trial.overrides.items():
            words += ["--set-param", f"{key}={json.dumps(value, ensure_ascii=False)}"]
        share = {"EARSHOT_WORKERS": os.environ.get("EARSHOT_WORKERS", str(self.cores))}
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [*words, self.task.stage],
                cwd=clone,
                env=environment(clone) | share,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[self.lock.fileno()],  # while an orphan lives, nobody removes its clone
                preexec_fn=_die_with_parent if _LIBC else None,
            )
        self.running[trial.name] = Running(trial, process, clone, log, began)

    def curves(self) -> dict[str, list[float]]:
        """Return the live validation curve of each trial that still runs."""
        live = {name: one for name, one in self.running.items() if one.process.poll() is None}
        return {name: self._curve(one, one.began) for name, one in live.items()}

    def ended(self) -> list[Outcome]:
        """Return what became of the trials that ended since the last call.

        Those that succeeded are experiments now.
        """
        over = [name for name, one in self.running.items() if one.process.poll() is not None]
        found = []
        for name in over:
            one = self.running.pop(name)
            _kill(one.process)  # what it may have left
            found.append(self._outcome(one))
            shutil.rmtree(one.clone, ignore_errors=True)
        return found

    def end(self, name: str, reason: str = "", state: State = "failed") -> Outcome:
        """End a running trial with all its processes, and remove its clone."""
        one = self.running.pop(name)
        _kill(one.process)
        one.process.wait()
        outcome = self._made(one, state, reason=reason)
        shutil.rmtree(one.clone, ignore_errors=True)
        return outcome

    def _outcome(self, one: Running) -> Outcome:
        if code := one.process.returncode:
            reason = f"killed by signal {-code}" if code < 0 else why(one.log)
            return self._made(one, "failed", reason=reason)
        root, head = self.snapshot.root, self.snapshot.head
        reference = f"refs/exps/{head[:2]}/{head[2:]}/{one.trial.name}"
        fetch = ("git", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
        try:
            scores = json.loads((one.clone / self.task.scores).read_text(encoding="utf-8"))
            command(*fetch, str(one.clone), f"+{reference}:{reference}", cwd=root)
            commit = command("git", "rev-parse", reference, cwd=root).strip()
        except (OSError, CommandError, ValueError) as error:
            return self._made(one, "failed", reason=f"{error}")
        scores = {name: score for name, score in scores.items() if not isinstance(score, dict)}
        return self._made(one, "done", scores=scores, commit=commit)

    def _made(self, one: Running, state: State, **more: object) -> Outcome:
        seconds = round(time.time() - one.began, 1)
        whole = self._curve(one, since=0.0 if state == "done" else one.began)
        known = {"digest": one.trial.digest, "curve": whole, "seconds": seconds}
        return Outcome(one.trial.name, one.trial.overrides, state, **known, **more)

    def _curve(self, one: Running, since: float) -> list[float]:
        seeds = min(self.task.seeds, self.cores)  # so many train side by side
        return curve(one.clone / self.task.curves, seeds, since)


def curve(folder: Path, seeds: int, since: float = 0.0) -> list[float]:
    """Return the mean validation score of each epoch that `seeds` students have behind them.

    Files not written since `since` (`time.time`) are of an earlier run, which a clone begins with;
    once a trial is done all are its own, perhaps from DVC's cache of runs.
    """
    scores = [_scores(file, since) for file in folder.glob("seed-*.csv")]
    longest = sorted((one for one in scores if one), key=len, reverse=True)[:seeds]
    if len(longest) < seeds:
        return []
    return [sum(epoch) / seeds for epoch in zip(*longest, strict=False)]


def _scores(file: Path, since: float) -> list[float]:
    try:
        if file.stat().st_mtime <= since:
            return []
        with open(file, newline="") as lines:
            return [float(row["validation"]) for row in csv.DictReader(lines)]
    except FileNotFoundError:  # DVC removes outputs before a stage runs
        return []


def why(log: Path) -> str:
    """Return the line of a log that says why: the last that is not DVC's frame around it."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    inner = [line for line in lines if not line.startswith(_FRAME)]
    return (inner or lines or ["it said nothing"])[-1][:500]


def _kill(process: subprocess.Popen) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _die_with_parent() -> None:
    _LIBC.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
