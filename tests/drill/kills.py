"""Runs of a small pipeline that are killed, starved of disk, doubled and set back in time.

Whatever happens, runs go on afterwards, and end in the bytes of a run to which nothing happened.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from repository import SHRUNK, Project

SMALL = SHRUNK | {
    "tracks.listening.corpus.passages": {
        "teacher": 24,
        "pool": 24,
        "fewshot": 10,
        "validation": 12,
        "test": 24,
    },
    "tracks.listening.fewshot.pool": {"questions": 2, "options": 4},
    "tracks.scenes.corpus.segments": {"train": 3, "test": 1},
    "teachers.listening.epochs": 1,
    "teachers.scenes.epochs": 1,
    "tracks.listening.distill.seeds": 1,
}
MADE = (".dvc/cache", ".dvc/tmp", "data", "models", "scratch")
KEPT = ("scratch/locks/", "scratch/dvc.")
FULL = 100_000  # bytes of the largest file on a disk that is full
KILLS = 60  # as many, on average, in the time of an undisturbed run: a stage ends between two
IN_A_STAGE = 0.8  # of the kills; the others come whenever, to DVC as it starts too
WHOM = ("the group", "the parent alone")
SOON = 30  # seconds within which what a killed run started has ended


class Pipeline:
    """A small pipeline of all tracks, and the metrics of a run of it to which nothing happened."""

    targets: tuple[str, ...] = ()  # stages; all of them

    def __init__(self, root: Path):
        self.project = Project(root, SMALL)
        self.root = root
        self.log = root / "drill.log"
        self.wipe()
        begun = time.monotonic()
        if self.run():
            raise RuntimeError(f"the pipeline fails by itself: see {self.log}")
        self.seconds = time.monotonic() - begun
        self.expected = self.metrics()

    def wipe(self) -> None:
        """Forget all that was made, but for the checkpoints in Git."""
        for name in MADE:
            shutil.rmtree(self.root / name, ignore_errors=True)
        for folder in ("metrics", "plots"):
            for path in (self.root / folder).rglob("*"):
                if path.is_file() and "pretrain" not in path.name:
                    path.unlink()
        (self.root / "dvc.lock").unlink(missing_ok=True)

    def start(self, before: Callable[[], None] | None = None) -> subprocess.Popen:
        """Start `dvc repro` in a process group of its own, after what `make repro` mends."""
        subprocess.run(
            [sys.executable, "-m", "earshot.workbench.lockfile"],
            cwd=self.root,
            env=self.project.environment,
            check=True,
        )
        return self.begin(["dvc", "repro", *self.targets], before)

    def begin(
        self, command: list[str], before: Callable[[], None] | None = None
    ) -> subprocess.Popen:
        """Start a command here, in a process group of its own."""
        with open(self.log, "w") as log:
            return subprocess.Popen(
                command,
                cwd=self.root,
                env=self.project.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=before,
            )

    def run(self, before: Callable[[], None] | None = None) -> int:
        """Run `dvc repro` to its end; return its exit code."""
        return self.start(before).wait()

    def stages(self) -> list[str]:
        """Return the stages that the latest `dvc repro` has begun, as its log says."""
        lines = self.log.read_text().splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage '")]

    def until_a_stage(self, process: subprocess.Popen) -> None:
        """Wait for the first stage that a `dvc repro` begins, or for its end."""
        while process.poll() is None and not self.stages():
            time.sleep(0.05)

    def metrics(self) -> dict[str, bytes]:
        """Return the bytes of all metrics but times."""
        files = sorted((self.root / "metrics").rglob("*.*"))
        kept = [file for file in files if file.is_file() and "timing" not in file.parts]
        return {str(file.relative_to(self.root)): file.read_bytes() for file in kept}

    def orphans(self) -> list[str]:
        """Return the command lines of processes at work here, after SOON at the latest none."""
        end = time.monotonic() + SOON
        while (found := self._processes()) and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def _processes(self) -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                here = os.readlink(entry / "cwd")
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, ValueError):
                continue
            if Path(here).is_relative_to(self.root) and words:
                found.append(words)
        return found

    def unfinished(self) -> list[str]:
        """Return the files that only work in progress has."""
        found = []
        for path in self.root.rglob("*"):
            name = str(path.relative_to(self.root))
            unfinished = name.startswith("scratch/") and not name.startswith(KEPT)
            if ".partial" in path.name or (unfinished and path.is_file()):
                found.append(name)
        return found

    def faults(self) -> list[str]:
        """Return what is not as after a run to which nothing happened; finish the run first."""
        if self.run():
            return [f"dvc repro fails: {self.log.read_text()[-1000:]}"]
        found = []
        if self.run() or self.stages():
            found.append("a second run is not up to date")
        now = self.metrics()
        found += [
            f"{name} differs"
            for name in sorted(now.keys() | self.expected.keys())
            if now.get(name) != self.expected.get(name)
        ]
        found += [f"{path} is left" for path in self.unfinished()]
        return found + [f"left running: {words}" for words in self.orphans()]


def kills(pipeline: Pipeline, seed: int, until: float) -> Iterator[tuple[str, str | None]]:
    """Yield (what was killed, fault or None) for kill after kill, until the time is over.

    A run from nothing is killed at random moments until it comes to its end, then held against the
    undisturbed one.
    """
    rng = random.Random(seed)
    while time.monotonic() < until:
        pipeline.wipe()
        while time.monotonic() < until:
            process = pipeline.start()
            if rng.random() < IN_A_STAGE:
                pipeline.until_a_stage(process)
            try:
                process.wait(rng.expovariate(KILLS / pipeline.seconds) + 0.5)
                break
            except subprocess.TimeoutExpired:
                pass
            alone = rng.random() < 0.5
            whom = WHOM[alone]
            running = pipeline.stages()
            stage = running[-1].partition("@")[0] if running else "dvc"
            (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
            process.wait()
            left = pipeline.orphans()
            yield f"{stage}, {whom}", f"left running: {left}" if left else None
        for fault in pipeline.faults() or [None]:
            yield "a run after kills", fault


def disasters(pipeline: Pipeline) -> Iterator[tuple[str, str | None]]:
    """Yield (what happened, fault or None) for each other thing that may happen to a run."""
    for name, happen in {
        "a full disk": _full,
        "a cache that takes nothing": _no_cache,
        "two runs at once": _two,
        "a clock set back": _past,
    }.items():
        pipeline.wipe()
        begun = [f for f in happen(pipeline) if f]
        for fault in begun + pipeline.faults() or [None]:
            yield name, fault


def _full(pipeline: Pipeline) -> list[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, FULL))

    code = pipeline.run(limit)
    return _refused(pipeline, code)


def _no_cache(pipeline: Pipeline) -> list[str]:
    (pipeline.root / ".dvc/cache").mkdir(parents=True, exist_ok=True)
    files = pipeline.root / ".dvc/cache/files"
    files.symlink_to("/sys/earshot")  # where nobody can make a file, not even root
    code = pipeline.run()
    files.unlink()
    return _refused(pipeline, code)


def _refused(pipeline: Pipeline, code: int) -> list[str]:
    text = pipeline.log.read_text()
    found = [] if code else ["it says that all is well"]
    return found + (["a traceback:\n" + text[-2000:]] if "Traceback" in text else [])


def _two(pipeline: Pipeline) -> list[str]:
    first = pipeline.start()
    time.sleep(pipeline.seconds / 4)
    second = pipeline.start()
    codes = second.wait(), first.wait()  # DVC's lock may turn away either
    return [] if 0 in codes else [f"exit codes {codes}"]


def _past(pipeline: Pipeline) -> list[str]:
    """Have all files be of tomorrow, as they are where the clock was set back since."""
    if pipeline.run():
        return ["dvc repro fails"]
    tomorrow = time.time() + 86_400
    for path in pipeline.root.rglob("*"):
        if path.is_file() and not path.is_symlink() and ".dvc" not in path.parts:
            os.utime(path, (tomorrow, tomorrow))
    (pipeline.root / "data/scenes/items.parquet").unlink()
    return [] if pipeline.run() == 0 else ["dvc repro fails"]
