"""A sound in a file: where its bytes lie, and the header that stands before them."""

import io
from typing import BinaryIO, NamedTuple

BLOCK = 1 << 20  # bytes a look
ID3V1 = 128  # bytes, at the end of a file
TRIMMED = 3 * 1152  # samples, at most: an encoder's delay and padding, the decoder's delay


class ContainerError(ValueError):
    """A file that is cut short or damaged; the message says how, without the file's name."""


class Part(NamedTuple):
    """A sound in a file: a corrected header, then the bytes from `start` up to `end`.

    `frames` is its number of samples as counted, of MPEG audio: a decoder may leave out
    `TRIMMED` of them, which encoders added.
    """

    start: int
    end: int
    head: bytes = b""
    frames: int | None = None


class Section(io.RawIOBase):
    """The bytes of a part, as if they were a file."""

    def __init__(self, file: BinaryIO, part: Part):
        self._file, self._part, self._place = file, part, 0
        self._length = len(part.head) + part.end - part.start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._length}[whence]
        self._place = max(0, origin + offset)
        return self._place

    def readinto(self, buffer) -> int:
        head, start, end = self._part.head, self._part.start, self._part.end
        wanted = min(len(buffer), max(0, self._length - self._place))
        content = head[self._place : self._place + wanted]
        rest = wanted - len(content)
        if rest:
            place = start + self._place + len(content) - len(head)
            self._file.seek(place)
            content += self._file.read(min(rest, end - place))
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)


def at(file: BinaryIO, place: int, count: int) -> bytes:
    """Return `count` bytes of a file from `place`, fewer at its end."""
    file.seek(place)
    return file.read(count)
