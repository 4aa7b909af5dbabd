"""Build the few labelled items, the unlabelled pool and the test; refuse them if anything leaks."""

from declared import read, run  # isort: skip

from pathlib import Path

import pyarrow as pa

from earshot.items import leaks
from earshot.items.kinds import ITEMS
from earshot.runtime.files import write_json
from earshot.tables import items
from earshot.tables.manifest import read_dealt, read_manifest
from earshot.tables.sequences import Store


def fewshot(track: str) -> None:
    # Arrow's own pool keeps what was freed, here as much again as is needed.
    pa.set_memory_pool(pa.system_memory_pool())
    task, params = ITEMS[read(f"tracks.{track}.task")], read(f"tracks.{track}.fewshot")
    manifest = read_manifest(f"data/{track}/manifest.parquet")
    mel = Store(f"data/{track}/mel.parquet")
    accepted = [clip for clip, view in mel if view == 0]
    built = task.build(manifest, accepted, params, read("seed"))
    items.check(built, accepted)
    report = task.check(built, manifest)
    leaks.check_recordings(built, mel)
    items.write(built, f"data/{track}/items.parquet")
    dealt = read_dealt(Path(f"data/{track}/corpus"))
    write_json(Path(f"metrics/{track}/items.json"), report | ({"dealt": dealt} if dealt else {}))


if __name__ == "__main__":
    run(fewshot, "tracks")
