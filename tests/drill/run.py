"""The drill: runs are killed, files are damaged, and what became of them is counted.

    make drill MINUTES=60 SEED=1

One JSON object is printed at the end; the exit status is 1 where there was a fault. Half of the
time goes to runs, half to files. A file is the same for the same seed and number; kills come at the
same moments for the same seed on a machine as fast.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from drill import kills, sounds, stages, texts

KINDS = (texts, sounds)  # each with `cases(seed, count)` and `check(case, folder)`
SLICE = 200  # cases of a kind before the other's turn


def files(kinds: Sequence[ModuleType], seed: int, until: float, most: int) -> Iterator[Any]:
    """Yield (module, case, outcome) in turns until the time is over, or `most` of each kind."""
    with tempfile.TemporaryDirectory() as folder:
        for turn in count():
            for kind in kinds:
                for case in kind.cases(seed + turn, min(SLICE, most - turn * SLICE)):
                    if time.monotonic() > until:
                        return
                    yield kind, case, kind.check(case, Path(folder))
            if (turn + 1) * SLICE >= most:
                return


def drill_files(kinds: Sequence[ModuleType], seed: int, until: float, most: int) -> dict[str, Any]:
    """Return counts by kind of file and outcome, and each fault in a line."""
    counts: dict[str, Counter] = defaultdict(Counter)
    faults = []
    for kind, case, outcome in files(kinds, seed, until, most):
        counts[case.seed][outcome.state] += 1
        if outcome.state == "fault" or (case.change == "none" and outcome.state != "used"):
            faults.append(f"{kind.__name__} {case.name}: {outcome.state}: {outcome.text[:500]}")
            print(faults[-1], file=sys.stderr)
    total = sum(map(Counter.total, counts.values()))
    return {"files": total, "outcomes": counts, "faults": faults}


def drill_runs(seed: int, until: float, only: str | None) -> dict[str, Any]:
    """Return counts by what was killed, or happened else, and each fault in a line."""
    counts: Counter = Counter()
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        pipeline = kills.Pipeline(Path(folder))
        for what, fault in _events(pipeline, seed, until, only):
            counts[what] += 1
            if fault:
                faults.append(f"{what}: {fault}")
                print(faults[-1], file=sys.stderr)
    killed = sum(number for what, number in counts.items() if what.endswith(kills.WHOM))
    return {"kills": killed, "events": counts, "faults": faults}


def _events(
    pipeline: kills.Pipeline, seed: int, until: float, only: str | None
) -> Iterator[tuple[str, str | None]]:
    half = (time.monotonic() + until) / 2
    if only in (None, "runs", "stages"):
        yield from stages.kills(pipeline, seed, until if only == "stages" else half)
    if only in (None, "runs"):
        yield from kills.disasters(pipeline)
    if only != "stages":
        yield from kills.kills(pipeline, seed, until)


def main() -> None:
    """Drill for some minutes and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--files", type=int, default=10**9, help="at most so many of each kind")
    parser.add_argument("--only", choices=("runs", "stages", "kills", "files"))
    chosen = parser.parse_args()
    result: dict[str, Any] = {"seed": chosen.seed}
    share = 60 * chosen.minutes / (1 if chosen.only else 2)
    if chosen.only != "files":
        result["runs"] = drill_runs(chosen.seed, time.monotonic() + share, chosen.only)
    if chosen.only in (None, "files"):
        result["files"] = drill_files(KINDS, chosen.seed, time.monotonic() + share, chosen.files)
    print(json.dumps(result, indent=1))
    raise SystemExit(any(part["faults"] for part in result.values() if isinstance(part, dict)))


if __name__ == "__main__":
    main()
