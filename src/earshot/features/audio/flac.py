"""FLAC: samples are counted by the last frame, as a header may give another number or none."""

from collections.abc import Iterator
from typing import BinaryIO

from earshot.features.audio.part import BLOCK, ID3V1, ContainerError, Part, at

_MAGIC = b"fLaC"
_TOTAL = slice(21, 26)  # bytes of the number of samples, its upper 4 bits left out
_BLOCKS = {1: 192} | {code: 576 << (code - 2) for code in range(2, 6)}
_BLOCKS |= {code: 256 << (code - 8) for code in range(8, 16)}


def parts(file: BinaryIO, start: int, end: int) -> list[Part]:
    starts = sorted({start, *_starts(file, start, end)})
    found = []
    for first, stop in zip(starts, [*starts[1:], end], strict=True):
        head = at(file, first, 42)
        if len(head) < 42:
            raise ContainerError("cut short, within its header")
        promised = _promise(head)
        counted = _count(file, first, stop)
        if counted is None and not promised:
            raise ContainerError("no samples")
        if counted is not None and counted < promised:
            raise ContainerError(f"cut short, {counted} of {promised} samples")
        if counted is None or counted == promised:
            found.append(Part(first, stop))
            continue
        upper = int.from_bytes(head[_TOTAL]) >> 36 << 36
        total = (upper | counted).to_bytes(5)
        found.append(Part(first + 42, stop, head[:21] + total + head[26:]))
    single = len(found) == 1 and not found[0].head
    return [Part(0, end)] if single else found


def _starts(file: BinaryIO, start: int, end: int) -> Iterator[int]:
    """Yield where streams begin: the magic, then the header of a STREAMINFO block."""
    place = start
    while place < end:
        block = at(file, place, BLOCK + 7)
        found = block.find(_MAGIC)
        while 0 <= found < BLOCK:
            if block[found + 4 : found + 8] in (b"\0\0\0\x22", b"\x80\0\0\x22"):
                yield place + found
            found = block.find(_MAGIC, found + 1)
        place += BLOCK


def _promise(head: bytes) -> int:
    """Return the number of samples that a header gives, 0 where it gives none."""
    return int.from_bytes(head[_TOTAL]) & (1 << 36) - 1


def _count(file: BinaryIO, start: int, end: int) -> int | None:
    """Return the number of samples up to the end of the last frame, None where none is found."""
    head = at(file, start, 42).ljust(42, b"\0")
    fixed = int.from_bytes(head[8:10])
    longest = int.from_bytes(head[10:12])
    channels, bits = (head[20] >> 1 & 7) + 1, (head[20] & 1) << 4 | head[21] >> 4
    tail = 2 * (longest * channels * (bits + 8) // 8 + 64)  # a frame is not longer than its samples
    place = max(start + 42, end - tail - ID3V1)
    block = at(file, place, end - place)
    found = len(block)
    while (found := block.rfind(b"\xff", 0, found)) >= 0:
        counted = _frame_end(block[found : found + 16], fixed, longest)
        if counted is not None:
            return counted
    return None


def _frame_end(head: bytes, fixed: int, longest: int) -> int | None:
    """Return the number of the sample behind a frame, None where `head` begins no frame."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[3] & 1 or head[3] >> 4 > 10:
        return None
    block, rate = head[2] >> 4, head[2] & 0xF
    ones = 8 - (head[4] ^ 0xFF).bit_length()  # UTF-8: as many bytes as leading ones
    length = ones or 1
    if block == 0 or rate == 15 or ones in (1, 8) or len(head) < 4 + length + 5:
        return None
    number = head[4] & (0x7F >> ones)
    for byte in head[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    place = 4 + length
    size = _BLOCKS.get(block, 0)
    if block in (6, 7):
        size = int.from_bytes(head[place : place + block - 5]) + 1
        place += block - 5
    place += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if place >= len(head) or _crc8(head[:place]) != head[place] or size > longest:
        return None
    return (number if head[1] & 1 else number * fixed) + size


def _crc8(content: bytes) -> int:
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc
