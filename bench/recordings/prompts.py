"""Telephone prompts of the PBX Asterisk, from Debian's packages: one reader a language, 16 kHz.

About 560 clips, 25 minutes a language, CC BY-SA 3.0. A few per cent of the texts are not what is
said. The table has no splits: the corpus deals them.
"""

import csv
import gzip
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import soundfile

TOOLS = ("apt-get", "dpkg-deb", "ffmpeg")
LANGUAGES = ("en", "es", "fr", "it", "ru")
RATE = 16_000
SHORTEST = 0.5  # seconds
ROW = re.compile(r"^([\w./-]+)\s*:\s*(.*\w.*)")


def write(language: str, out: Path) -> None:
    """Write a language's recordings as FLAC, and `metadata.csv` beside them."""
    rows = []
    with tempfile.TemporaryDirectory() as unpacked:
        root = Path(unpacked)
        _unpack(f"asterisk-core-sounds-{language}", root)
        _unpack(f"asterisk-core-sounds-{language}-g722", root)
        sounds = next(root.glob(f"usr/share/asterisk/sounds/{language}*"))
        for name, text in _texts(next(root.rglob(f"core-sounds-{language}.txt*"))):
            path = out / f"{name.replace('/', '_')}.flac"
            if (source := sounds / f"{name}.g722").is_file() and not path.exists():
                _decode(source, path)
                if soundfile.info(path).duration >= SHORTEST:
                    rows.append((path.name, text, language))
                else:
                    path.unlink()
    with open(out / "metadata.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file_name", "text", "language"), *rows])


def _unpack(package: str, folder: Path) -> None:
    subprocess.run(["apt-get", "--quiet", "download", package], cwd=folder, check=True)
    (archive,) = folder.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)


def _texts(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each prompt: a line is `name: text`."""
    content = file.read_bytes()
    content = gzip.decompress(content) if file.suffix == ".gz" else content
    for line in content.decode("utf-8", "replace").splitlines():
        if found := ROW.match(line):
            yield found[1], found[2].strip()


def _decode(source: Path, target: Path) -> None:
    command = ["ffmpeg", "-v", "error", "-f", "g722", "-i", source, "-ar", str(RATE), target]
    subprocess.run(command, check=True)
