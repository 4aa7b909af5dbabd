"""Telephone prompts of the PBX Asterisk, from Debian's packages: one reader a language, 16 kHz.

About 560 clips, 25 minutes a language, CC BY-SA 3.0. A few per cent of the texts are not what is
said. The table has no splits: the corpus deals them.
"""

import gzip
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.recordings import packages
from bench.recordings.packages import Take

LANGUAGES = ("en", "es", "fr", "it", "ru")
ROW = re.compile(r"^([\w./-]+)\s*:\s*(.*\w.*)")


def write(language: str, out: Path) -> None:
    """Write a language's recordings as FLAC, and `metadata.csv` beside them."""
    with tempfile.TemporaryDirectory() as unpacked:
        root = Path(unpacked)
        packages.unpack(f"asterisk-core-sounds-{language}", root)
        packages.unpack(f"asterisk-core-sounds-{language}-g722", root)
        sounds = next(root.glob(f"usr/share/asterisk/sounds/{language}*"))
        texts = next(root.rglob(f"core-sounds-{language}.txt*"))
        takes = (
            Take(name.replace("/", "_"), sounds / f"{name}.g722", text)
            for name, text in _texts(texts)
        )
        packages.write(takes, language, out)


def _texts(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each prompt: a line is `name: text`."""
    content = file.read_bytes()
    content = gzip.decompress(content) if file.suffix == ".gz" else content
    for line in content.decode("utf-8", "replace").splitlines():
        if found := ROW.match(line):
            yield found[1], found[2].strip()
