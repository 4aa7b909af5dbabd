"""LJ Speech's: `metadata.csv` without a header, `ID|text` or `ID|text|text as it is said` a line,
beside a folder `wavs`; as many readers' recordings for speech synthesis have it.

https://keithito.com/LJ-Speech-Dataset/
"""

from collections.abc import Iterator
from pathlib import Path

from earshot.corpora.shapes.row import AUDIO, Row, lines, located
from earshot.tables.manifest import CorpusError

METADATA = "metadata.csv"
SEPARATOR = "|"
FOLDERS = ("wavs", "wav", ".")


def read(root: Path) -> Iterator[Row]:
    """Yield the recordings in the order of the table; the text is the last field.

    CorpusError, with file and line, for a line without two fields and a recording that is not
    there.
    """
    folders = [root / name for name in FOLDERS]
    for where, line in lines(root / METADATA):
        name, *fields = (field.strip() for field in line.split(SEPARATOR))
        if not fields:
            raise CorpusError(f"{where}: no {SEPARATOR} in it; ID{SEPARATOR}text wanted")
        file = name if Path(name).suffix.lower() in AUDIO else f"{name}.wav"
        yield Row(located(file, where, folders), where, id=name, text=fields[-1] or None)


def files(root: Path) -> list[Path]:
    """Return the table."""
    return [root / METADATA] if (root / METADATA).is_file() else []
