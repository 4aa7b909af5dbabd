"""Peak memory and time of every stage on a small and a ten times larger corpus: what grows with a
corpus must lie on disk.

`python bench/scale.py [--hours 1 10] [--write docs/scale.md]`

Clips are a few files of noise, told again and again under other names. The stages are the real
ones, with the embedded teacher of scenes and one student of one epoch, from a folder with a
params.yaml of its own. The figure is a stage's peak, workers included, an upper bound, as processes
share pages. No torch is loaded here: a new process inherits the peak of the one before it.
"""

import argparse
import csv
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import yaml

sys.path.append(str(Path(__file__).parents[1]))

from bench.memory import ROOT, WORKERS, peak
from earshot.runtime.files import atomic

TRACK, RECIPE = "scenes", "scenes-layered"
CLASSES, SECONDS, SAMPLE_RATE = 10, 5, 16_000
FILES = 60
OF_SPLIT = {"validation": [0], "test": [1], "pool": [2, 3, 4, 5]}  # tens of files, a file a class
# stage, its key, and how many of its processes are at work beside it
STAGES = [
    ("download", TRACK, 0),
    ("features", TRACK, WORKERS),
    ("fewshot", TRACK, 0),
    ("teacher", TRACK, 0),
    ("cache", TRACK, 0),
    ("distill", RECIPE, 1),
    ("quantize", RECIPE, 0),
    ("evaluate", TRACK, 0),
]
LIMIT = 1.15


def prepare(folder: Path, hours: float) -> None:
    """Write a corpus of so many hours, as a table of recordings, and parameters with one short
    recipe.
    """
    rng = np.random.default_rng(0)
    time_axis = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    for number in range(FILES):
        hum = np.sin(2 * np.pi * 200 * (1 + number % CLASSES) * time_axis)
        noise = np.clip(rng.normal(0, 0.05, len(time_axis)) + 0.1 * hum, -1, 1)
        soundfile.write(folder / f"{number}.flac", noise, SAMPLE_RATE)
    splits = ["validation", "test"] + ["pool"] * 18
    with open(folder / "corpus.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "path", "speaker", "split", "passage", "label", "location", "device"])
        for number in range(max(20 * CLASSES, round(3600 * hours / SECONDS))):
            label, split = number % CLASSES, splits[number // CLASSES % len(splits)]
            place = f"{split}-{number // CLASSES % 7}"
            tens = OF_SPLIT[split][number // CLASSES % len(OF_SPLIT[split])]
            row = [
                f"{number:06d}",
                f"{CLASSES * tens + label}.flac",
                place,
                split,
                f"{number:06d}",
                f"class{label}",
                place,
                "a",
            ]
            table.writerow(row)
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    own, recipe = content["tracks"][TRACK], content["recipes"][RECIPE]
    own["corpus"] = {"name": "manifest", "path": str(folder / "corpus.csv")}
    teacher = content["teachers"][TRACK]
    teacher |= {
        "checkpoint": str(ROOT / teacher["checkpoint"]),
        "epochs": 1,
        "control": False,
    }
    own["distill"]["seeds"] = 1
    own["evaluate"] |= {
        "recipes": ["layered"],
        "gains": [],
        "resamples": 100,
        "latency_clips": 2,
        "limits": None,
    }
    recipe |= {"epochs": 1, "qat": None}
    recipe["terms"]["front"]["alone"] = 0
    content = {
        "seed": content["seed"],
        "tracks": {TRACK: own},
        "teachers": {TRACK: teacher},
        "recipes": {RECIPE: recipe},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(content))


def measure(hours: Sequence[float]) -> dict[str, list[tuple[float, float]]]:
    """Return MB and seconds of each stage for each size."""
    found: dict[str, list[tuple[float, float]]] = {stage: [] for stage, _, _ in STAGES}
    for size in hours:
        with TemporaryDirectory() as made:
            prepare(Path(made), size)
            for stage, key, children in STAGES:
                begun = time.perf_counter()
                found[stage].append(
                    (peak(stage, Path(made), key, children), time.perf_counter() - begun)
                )
                print(f"{size:g} h {stage}: {found[stage][-1]}", file=sys.stderr, flush=True)
    return found


def render(
    found: dict[str, list[tuple[float, float]]], hours: Sequence[float], command: str
) -> str:
    """Return the Markdown table of `measure`, and what it was measured with."""
    small, large = (f"{size:g} h" for size in hours)
    lines = [
        "# Memory by size of corpus",
        "",
        f"`{command}`: every stage of `{TRACK}` on {small} and {large} of {SECONDS}-second "
        f"clips, {WORKERS} workers. The",
        "peak of a stage counts pages that its processes share for each of them.",
        "",
        f"| stage | MB, {small} | MB, {large} | ratio | seconds, {small} | seconds, {large} |",
        "|---|---|---|---|---|---|",
    ]
    for stage, ((first, begun), (second, spent)) in found.items():
        lines.append(
            f"| {stage} | {first:.0f} | {second:.0f} | {second / first:.2f} | {begun:.0f} | "
            f"{spent:.0f} |"
        )
    worst = max(found, key=lambda stage: found[stage][1][0] / found[stage][0][0])
    ratio = found[worst][1][0] / found[worst][0][0]
    met = "met" if ratio <= LIMIT else "not met"
    return "\n".join(
        [*lines, "", f"- the largest ratio ({worst}): {ratio:.2f}, target ≤ {LIMIT}: {met}", ""]
    )


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", nargs=2, type=float, default=[1, 10], metavar=("SMALL", "LARGE"))
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the table here")
    chosen = parser.parse_args()
    os.environ |= {"EARSHOT_WORKERS": str(WORKERS)}
    command = f"python bench/scale.py --hours {chosen.hours[0]:g} {chosen.hours[1]:g}"
    text = render(measure(chosen.hours), chosen.hours, command)
    print(text)
    if chosen.write:
        with atomic(chosen.write) as partial:
            partial.write_text(text)


if __name__ == "__main__":
    main()
