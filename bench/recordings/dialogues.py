"""Acted dialogue of the game Fish Fillets, from Debian's packages: several voices a language.

GPL-2+. Of some 1,600 lines a language as many are written as Asterisk has prompts, from levels in
the order of a hash, so that no language outweighs the others.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.recordings import packages
from bench.recordings.packages import Take

LANGUAGES = ("cs", "nl")
MOST = 560
GAME = "usr/share/games/fillets-ng"
QUOTED = r'"((?:[^"\\]|\\.)*)"'
LINE = re.compile(rf'dialogId\({QUOTED},\s*"[^"]*",\s*{QUOTED}\)\s*dialogStr\({QUOTED}\)')


def write(language: str, out: Path) -> None:
    """Write a language's recordings as FLAC, and `metadata.csv` beside them."""
    with tempfile.TemporaryDirectory() as unpacked:
        root = Path(unpacked)
        packages.unpack("fillets-ng-data", root)
        packages.unpack(f"fillets-ng-data-{language}", root)
        packages.write(_takes(root / GAME, language), language, out, MOST)


def _takes(game: Path, language: str) -> Iterator[Take]:
    scripts = (game / "script").glob(f"*/dialogs_{language}.lua")
    for script in sorted(
        scripts, key=lambda path: hashlib.sha256(path.parent.name.encode()).digest()
    ):
        level = script.parent.name
        for name, text in _texts(script):
            yield Take(f"{level}_{name}", game / "sound" / level / language / f"{name}.ogg", text)


def _texts(script: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each line: English first, then what is said."""
    for name, _english, text in LINE.findall(script.read_text(encoding="utf-8")):
        yield name, text.replace('\\"', '"')
