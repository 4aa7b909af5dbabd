"""Archives of corpora: unpacked once, inside their folder only, and gone on with after any
interruption.
"""

import bz2
import gzip
import lzma
import os
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from tqdm import tqdm

from earshot.corpora.fetch import locked
from earshot.corpora.partial import read_json
from earshot.runtime.files import write_json

CHUNK = 1 << 20  # bytes
HIDDEN = ".unpacked"  # folder of markers and of the file being written
OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
DAMAGE = (
    *(
        tarfile.TarError,
        zipfile.BadZipFile,
        lzma.LZMAError,
        zlib.error,
        struct.error,
        EOFError,
        OSError,
    ),
    RuntimeError,  # zipfile: a compression it does not know, a password
)


class UnpackError(ValueError):
    """An archive that is damaged or unsafe, or for which the disk is too small."""


def unpack(archive: Path, folder: Path, strip: int = 0, keep: bool = True) -> int:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip archive, told by its content, into `folder`;
    return how many files.

    The first `strip` components of each member's path are dropped; members with no more components
    than these, and folders without files, are left out. A file has its final name only when it is
    whole; files of the right size from a killed call are kept. `folder/.unpacked/ARCHIVE.json`
    marks the finished: later calls return at once, even where the archive is gone, as it is after
    `keep=False`.

    Raises UnpackError, which names the archive, when it is missing, is no archive, or is damaged
    (what came out of it is removed), when a member would lie outside of `folder` or is neither file
    nor folder, or when a write fails.
    """
    archive, folder = Path(archive), Path(folder)
    marker = folder / HIDDEN / f"{archive.name}.json"
    marker.parent.mkdir(parents=True, exist_ok=True)
    with locked(marker.with_suffix(".lock")):
        count = _finished(marker, archive, strip)
        if count is None:
            count = _Unpacking(archive, folder, strip).all()
            os.sync()  # once, instead of once for each of thousands of files
            write_json(
                marker,
                {
                    "archive": archive.name,
                    "bytes": archive.stat().st_size,
                    "files": count,
                    "strip": strip,
                },
            )
        if not keep:
            archive.unlink(missing_ok=True)
    return count


def _finished(marker: Path, archive: Path, strip: int) -> int | None:
    """Return how many files came out of the archive, if it was unpacked and is still the same one."""
    said = read_json(marker)
    if said.get("strip") != strip or (
        archive.exists() and said.get("bytes") != archive.stat().st_size
    ):
        return None
    return said.get("files")


class _Unpacking:
    """One archive on its way into a folder."""

    def __init__(self, archive: Path, folder: Path, strip: int):
        self.archive, self.folder, self.strip = archive, folder, strip
        self.partial = folder / HIDDEN / f"{archive.name}.partial"  # the one file being written
        self.files: set[Path] = set()

    def all(self) -> int:
        """Unpack all members; return how many files they are."""
        try:
            with open(self.archive, "rb") as raw, self._bar() as bar:
                start = raw.read(8)
                raw.seek(0)
                if start.startswith(b"PK"):
                    self._zip(raw, bar)
                else:
                    self._tar(raw, _opener(start), bar)
        except FileNotFoundError:
            raise UnpackError(f"{self.archive}: no such file") from None
        except DAMAGE as error:
            for path in self.files:  # of bytes that were never checked
                path.unlink(missing_ok=True)
            raise UnpackError(
                f"{self.archive}: damaged, or no archive ({type(error).__name__}: {error})"
            ) from None
        finally:
            self.partial.unlink(missing_ok=True)
        return len(self.files)

    def _tar(self, raw: BinaryIO, opener: Callable[[BinaryIO], BinaryIO], bar: tqdm) -> None:
        plain = opener(raw)
        with tarfile.open(fileobj=plain, mode="r|", bufsize=CHUNK, tarinfo=_Member) as tar:
            for member in tar:
                path = self._place(member.name, _tar_kind(member))
                if path:
                    self._put(
                        path,
                        member.name,
                        member.size,
                        lambda member=member: tar.extractfile(member),
                    )
                bar.update(raw.tell() - bar.n)
        while plain.read(CHUNK):  # up to the checksum
            pass
        bar.update(raw.tell() - bar.n)

    def _zip(self, raw: BinaryIO, bar: tqdm) -> None:
        with zipfile.ZipFile(raw) as archive:
            members = [
                (member, self._place(member.filename, _zip_kind(member)))
                for member in archive.infolist()
            ]
            for member, path in members:
                if path:
                    self._put(
                        path,
                        member.filename,
                        member.file_size,
                        lambda member=member: archive.open(member),
                    )
                bar.update(member.compress_size)

    def _place(self, name: str, kind: str) -> Path | None:
        """Return where a member goes, None if nowhere; UnpackError unless it is a file or a folder
        inside the folder.
        """
        windows = PureWindowsPath(name)  # both kinds of slashes separate
        if kind not in ("file", "folder"):
            raise UnpackError(f"{self.archive}: {name!r}: a {kind}, not a file or folder")
        if windows.drive or windows.root or ".." in windows.parts or "\0" in name:
            raise UnpackError(f"{self.archive}: {name!r}: outside of the folder")
        parts = PurePosixPath(name).parts[self.strip :]
        if parts and parts[0] == HIDDEN:
            raise UnpackError(f"{self.archive}: {name!r}: {HIDDEN} is for markers")
        return self.folder.joinpath(*parts) if parts and kind == "file" else None

    def _put(self, path: Path, name: str, size: int, opened: Callable[[], BinaryIO]) -> None:
        """Write a member, unless an earlier call wrote it."""
        again = path in self.files  # of two members of one name the last one stays
        self.files.add(path)
        if not again and path.is_file() and path.stat().st_size == size:
            return
        with opened() as source, self._writing(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.partial, "wb") as file:
                while data := self._read(source):
                    file.write(data)
        if self.partial.stat().st_size != size:
            raise EOFError(f"{name}: {self.partial.stat().st_size} bytes, expected {size}")
        with self._writing(name):
            os.replace(self.partial, path)

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UnpackError(
                f"{self.archive}: {name!r}: cannot be written ({error.strerror})"
            ) from None

    @staticmethod
    def _read(source: BinaryIO) -> bytes:
        """Read on; what is wrong with the archive is never an OSError, as what is wrong with the
        disk is.
        """
        try:
            return source.read(CHUNK)
        except OSError as error:
            raise EOFError(str(error)) from None

    def _bar(self) -> tqdm:
        return tqdm(
            desc=f"Unpacking {self.archive.name}",
            total=self.archive.stat().st_size,
            unit="B",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )


class _Member(tarfile.TarInfo):
    """A tar header; a missing or broken one is an error even where tarfile takes it for the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


def _opener(start: bytes) -> Callable[[BinaryIO], BinaryIO]:
    """Return what takes off the compression of a stream with these first bytes."""
    return next(
        (opener for magic, opener in OPENERS.items() if start.startswith(magic)), lambda raw: raw
    )


def _tar_kind(member: tarfile.TarInfo) -> str:
    if member.isreg():
        return "file"
    if member.isdir():
        return "folder"
    return {tarfile.SYMTYPE: "symbolic link", tarfile.LNKTYPE: "hard link"}.get(
        member.type, "device or other special file"
    )


def _zip_kind(member: zipfile.ZipInfo) -> str:
    mode = member.external_attr >> 16 if member.create_system == 3 else 0
    if stat.S_ISLNK(mode):
        return "symbolic link"
    if member.is_dir():
        return "folder"
    return "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "device or other special file"
