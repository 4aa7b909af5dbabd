"""Turn every clip, and its views, into log-mel frames; list by name the clips that cannot be
used.
"""

from declared import digest, read, run, scratch  # isort: skip

from pathlib import Path

from earshot.features import responses
from earshot.features.extract import extract
from earshot.runtime.inputs import state
from earshot.tables.manifest import read_manifest


def features(track: str) -> None:
    params, views = read(f"tracks.{track}.features"), read(f"tracks.{track}.views")
    path, seed = Path(f"data/{track}/manifest.parquet"), read("seed")
    given = state(Path(f"data/{track}/inputs"))
    recorded = responses.measured(views.responses) if views.count and views.responses else ()
    extract(
        read_manifest(path),
        params,
        views,
        seed,
        out=Path(f"data/{track}/mel.parquet"),
        rejected=Path(f"metrics/{track}/rejected.csv"),
        engine=read("engine"),
        scratch=scratch(track, "features", digest(path, params, views, seed, given, *recorded)),
    )


if __name__ == "__main__":
    run(features, "tracks")
