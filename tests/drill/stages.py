"""Stages that are killed while they work, each by the command that DVC gives it.

What is killed through DVC mostly dies while DVC or Python starts. Here a stage of a finished run is
begun again, killed at random moments of the time that it took, and ends in the bytes of before.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from drill.kills import WHOM, Pipeline

from earshot.workbench import hashes

LEFT = ("pretrain@", "inputs@")  # the one is frozen, and DVC leaves what the other made
TIMES = 6  # a stage is killed, at most, before it may end


def kills(pipeline: Pipeline, seed: int, until: float) -> Iterator[tuple[str, str | None]]:
    """Yield (what was killed, fault or None) for kill after kill, until the time is over."""
    rng = random.Random(seed)
    stages = yaml.safe_load((pipeline.root / "dvc.lock").read_text())["stages"]
    kept = [name for name in stages if not name.startswith(LEFT)]
    while time.monotonic() < until:
        name = rng.choice(kept)
        yield from _kill(pipeline, name, stages[name], rng)


def _kill(
    pipeline: Pipeline, name: str, stage: dict[str, Any], rng: random.Random
) -> Iterator[tuple[str, str | None]]:
    stem = name.partition("@")[0]
    outputs = [pipeline.root / out["path"] for out in stage["outs"]]
    expected = _contents(outputs)
    begun = time.monotonic()
    whole = _run(pipeline, stage["cmd"], outputs).wait()
    seconds = time.monotonic() - begun
    for _ in range(TIMES):
        process = _run(pipeline, stage["cmd"], outputs)
        try:
            process.wait(rng.uniform(0, seconds))
            break
        except subprocess.TimeoutExpired:
            pass
        alone = rng.random() < 0.5
        (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
        process.wait()
        left = pipeline.orphans()
        yield f"{stem}, {WHOM[alone]}", f"left running: {left}" if left else None
    else:
        process = _run(pipeline, stage["cmd"], outputs)
    found = [f"{name} fails: {pipeline.log.read_text()[-1000:]}"] if whole or process.wait() else []
    now = _contents(outputs)
    found += [f"{path} differs" for path in expected if now.get(path) != expected[path]]
    found += [f"{path} is left" for path in pipeline.unfinished()]
    for fault in found or [None]:
        yield "a stage after kills", fault


def _run(pipeline: Pipeline, command: str, outputs: list[Path]) -> subprocess.Popen:
    """Start a stage as DVC does: without what it made before, in a process group of its own."""
    for path in outputs:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return pipeline.begin(command.split())


def _contents(outputs: list[Path]) -> dict[str, str]:
    """Return the MD5 of every file of a stage's outputs that holds no times."""
    found = {
        str(path / name): hashes.md5(path / name)
        for path in outputs
        if path.exists()
        for name in hashes.files(path)
    }
    return {path: content for path, content in found.items() if "/timing/" not in path}
