"""Models of single devices, by their files: `seed-0.device-a.safetensors` beside
`seed-0.safetensors`.
"""

import re
from pathlib import Path

MARK = ".device-"


def suffix(device: str) -> str:
    """Return what follows the general model's name; ValueError where no file can be called so."""
    if not re.fullmatch(r"[\w-]+", device):
        raise ValueError(f"device {device!r}: a file is named by letters, digits, _ and - alone")
    return f"{MARK}{device}"


def beside(file: Path) -> dict[str, Path]:
    """Return the models of single devices that lie beside a general one, by device."""
    stem, _, kind = file.name.partition(".")
    named = re.compile(rf"{re.escape(stem + MARK)}([\w-]+)\.{re.escape(kind)}")
    found = [(named.fullmatch(one.name), one) for one in sorted(file.parent.iterdir())]
    return {name[1]: one for name, one in found if name}
