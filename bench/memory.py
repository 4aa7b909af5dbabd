"""Peak memory of the features and the cache stage, as the pipeline runs them, on a small and a
large corpus.

Each runs in a process of its own, with two workers; the figure is its peak plus twice that of its
largest worker, an upper bound, as processes share pages. No torch is loaded here: a new process
inherits the peak of the one before it.
"""

import csv
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import yaml

from bench.rounds import Result, Row, Target, rows
from earshot.runtime.progress import track

ROOT = Path(__file__).parents[1]
TRACK, WORKERS, SAMPLE_RATE = "listening", 2, 16_000
HOURS = {"features": (0.5, 5.0), "cache": (0.2, 1.0)}
CLIP_SECONDS, FILES = 10, 8  # a few files, told again and again under other names
LAUNCH = """
import runpy, sys
children, sys.argv = int(sys.argv[1]), sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
from earshot.evaluation.counters import peak_memory_mb
print(peak_memory_mb(children))
"""


def _prepare(folder: Path, hours: float) -> None:
    """Write what the two stages read: parameters, manifest, items, teacher."""
    from bench.teacher import ask, random_teacher
    from earshot import params
    from earshot.corpora import CORPORA
    from earshot.pretraining import ctc
    from earshot.tables import items
    from earshot.tables.manifest import write_manifest
    from earshot.tasks import TASKS
    from earshot.teacher import saved
    from earshot.teacher.wav2vec2 import Teacher

    data = folder / "data" / TRACK
    data.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(FILES):
        noise = np.clip(rng.normal(0, 0.1, CLIP_SECONDS * SAMPLE_RATE), -1, 1)
        soundfile.write(folder / f"{number}.flac", noise, SAMPLE_RATE)
    ids = [f"{number:05d}" for number in range(max(1, round(3600 * hours / CLIP_SECONDS)))]
    with open(folder / "corpus.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "path", "speaker", "split", "passage", "text"])
        table.writerows([id, f"{int(id) % FILES}.flac", "noise", "pool", id, ""] for id in ids)

    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    own = content["tracks"][TRACK]
    own["corpus"] = {"name": "manifest", "path": str(folder / "corpus.csv")}
    checkpoint = ROOT / "checkpoints" / TRACK
    if not (checkpoint / "config.json").exists():
        checkpoint = folder / "checkpoint"
        random_teacher(checkpoint, ctc.config(params.CTCPretrain(**own["pretrain"])))
    content["teachers"][TRACK]["checkpoint"] = str(checkpoint)
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    parsed = params.parse(content)
    settings, tuned = parsed.tracks[TRACK], parsed.teachers[TRACK]
    write_manifest(CORPORA["manifest"](settings.corpus, folder, 0), data / "manifest.parquet")
    items.write(ask(ids), data / "items.parquet")
    place = folder / "models" / TRACK / "teachers" / TRACK
    task = TASKS[settings.task](tuned.text)
    saved.save(Teacher(tuned, task), task, tuned, place)


def peak(stage: str, folder: Path, key: str = TRACK, children: int = WORKERS) -> float:
    """Run a stage in `folder` on a track or recipe; return its peak memory in MB, with so many of
    its largest child's.
    """
    paths = os.pathsep.join(str(ROOT / name) for name in ("src", "stages"))
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, str(children), str(ROOT / "stages" / f"{stage}.py"), key],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "EARSHOT_WORKERS": str(WORKERS)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def measure(rounds: int = 1, hours: Mapping[str, tuple[float, float]] = HOURS) -> Result:
    """Return MB for each stage and corpus size; `hours` are a small and a large size for each
    stage.
    """
    values: dict[str, dict[float, list[float]]] = {
        stage: {size: [] for size in sizes} for stage, sizes in hours.items()
    }
    runs = [
        (stage, size) for _ in range(rounds) for stage, sizes in hours.items() for size in sizes
    ]
    with TemporaryDirectory() as made:
        folders = {size: Path(made, f"{size:g}") for sizes in hours.values() for size in sizes}
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(_prepare, folders.values(), folders.keys()))
        for stage, size in track(runs, "memory", unit="run"):
            values[stage][size].append(peak(stage, folders[size]))
            shutil.rmtree(folders[size] / "data" / TRACK / "cache", ignore_errors=True)
    table: dict[str, Row] = {}
    targets: list[Target] = []
    for stage, (small, large) in hours.items():
        table |= rows(
            {f"{stage}, {size:g} h": peaks for size, peaks in values[stage].items()},
            base=f"{stage}, {small:g} h",
        )
        most = table[f"{stage}, {large:g} h"]
        targets.append(
            Target(f"{stage}: MB for {large:g} h", most.value.median, 1000, at_least=False)
        )
        targets.append(
            Target(f"{stage}: {large:g} h ÷ {small:g} h", most.ratio.median, 1.1, at_least=False)
        )
    return Result(
        title="Memory: peak of a stage",
        note=(
            f"Clips of {CLIP_SECONDS} s, {WORKERS} workers; an upper bound, pages that "
            "processes share count for each."
        ),
        unit="MB",
        ratio="÷ smaller corpus",
        rows=table,
        targets=targets,
    )
