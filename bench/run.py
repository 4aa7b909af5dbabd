"""Measure what Earshot promises about speed and memory: all benches, or those named, one after
another on one thread.

`python bench/run.py [bench ...] [--rounds N] [--folder DIR] [--write docs/bench.md]`
"""

import argparse
import multiprocessing
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from bench.rounds import Result
from earshot.runtime.files import atomic

BENCHES = (
    *("features", "teacher", "reading", "pool", "epoch", "optimizer", "student", "recogniser"),
    "memory",
)
LIBRARIES = (
    "torch",
    "torchaudio",
    "transformers",
    "onnxruntime",
    "librosa",
    "kaldi-native-fbank",
    "numpy",
    "pyarrow",
)
BY_HAND = "<!-- by hand from here -->"  # of the document written, this and all behind it stays
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "EARSHOT_WORKERS")


def _measure(name: str, options: dict[str, Any]) -> Result:
    return import_module(f"bench.{name}").measure(**options)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def render(result: Result) -> str:
    """Return a result as Markdown: what was measured, the table, and each target with what came
    out.
    """
    lines = [("", f"{result.unit}, median (min–max)", result.ratio)]
    lines += [(name, str(row.value), str(row.ratio)) for name, row in result.rows.items()]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    cells = [
        " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    ]
    rule = "|".join("-" * (width + 2) for width in widths)
    table = [f"| {cells[0]} |", f"|{rule}|", *(f"| {line} |" for line in cells[1:])]
    targets = ["", *(f"- {target}" for target in result.targets)] if result.targets else []
    return "\n".join([f"## {result.title}", "", result.note, "", *table, *targets, ""])


def document(results: list[Result], command: str) -> str:
    """Return all results as one Markdown document that says how and on what they were measured."""
    versions = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    head = [
        "# Benchmarks",
        "",
        f"`{command}`, one thread, contenders in turns. Ratios are taken round by round: they "
        "travel better than times.",
        "",
        f"{_processor()}, {os.cpu_count()} cores; {platform.system()}, Python "
        f"{platform.python_version()}; {versions}.",
        "",
    ]
    return "\n".join([*head, *map(render, results)])


def main() -> None:
    """Run the benches, each in a fresh process, and print or also write what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "bench", nargs="*", help=f"any of {', '.join(BENCHES)}; all when none is given"
    )
    parser.add_argument(
        "--rounds", type=int, help="rounds for each bench, instead of its own number"
    )
    parser.add_argument(
        "--folder", type=Path, help="FLAC files for the features bench, instead of made ones"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the document here")
    chosen = parser.parse_args()
    if unknown := set(chosen.bench) - set(BENCHES):
        parser.error(f"no such bench: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    if chosen.rounds is not None and chosen.rounds < 1:
        parser.error(f"--rounds {chosen.rounds} must be at least 1")
    os.environ |= dict.fromkeys(THREADS, "1")
    names, results = [name for name in BENCHES if name in chosen.bench or not chosen.bench], []
    # nobody's threads, modules or memory weigh on the next
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as pool:
        for number, name in enumerate(names, 1):
            print(f"{number}/{len(names)} {name}", file=sys.stderr, flush=True)
            options = {"rounds": chosen.rounds} if chosen.rounds else {}
            options |= {"folder": chosen.folder} if name == "features" and chosen.folder else {}
            results.append(pool.submit(_measure, name, options).result())
            print(render(results[-1]), flush=True)
    if chosen.write:
        asked = " ".join(
            [
                "python bench/run.py",
                *chosen.bench,
                *([f"--rounds {chosen.rounds}"] if chosen.rounds else []),
            ]
        )
        asked += " --folder DIR" if chosen.folder else ""
        written = chosen.write.read_text() if chosen.write.exists() else ""
        _, mark, by_hand = written.partition(BY_HAND)
        with atomic(chosen.write) as partial:
            partial.write_text(document(results, asked) + mark + by_hand)


if __name__ == "__main__":
    main()
