"""Get or make a track's corpus and write its manifest."""

from pathlib import Path

from earshot.corpora import CORPORA
from earshot.tables.manifest import write_manifest

from declared import read, run


def download(track: str) -> None:
    params = read(f"tracks.{track}.corpus")
    folder = Path(f"data/{track}/corpus")
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(
        CORPORA[params.name](params, folder, read("seed")), f"data/{track}/manifest.parquet"
    )


if __name__ == "__main__":
    run(download)
