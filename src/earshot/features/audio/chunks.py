"""Files of chunks (WAV, RF64, W64, AIFF, CAF) and AU: the size in a header may be wrong or none."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from earshot.features.audio import mpeg
from earshot.features.audio.part import BLOCK, ContainerError, Part, at


class _Layout(NamedTuple):
    first: int  # byte of the first chunk
    id: int  # bytes of a chunk's name
    size: str  # struct format of its size
    inclusive: bool  # the size counts name and size too
    align: int
    sound: bytes  # name of the chunk with the samples
    forms: tuple[bytes, ...]  # what stands in bytes 8 to 12


_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_RIFF = _Layout(12, 4, "<I", False, 2, b"data", (b"WAVE",))
LAYOUTS = {
    b"RIFF": _RIFF,
    b"RF64": _RIFF,
    b"BW64": _RIFF,
    b"RIFX": _RIFF._replace(size=">I"),
    b"FORM": _Layout(12, 4, ">I", False, 2, b"SSND", (b"AIFF", b"AIFC")),
    b"caff": _Layout(8, 4, ">q", False, 1, b"data", (b"desc",)),
    b"riff": _Layout(40, 16, "<q", True, 8, _W64_DATA, (b"\xa5\xd6\x28\xdb",)),
}
_MPEG_IN_WAV = (0x50, 0x55)
_LARGE_SIZE = 28  # byte of a ds64 chunk's size of the data


class _Chunk(NamedTuple):
    name: bytes
    body: int  # its first byte
    size: int  # bytes, as declared


def _chunks(file: BinaryIO, layout: _Layout, place: int, end: int) -> Iterator[_Chunk]:
    head = layout.id + struct.calcsize(layout.size)
    while place + head <= end:
        name = at(file, place, layout.id)
        size = struct.unpack(layout.size, file.read(head - layout.id))[0]
        size -= head if layout.inclusive else 0
        yield _Chunk(name, place + head, size)
        if size < 0:
            return
        place += head + size
        place += -(place) % layout.align


def parts(file: BinaryIO, start: int, end: int) -> list[Part]:
    layout = LAYOUTS[at(file, start, 4)]
    encoding = 0
    for chunk in _chunks(file, layout, start + layout.first, end):
        if chunk.name == b"fmt ":
            encoding = _encoding(at(file, chunk.body, 26), layout.size[0])
        if chunk.name == layout.sound:
            break
    else:
        return [Part(start, end)]
    body, size = chunk.body, chunk.size
    field = body - struct.calcsize(layout.size), layout.size  # where the size stands, and how
    if layout is _RIFF and size == 0xFFFFFFFF and at(file, start, 4) != b"RIFF":
        field = start + _LARGE_SIZE, "<Q"
        size = struct.unpack("<Q", at(file, *(start + _LARGE_SIZE, 8)))[0]
    known = not _is_unknown(size) and not (size == 0 and _is_stream(file, layout, body, end))
    if known and size > end - body:
        raise ContainerError(f"cut short, {end - body} of {size} bytes of sound are there")
    stop = body + size if known else end
    if encoding in _MPEG_IN_WAV:
        return mpeg.parts(file, body, stop)
    if not known:
        return [Part(body, end, _corrected(at(file, start, body - start), field, end - body))]
    behind = stop + stop % layout.align
    if layout is _RIFF and at(file, behind, 4) == b"RIFF" and file.read(8)[4:] == b"WAVE":
        return [Part(start, behind), *parts(file, behind, end)]
    return [Part(start, end)]


def _encoding(form: bytes, order: str) -> int:
    """Return the code of a WAV file's encoding."""
    tag = struct.unpack_from(f"{order}H", form.ljust(26, b"\0"))[0]
    return struct.unpack_from(f"{order}H", form.ljust(26, b"\0"), 24)[0] if tag == 0xFFFE else tag


def _is_unknown(size: int) -> bool:
    """Return whether a size stands for none: what ffmpeg, SoX and arecord write into a pipe."""
    return size < 0 or 0x7FFFF000 <= size <= 0x80000100 or size >= 0xFFFFFF00


def _is_stream(file: BinaryIO, layout: _Layout, body: int, end: int) -> bool:
    """Return whether samples follow a chunk of size 0, and not the next chunks or nothing."""
    following = list(_chunks(file, layout, body, end)) if end - body < BLOCK else []
    return body < end and not (following and following[-1].body + following[-1].size == end)


def _corrected(head: bytes, field: tuple[int, str], value: int) -> bytes:
    changed = bytearray(head)
    place, form = field
    struct.pack_into(form, changed, place, value + (24 if form == "<q" else 0))
    return bytes(changed)


def au_parts(file: BinaryIO, size: int) -> list[Part]:
    body, declared = struct.unpack(">II", at(file, 4, 8).ljust(8, b"\0"))
    if declared in (size - body, 0xFFFFFFFF):
        return [Part(0, size)]
    if declared > size - body:
        raise ContainerError(f"cut short, {size - body} of {declared} bytes of sound are there")
    return [Part(body, size, _corrected(at(file, 0, body), (8, ">I"), size - body))]
