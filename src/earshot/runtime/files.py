"""Files that are either whole or absent."""

import codecs
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Of UTF-32 before those of UTF-16, which they begin with.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class TextError(UnicodeError):
    """A file that holds no text that can be read; one line with the file and the line in it."""


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the final name only when the block ends
    without an error.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it takes the final name when the block ends well.

    What killed runs left of such folders beside it is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.partial-*"):
        shutil.rmtree(left)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        yield partial
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_unfinished(*folders: str) -> None:
    """Remove what `atomic` and `atomic_folder` began in folders, for processes that were killed.

    `**` stands for all folders below one, as in `Path.glob`.
    """
    for folder in folders:
        for left in Path().glob(f"{folder}/.*.partial-*"):
            try:
                os.kill(int(left.name.rpartition("-")[2]), 0)  # kills nobody: is there one?
            except ProcessLookupError:
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
            except (ValueError, PermissionError):  # not ours, or of somebody who lives
                pass


def write_json(path: str | Path, content: dict) -> None:
    """Write `content` as sorted, indented JSON that holds finite numbers only (ValueError
    otherwise).
    """
    with atomic(path) as partial:
        partial.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encoding(path: str | Path) -> str:
    """Return the encoding that a file's byte order mark names; UTF-8 where there is none."""
    with open(path, "rb") as file:
        begin = file.read(4)
    marks = _BYTE_ORDER_MARKS.items()
    return next((name for mark, name in marks if begin.startswith(mark)), "utf-8")


def read_text(path: str | Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with its mark; lines end in \\n.

    Raises TextError naming file and line for bytes in another encoding, and OSError.
    """
    raw, named = Path(path).read_bytes(), encoding(path)
    if named.startswith("utf-8") and b"\0" in raw:
        line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        reason = "a NUL: no text, or UTF-16 without its mark; save the file as UTF-8"
        raise TextError(f"{path}: line {line}: {reason}")
    try:
        text = raw.decode(named)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        remedy = "save the file as UTF-8 (iconv -f LATIN1 -t UTF-8, where it is Latin-1)"
        byte = f"byte 0x{raw[error.start]:02x} is not {named.removesuffix('-sig').upper()}"
        raise TextError(f"{path}: line {line}: {byte}; {remedy}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
