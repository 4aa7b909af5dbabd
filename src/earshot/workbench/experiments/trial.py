"""One experiment: `dvc exp run` in a clone, watched while it trains, then brought home."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import optuna

from earshot.workbench import git
from earshot.workbench.experiments import clone
from earshot.workbench.experiments.task import Task

POLL = 0.2  # seconds
# DVC's words around a failure
_FRAME = (
    *("ERROR: failed to reproduce", "ERROR: Failed to reproduce"),
    *("> ", "Running stage", "Stage '", "WARNING: "),
)
# Runs `dvc` so that it dies with this process. Not by `preexec_fn`, as other threads run.
_DVC = """
import os, sys
from earshot.runtime.orphans import die_with_parent
die_with_parent(int(sys.argv[1]))
os.execvp("dvc", ["dvc", *sys.argv[2:]])
"""


class Stopped(Exception):
    """The command ends: what this trial would have come to is not known."""


@dataclass(frozen=True)
class Runner:
    """What the trials of a command share.

    `folder` holds the clones; each trial may use `cores` processes, and all end when `stop` is set.
    """

    task: Task
    source: clone.Source
    folder: Path
    cores: int
    stop: Event

    def run(self, trial: optuna.Trial) -> float:
        """Train as a trial says; return the accuracy on validation items.

        The trial learns its `scores`, `seconds` and `commit`, and its curve as it goes. TrialPruned
        says why it is hopeless, ValueError or OSError why it failed; Stopped comes of `stop`.
        """
        name, began = trial.user_attrs["name"], time.time()
        folder = self.folder / name
        try:
            clone.make(self.source, folder, self.task.stage)
            self._train(trial, folder, began)
            scores = json.loads((folder / self.task.scores).read_text(encoding="utf-8"))
            commit = self._bring_home(folder, name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            trial.set_user_attr("seconds", round(time.time() - began, 1))
        plain = {key: score for key, score in scores.items() if not isinstance(score, dict)}
        trial.set_user_attr("scores", plain)
        trial.set_user_attr("commit", commit)
        return scores["accuracy"]

    def _train(self, trial: optuna.Trial, folder: Path, began: float) -> None:
        log = self.task.folder / f"logs/{folder.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        words = ["exp", "run", "--allow-missing", "--name", folder.name]
        for key, value in trial.user_attrs["overrides"].items():
            words += ["--set-param", f"{key}={json.dumps(value, ensure_ascii=False)}"]
        share = {"EARSHOT_WORKERS": os.environ.get("EARSHOT_WORKERS", str(self.cores))}
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", _DVC, str(os.getpid()), *words, self.task.stage],
                cwd=folder,
                env=clone.environment(folder) | share,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            known = 0
            while process.poll() is None:
                if self.stop.wait(POLL):
                    raise Stopped
                known = self._judge(trial, folder, began, known)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # also what it may have left
            process.wait()
        if code := process.returncode:
            raise ValueError(f"killed by signal {-code}" if code < 0 else why(log))
        for point, score in enumerate(self._curve(folder, since=0.0)[known:], known):
            trial.report(score, point)

    def _judge(self, trial: optuna.Trial, folder: Path, began: float, known: int) -> int:
        """Report what is new of a trial's curve; return how many points are known of it."""
        curve = self._curve(folder, began)
        for point, score in enumerate(curve[known:], known):
            trial.report(score, point)
        if len(curve) > known and trial.should_prune():
            raise optuna.TrialPruned(f"{curve[-1]:.1%} at validation {len(curve)}")
        return max(known, len(curve))

    def _curve(self, folder: Path, since: float) -> list[float]:
        seeds = min(self.task.seeds, self.cores)  # so many train side by side
        return curve(folder / self.task.curves, seeds, since)

    def _bring_home(self, folder: Path, name: str) -> str:
        """Fetch a clone's experiment; return its commit."""
        head = self.source.head
        reference = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
        fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
        git.text(self.task.root, *fetch, str(folder), f"+{reference}:{reference}")
        return git.text(self.task.root, "rev-parse", reference)


def curve(folder: Path, seeds: int, since: float = 0.0) -> list[float]:
    """Return the mean score of each validation that `seeds` students have behind them.

    Files not written since `since` (`time.time`) are of an earlier run, which a clone begins with;
    once a trial is done all are its own, perhaps from DVC's cache of runs.
    """
    scores = [_scores(file, since) for file in folder.glob("seed-*.csv")]
    longest = sorted((one for one in scores if one), key=len, reverse=True)[:seeds]
    if len(longest) < seeds:
        return []
    return [sum(point) / seeds for point in zip(*longest, strict=False)]


def _scores(file: Path, since: float) -> list[float]:
    try:
        if file.stat().st_mtime <= since:
            return []
        with open(file, newline="") as lines:
            rows = list(csv.DictReader(lines))
    except FileNotFoundError:  # DVC removes outputs before a stage runs
        return []
    return [float(row["validation"]) for row in rows if row.get("validation")]


def why(log: Path) -> str:
    """Return the line of a log that says why: the last that is not DVC's frame around it."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    inner = [line for line in lines if not line.startswith(_FRAME)]
    return (inner or lines or ["it said nothing"])[-1][:500]
