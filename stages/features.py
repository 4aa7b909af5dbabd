"""Turn every clip into 40-dim log-mel frames; list by name the clips that cannot be used."""

from pathlib import Path

from earshot.corpora import read_manifest
from earshot.features import extract

from declared import digest, read, run, scratch


def features(track: str) -> None:
    params, path = read(f"tracks.{track}.features"), Path(f"data/{track}/manifest.parquet")
    extract(
        read_manifest(path),
        params,
        out=Path(f"data/{track}/mel.parquet"),
        rejected=Path(f"metrics/{track}/rejected.csv"),
        scratch=scratch(track, "features", digest(path, params)),
    )


if __name__ == "__main__":
    run(features)
