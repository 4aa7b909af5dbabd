"""Make the small checkpoint that a track's teacher starts from (frozen; see `make pretrain`)."""

from declared import digest, read, run, scratch  # isort: skip

import shutil
from pathlib import Path

from earshot.pretraining import PRETRAIN
from earshot.runtime.curves import Curves
from earshot.runtime.files import write_json

EVERY = 20  # steps between points of the curves


def pretrain(track: str) -> None:
    params, seed = read(f"tracks.{track}.pretrain"), read("seed")
    unfinished = scratch(track, "pretrain", digest(params, seed))
    manifest, folder = Path(getattr(params, "manifest", None) or ""), Path(f"checkpoints/{track}")
    log = Curves(Path(f"plots/{track}/pretrain.csv"), "step")

    def report(step: int, figures: dict[str, float]) -> None:
        if step % EVERY == 0:
            log(step, figures)

    metrics = PRETRAIN[params.name](params, seed, manifest, unfinished, folder, report)
    write_json(f"metrics/{track}/pretrain.json", metrics)
    shutil.rmtree(scratch(track, "pretrain"), ignore_errors=True)  # short runs leave none


if __name__ == "__main__":
    run(pretrain, "tracks")
