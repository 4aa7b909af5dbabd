"""Speech with texts out of Debian's packages: a folder of FLAC at 16 kHz, and `metadata.csv`."""

import csv
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import soundfile

TOOLS = ("apt-get", "dpkg-deb", "ffmpeg")
RATE = 16_000
SHORTEST = 0.5  # seconds


class Take(NamedTuple):
    """A recording as a package has it, and what is said in it."""

    name: str
    source: Path
    text: str


def unpack(package: str, folder: Path) -> None:
    """Fetch a package and unpack it below a folder; nothing is installed."""
    subprocess.run(["apt-get", "--quiet", "download", package], cwd=folder, check=True)
    (archive,) = folder.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)


def write(takes: Iterable[Take], language: str, out: Path, most: int | None = None) -> None:
    """Write the takes that are there and long enough, `most` of them, and `metadata.csv`."""
    rows: list[tuple[str, str, str]] = []
    for take in takes:
        path = out / f"{take.name}.flac"
        if not take.source.is_file() or path.exists():
            continue
        _decode(take.source, path)
        if soundfile.info(path).duration < SHORTEST:
            path.unlink()
            continue
        rows.append((path.name, take.text, language))
        if len(rows) == most:
            break
    with open(out / "metadata.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file_name", "text", "language"), *rows])


def _decode(source: Path, target: Path) -> None:
    command = ["ffmpeg", "-v", "error", "-i", source, "-ac", "1", "-ar", str(RATE), target]
    subprocess.run(command, check=True)
