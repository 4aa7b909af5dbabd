"""Pretrain the small wav2vec 2.0 checkpoint that the embedded default starts from (frozen; `make pretrain`)."""

import shutil
from pathlib import Path

from earshot.corpora import synthetic_speech

from declared import digest, read, run, scratch


def pretrain(track: str) -> None:
    params, seed = read(f"tracks.{track}.pretrain"), read("seed")
    spoken = synthetic_speech.spoken("pretrain", params.passages, seed)  # forks: before torch is loaded
    held_out = synthetic_speech.spoken("validation", 60, seed)

    from dvclive import Live

    from earshot import pretrain as library
    from earshot.files import write_json

    with Live(f"plots/{track}/pretrain", save_dvc_exp=False, dvcyaml=None) as live:

        def report(step: int, loss: float) -> None:
            if step % 20 == 0:
                live.step = step
                live.log_metric("loss", loss)

        recogniser = library.pretrain(spoken, params, seed, scratch(track, "pretrain", digest(params, seed)), report)
    library.save(recogniser, Path(f"checkpoints/{track}"))
    error = library.letter_error_rate(recogniser, held_out)
    write_json(f"metrics/{track}/pretrain.json", {"letter_error_rate": error, "held_out_clips": len(held_out)})
    shutil.rmtree(scratch(track, "pretrain"), ignore_errors=True)  # short runs leave none


if __name__ == "__main__":
    run(pretrain)
