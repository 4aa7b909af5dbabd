"""Get or make a track's corpus and write its manifest."""

from declared import read, run  # isort: skip

from pathlib import Path

from earshot.corpora import CORPORA, files
from earshot.runtime.inputs import cover, link
from earshot.tables.manifest import read_manifest, write_manifest


def download(track: str) -> None:
    params = read(f"tracks.{track}.corpus")
    folder, manifest = Path(f"data/{track}/corpus"), Path(f"data/{track}/manifest.parquet")
    inputs = Path(f"data/{track}/inputs")
    folder.mkdir(parents=True, exist_ok=True)
    clips = CORPORA[params.name](params, folder, read("seed"))
    write_manifest(clips, manifest)
    link(inputs / "corpus", files(params))  # what was fetched is there by now
    paths = [path for path in read_manifest(manifest)["path"] if folder not in Path(path).parents]
    link(inputs / "recordings", cover(paths))


if __name__ == "__main__":
    run(download, "tracks")
