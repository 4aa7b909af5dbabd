"""The rows of docs/recordings.md: each is one run of the pipeline on recordings, in a clone of its
own, with nothing but parameters changed.

`python -m bench.recordings.run FOLDER [ROW ...] [--work DIR]`, or `make recordings DATA=FOLDER`.
What a row needs and FOLDER lacks is named, and the row left out.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import yaml

from bench.recordings import cascade, page
from bench.recordings.rows import Row, read
from earshot.runtime.files import atomic, write_json
from earshot.workbench import profile

ROOT = Path(__file__).parents[2]
LINK = "recordings"  # what params.yaml calls FOLDER, from inside a clone
SPENT = ".processor_minutes"
KEPT = ("quality.json", "cost.json", "items.json", "rejected.csv")


def main() -> None:
    """Run the rows that are asked for, and write the page anew after each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="the folder that bench.recordings.fetch filled")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="all, if none is named")
    parser.add_argument("--work", type=Path, default=Path("scratch/recordings"))
    chosen = parser.parse_args()
    rows = read()
    if unknown := set(chosen.rows) - rows.keys():
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(rows)}")
    for name in chosen.rows or rows:
        row = rows[name]
        if lacking := [one for one in row.needs if not (chosen.data / one).exists()]:
            print(f"{name}: left out, {chosen.data} has no {', '.join(lacking)}")
            continue
        try:
            measure(row, chosen.data.resolve(), chosen.work.resolve())
        except subprocess.CalledProcessError:  # the stage has said why
            sys.exit(f"{name}: did not end; run it again to go on")
        page.write(ROOT)


def measure(row: Row, data: Path, work: Path) -> None:
    """Run a row in `work` and keep what it measured below `results/`."""
    clone = work / row.name
    if not clone.exists():
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        (clone / LINK).symlink_to(data)
    set_up(row, clone)
    environment = os.environ | {"PYTHONPATH": "src", "EARSHOT_OFFLINE": "1"}
    command = [shutil.which("dvc"), "repro", f"evaluate@{row.track}"]
    before = _processor_minutes()
    try:
        subprocess.run(command, cwd=clone, env=environment, check=True)
    finally:
        minutes = _added(clone / SPENT, _processor_minutes() - before)
    used = {
        "commit": _commit(clone),
        "processor_minutes": round(minutes, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3),
    }
    kept = keep(row, clone, used)
    if row.cascade:
        with chdir(clone):
            cascade.add(kept / "quality.json", row.track, row.cascade)


def set_up(row: Row, clone: Path) -> None:
    """Write a row's parameters, on those of the clone's commit: it may have been set up before."""
    subprocess.run(["git", "checkout", "--quiet", "params.yaml"], cwd=clone, check=True)
    profile.apply(clone / "profiles" / f"{row.profile or profile.BASE}.yaml", clone / "params.yaml")
    profile.write(row.values, clone / "params.yaml")


def keep(row: Row, clone: Path, used: Mapping[str, Any]) -> Path:
    """Copy a row's figures out of its clone, with what the run `used`; return where they are."""
    kept = page.RESULTS / "metrics" / row.name
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for name in KEPT:
        if (found := clone / "metrics" / row.track / name).is_file():
            shutil.copy(found, kept)
    write_json(kept / "run.json", used)
    (kept / "params.yaml").write_text(yaml.safe_dump(row.values, allow_unicode=True))
    return kept


def _commit(clone: Path) -> str:
    command = ["git", "-C", clone, "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _added(total: Path, minutes: float) -> float:
    """Add minutes to those that a file has, of calls that were stopped; return the sum."""
    before = float(total.read_text()) if total.exists() else 0.0
    with atomic(total) as partial:
        partial.write_text(f"{before + minutes}\n")
    return before + minutes


def _processor_minutes() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) / 60


if __name__ == "__main__":
    main()
