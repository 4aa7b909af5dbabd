"""Ogg: the links of a chain, page by page; none may be missing, damaged or cut."""

import struct
import zlib
from typing import BinaryIO

from earshot.features.audio.part import BLOCK, ContainerError, Part, at

_LAST, _FIRST = 4, 2  # flags of a page
_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def parts(file: BinaryIO, end: int, check: bool) -> list[Part]:
    """Split a chain into its links, and see that no page is missing, damaged or cut."""
    starts: list[int] = []
    numbers: dict[int, int] = {}  # stream → number of the next page
    open_streams: set[int] = set()
    headers = False  # the last page began a stream
    place = 0
    while place < end:
        page = _page(file, place, end, check)
        if page is None:
            break
        flags, serial, number, length = page
        if flags & _FIRST:
            if not headers:
                if open_streams:
                    raise ContainerError(f"cut short, a stream has no end before byte {place}")
                starts.append(place)
                numbers.clear()
            numbers[serial] = number
            open_streams.add(serial)
        headers = bool(flags & _FIRST)
        if serial not in numbers:
            raise ContainerError(f"damaged at byte {place}: a page of no stream")
        if number != numbers[serial]:
            raise ContainerError(f"damaged at byte {place}: pages are missing before it")
        numbers[serial] += 1
        if flags & _LAST:
            open_streams.discard(serial)
        place += length
    if open_streams:
        raise ContainerError("cut short, its last page is missing")
    if len(starts) < 2:
        return [Part(0, end)]
    return [Part(*ends) for ends in zip(starts, [*starts[1:], place], strict=True)]


def _page(file: BinaryIO, place: int, end: int, check: bool) -> tuple[int, int, int, int] | None:
    """Return flags, stream, number and bytes of a page, None where only other things follow."""
    head = at(file, place, 27)
    if head[:4] != b"OggS":
        rest = head + file.read(BLOCK)
        if b"OggS" in rest:
            raise ContainerError(f"damaged at byte {place}")
        return None
    lacing = file.read(head[26]) if len(head) == 27 else b""
    length = 27 + len(lacing) + sum(lacing)
    if len(head) < 27 or len(lacing) < head[26] or place + length > end:
        raise ContainerError("cut short, within its last page")
    _, flags, _, serial, number, crc = struct.unpack_from("<BBqIII", head, 4)
    if check:
        body = head[:22] + bytes(4) + head[26:] + lacing + file.read(sum(lacing))
        if _crc(body) != crc:
            raise ContainerError(f"damaged at byte {place}: a page's checksum does not fit")
    return flags, serial, number, length


def _crc(content: bytes) -> int:
    """Return Ogg's checksum: zlib's, its bits read the other way round, without the inversions."""
    mirrored = zlib.crc32(content.translate(_MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRROR))
