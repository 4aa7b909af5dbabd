"""Make the small checkpoint that a track's teacher starts from (frozen; `make pretrain TRACK=…`
runs it).
"""

import shutil
from pathlib import Path

from dvclive import Live

from earshot.pretraining import PRETRAIN
from earshot.runtime.files import write_json

from declared import digest, read, run, scratch

EVERY = 20  # steps between points of the curves


def pretrain(track: str) -> None:
    params, seed = read(f"tracks.{track}.pretrain"), read("seed")
    unfinished = scratch(track, "pretrain", digest(params, seed))
    manifest, folder = Path(getattr(params, "manifest", None) or ""), Path(f"checkpoints/{track}")
    with Live(f"plots/{track}/pretrain", save_dvc_exp=False, dvcyaml=None) as live:

        def report(step: int, figures: dict[str, float]) -> None:
            if step % EVERY == 0:
                live.step = step
                for name, value in figures.items():
                    live.log_metric(name, value)

        metrics = PRETRAIN[params.name](params, seed, manifest, unfinished, folder, report)
    write_json(f"metrics/{track}/pretrain.json", metrics)
    shutil.rmtree(scratch(track, "pretrain"), ignore_errors=True)  # short runs leave none


if __name__ == "__main__":
    run(pretrain, timed=False)  # frozen: the lock keeps the run that made the checkpoint
