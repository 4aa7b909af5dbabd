"""Get or make a track's corpus and write its manifest."""

from declared import read, run  # isort: skip

from pathlib import Path

from earshot.corpora import CORPORA
from earshot.tables.manifest import write_manifest


def download(track: str) -> None:
    params = read(f"tracks.{track}.corpus")
    folder = Path(f"data/{track}/corpus")
    folder.mkdir(parents=True, exist_ok=True)
    clips = CORPORA[params.name](params, folder, read("seed"))
    write_manifest(clips, f"data/{track}/manifest.parquet")


if __name__ == "__main__":
    run(download, "tracks")
