"""A folder a class, maybe in a folder a split: `dog/a.wav`, `train/dog/a.wav`.

Speech Commands' lists `validation_list.txt` and `testing_list.txt` say splits, and its names who
speaks (`SPEAKER_nohash_0.wav`).
"""

from collections.abc import Iterator
from pathlib import Path

from earshot.corpora.shapes.row import AUDIO, SPLITS, Row, lines
from earshot.runtime.inputs import cover

LISTS = {"validation_list.txt": "validation", "testing_list.txt": "test"}
SPEAKER = "_nohash_"


def read(root: Path) -> Iterator[Row]:
    """Yield the recordings by path; folders whose name begins with _ or . are none of a class."""
    listed = {
        line.strip(): split
        for name, split in LISTS.items()
        if (root / name).is_file()
        for _, line in lines(root / name)
    }
    for path in _recordings(root):
        inside = path.relative_to(root)
        *above, label = inside.parts[:-1]
        named = SPLITS.get(above[-1].lower()) if above else None
        elsewhere = "train" if listed else named
        speaker = path.stem.partition(SPEAKER)[0] if SPEAKER in path.stem else None
        split = listed.get(inside.as_posix(), elsewhere)
        yield Row(path, str(path), label=label, speaker=speaker, split=split)


def files(root: Path) -> list[Path]:
    """Return what names the classes: the folder, or all its files."""
    there = [root / name for name in LISTS if (root / name).is_file()]
    return cover([*_recordings(root), *there])


def _recordings(root: Path) -> list[Path]:
    found = [path for path in root.glob("*/**/*") if path.suffix.lower() in AUDIO]
    hidden = ("_", ".")
    return sorted(
        path
        for path in found
        if not any(part.startswith(hidden) for part in path.relative_to(root).parts[:-1])
    )
