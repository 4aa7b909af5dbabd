"""Archives of corpora: unpacked once, inside their folder only, and gone on with after any
interruption.
"""

import lzma
import os
import shutil
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tqdm import tqdm

from earshot.corpora.fetch import locked
from earshot.corpora.partial import read_json
from earshot.runtime.files import write_json

CHUNK = 1 << 20  # bytes
HIDDEN = ".unpacked"  # folder of markers and of the file being written
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,  # gzip and bzip2; those of the disk have a number
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
            size = archive.stat().st_size
            content = {"archive": archive.name, "bytes": size, "files": count, "strip": strip}
            write_json(marker, content)
        if not keep:
            archive.unlink(missing_ok=True)
    return count


def _finished(marker: Path, archive: Path, strip: int) -> int | None:
    """Return how many files came out of the archive, if it was unpacked and is the same one."""
    done = read_json(marker)
    changed = archive.exists() and done.get("bytes") != archive.stat().st_size
    return None if changed or done.get("strip") != strip else done.get("files")


class _Unpacking:
    """One archive on its way into a folder, each file by way of a hidden one."""

    def __init__(self, archive: Path, folder: Path, strip: int):
        self.archive, self.folder, self.strip = archive, folder, strip
        self.hidden = folder / HIDDEN / f"{archive.name}.part"
        self.files: set[PurePosixPath] = set()

    def all(self) -> int:
        """Unpack all members; return how many files they are."""
        try:
            with open(self.archive, "rb") as raw, self._bar() as bar:
                start = raw.read(2)
                raw.seek(0)
                if start == b"PK":
                    self._zip(raw, bar)
                else:
                    self._tar(raw, bar)
        except FileNotFoundError:
            raise UnpackError(f"{self.archive}: no such file") from None
        except DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:
                reason = f"cannot be written ({error.strerror})"
                raise UnpackError(f"{self.archive}: {self.folder} {reason}") from None
            for file in self.files:  # of bytes that were never checked
                (self.folder / file).unlink(missing_ok=True)
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UnpackError(f"{self.archive}: damaged, or no archive ({reason})") from None
        finally:
            shutil.rmtree(self.hidden, ignore_errors=True)
        return len(self.files)

    def _tar(self, raw: BinaryIO, bar: tqdm) -> None:
        with tarfile.open(fileobj=raw, mode="r:*", tarinfo=_Member) as tar:
            for member in tar:
                file = self._place(member.name, member.isreg(), member.isdir())
                if file and self._is_wanted(file, member.size):
                    # A copy, for tarfile keeps the members, and finds the next one by them.
                    renamed = member.replace(name=str(file), deep=False)
                    tar.extract(renamed, self.hidden, set_attrs=False, filter="data")
                    self._move(file)
                bar.update(raw.tell() - bar.n)
            while tar.fileobj.read(CHUNK):  # up to the checksum
                pass
        bar.update(raw.tell() - bar.n)

    def _zip(self, raw: BinaryIO, bar: tqdm) -> None:
        with zipfile.ZipFile(raw) as archive:
            for member in archive.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                regular = member.create_system != 3 or kind in (0, stat.S_IFREG)
                file = self._place(member.filename, regular, member.is_dir())
                if file and self._is_wanted(file, member.file_size):
                    member.filename = str(file)
                    archive.extract(member, self.hidden)
                    self._move(file)
                bar.update(member.compress_size)

    def _place(self, name: str, regular: bool, folder: bool) -> PurePosixPath | None:
        """Return where a file goes, below the folder; None for a folder."""
        path = PurePosixPath(name)
        if not (regular or folder):
            raise UnpackError(f"{self.archive}: {name!r}: a link or device, not a file or folder")
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            raise UnpackError(f"{self.archive}: {name!r}: outside of the folder")
        parts = path.parts[self.strip :]
        if parts and parts[0] == HIDDEN:
            raise UnpackError(f"{self.archive}: {name!r}: {HIDDEN} is for markers")
        return PurePosixPath(*parts) if parts and not folder else None

    def _is_wanted(self, file: PurePosixPath, size: int) -> bool:
        """Return whether a file is still to be written; note that it is of this archive."""
        again = file in self.files  # of two members of one name the last one stays
        self.files.add(file)
        path = self.folder / file
        return again or not path.is_file() or path.stat().st_size != size

    def _move(self, file: PurePosixPath) -> None:
        (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.hidden / file, self.folder / file)

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
