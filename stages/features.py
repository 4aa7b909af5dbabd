"""Turn every clip, and its views, into log-mel frames; list by name the clips that cannot be used."""

from pathlib import Path

from earshot.features import responses
from earshot.features.log_mel import extract
from earshot.tables.manifest import read_manifest

from declared import digest, read, run, scratch


def features(track: str) -> None:
    params, path = read(f"tracks.{track}.features"), Path(f"data/{track}/manifest.parquet")
    views, seed = read(f"tracks.{track}.views"), read("seed")
    recorded = responses.measured(views.responses) if views.count and views.responses else ()
    extract(
        read_manifest(path),
        params,
        views,
        seed,
        out=Path(f"data/{track}/mel.parquet"),
        rejected=Path(f"metrics/{track}/rejected.csv"),
        engine=read("engine"),
        scratch=scratch(track, "features", digest(path, params, views, seed, *recorded)),
    )


if __name__ == "__main__":
    run(features)
