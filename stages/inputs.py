"""Link the files and folders that params.yaml names, so that DVC sees edits of their content."""

from declared import read, run  # isort: skip

import json
from pathlib import Path

from earshot.corpora import files
from earshot.params import each
from earshot.runtime.files import write_json
from earshot.runtime.inputs import check_copy, link


def inputs(track: str) -> None:
    corpus, fewshot = read(f"tracks.{track}.corpus"), read(f"tracks.{track}.fewshot")
    views, teachers = read(f"tracks.{track}.views"), read("teachers")
    folder = Path(f"data/{track}/inputs")
    own = [row for row in teachers.values() if row.track == track]
    starts = {start for row in own for start in row.starts}
    named = {
        "corpus": files(corpus),
        "questions": [getattr(fewshot, name, None) for name in ("authored", "librisqa")],
        "responses": [views.responses],
        "start": [read(f"tracks.{track}.distill.start")],
        "checkpoint": sorted(starts - {f"checkpoints/{track}"}),  # a dependency by itself
    }
    # also where nothing is
    places = [getattr(one, name, None) for one in each(corpus) for name in ("root", "path")]
    check_copy(filter(None, [*places, *(path for targets in named.values() for path in targets)]))
    for kind, targets in named.items():
        link(folder / kind, filter(None, targets))
    listed, recordings = folder / "named.json", folder / "recordings"
    given = {"corpus": corpus.model_dump(mode="json")}
    before = json.loads(listed.read_text()) if listed.exists() else None
    if given != before or not recordings.exists():
        link(recordings, [])  # those of another corpus; `download` links what it finds
    write_json(listed, given)


if __name__ == "__main__":
    run(inputs, "tracks")
