"""MPEG audio, MP3 and its elders: frames are counted, and a Xing header says how many there are."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from earshot.features.audio.part import ID3V1, ContainerError, Part, at

_LEADING = 1 << 16  # bytes before the first frame
_VERSIONS = {0: 2, 2: 1, 3: 0}  # code → how often the rate is halved: MPEG 2.5, 2, 1
_RATES = (44_100, 48_000, 32_000)
_KBITS = {  # (MPEG 1, layer) → kbit/s by code
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KBITS[False, 3] = _KBITS[False, 2]
_XING_CODE = 8  # of a bit rate at which a frame has room for a Xing header
_XING_DELAY = 16 + 21  # byte of a Xing header that holds delay and padding
_DECODER_DELAY = 529  # samples


class _Kind(NamedTuple):
    """What the frames of one sound share."""

    version: int  # 0 is MPEG 1, 1 MPEG 2, 2 MPEG 2.5
    layer: int
    rate: int  # Hz
    mono: bool


class _Run(NamedTuple):
    """Frames of one kind, one behind the other but for tags."""

    kind: _Kind
    start: int
    end: int
    frames: int


def _frame(head: bytes) -> tuple[_Kind, int] | None:
    """Return a frame's kind and its bytes; None where four bytes begin no frame."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = _VERSIONS.get(head[1] >> 3 & 3), 4 - (head[1] >> 1 & 3)
    kbits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version is None or layer == 4 or kbits in (0, 15) or rate == 3:
        return None
    kind = _Kind(version, layer, _RATES[rate] >> version, head[3] >> 6 == 3)
    return kind, _bytes(kind, kbits, head[2] >> 1 & 1)


def _bytes(kind: _Kind, code: int, padding: int) -> int:
    bits = _KBITS[kind.version == 0, kind.layer][code] * 1000
    if kind.layer == 1:
        return (12 * bits // kind.rate + padding) * 4
    return (72 if kind.layer == 3 and kind.version else 144) * bits // kind.rate + padding


def parts(file: BinaryIO, start: int, end: int) -> list[Part]:
    runs = list(_runs(file, start, end))
    if not runs:
        raise ContainerError("not readable audio (no MPEG frame in it)")
    found = [_part(file, run) for run in runs]
    is_whole = found[0][1:3] == (end, b"") and found[0].start == start == after_id3(file, 0)
    return [found[0]._replace(start=0)] if is_whole else found


def _runs(file: BinaryIO, start: int, end: int) -> Iterator[_Run]:
    """Walk from frame to frame; another kind of frame begins a run of its own."""
    place = _first(file, start, end)
    kind, begun, frames = None, place, 0
    while place < end:
        frame = _frame(at(file, place, 4))
        if frame is None:
            behind = _after_tags(file, place, end)
            if behind > place:
                place = behind
                continue
            if _first(file, place, end) < end:
                raise ContainerError(f"damaged at byte {place}: no MPEG frame")
            break
        if place + frame[1] > end:
            raise ContainerError("cut short, within its last frame")
        if frame[0] != kind:
            following = _frame(at(file, place + frame[1], 4))
            if kind is not None and (following is None or following[0] != frame[0]):
                raise ContainerError(f"damaged at byte {place}: a frame unlike its neighbours")
            if kind is not None:
                yield _Run(kind, begun, place, frames)
            kind, begun, frames = frame[0], place, 0
        frames += 1
        place += frame[1]
    if kind is not None:
        yield _Run(kind, begun, place, frames)


def _first(file: BinaryIO, start: int, end: int) -> int:
    """Return where a frame begins that another frame of its kind follows; `end` if nowhere."""
    block = at(file, start, min(end - start, _LEADING))
    found = block.find(b"\xff")
    while found >= 0:
        frame = _frame(block[found : found + 4])
        if frame is not None:
            behind = start + found + frame[1]
            following = _frame(at(file, behind, 4))
            if following is not None and following[0] == frame[0]:
                return start + found
            if behind == end and found == 0:
                return start
        found = block.find(b"\xff", found + 1)
    return end


def after_id3(file: BinaryIO, place: int) -> int:
    """Return where ID3v2 tags at `place` end."""
    while (tag := at(file, place, 10))[:3] == b"ID3" and len(tag) == 10:
        sizes = [byte & 0x7F for byte in tag[6:]]
        length = (sizes[0] << 21) + (sizes[1] << 14) + (sizes[2] << 7) + sizes[3]
        place += 10 + length + (10 if tag[5] & 0x10 else 0)
    return place


def _after_tags(file: BinaryIO, place: int, end: int) -> int:
    """Return where tags (ID3, APE) at `place` end."""
    head = at(file, place, 32)
    if head[:3] == b"ID3":
        return min(end, after_id3(file, place))
    if head[:3] == b"TAG":
        return min(end, place + ID3V1)
    if head[:8] == b"APETAGEX" and len(head) == 32:
        body, is_header = int.from_bytes(head[12:16], "little"), head[23] & 0x20
        return min(end, place + 32 + (body if is_header else 0))
    return place


def _part(file: BinaryIO, run: _Run) -> Part:
    """Return a run with the right number of frames before it: that of a Xing header."""
    kind = run.kind
    if kind.layer != 3:
        samples = 384 if kind.layer == 1 else 1152
        return Part(run.start, run.end, frames=run.frames * samples)
    samples = 576 if kind.version else 1152
    first = at(file, run.start, 4)
    length = _frame(first)[1]
    place = 4 + ({True: 17, False: 32} if kind.version == 0 else {True: 9, False: 17})[kind.mono]
    frame = at(file, run.start, length)
    is_tag = frame[place : place + 4] in (b"Xing", b"Info") and not any(frame[4:place])
    if not is_tag or not frame[place + 7] & 1:
        head = _xing(first, kind, place, run)
        return Part(run.start, run.end, head, run.frames * samples)
    promised = int.from_bytes(frame[place + 8 : place + 12])
    counted = run.frames - 1
    if promised > counted + 1:  # some count the header's own frame
        raise ContainerError(f"cut short, {counted} of {promised} MPEG frames")
    if promised == counted:
        return Part(run.start, run.end, frames=counted * samples)
    changed = bytearray(frame)
    changed[place + 8 : place + 12] = counted.to_bytes(4)
    if frame[place + 7] & 2:
        changed[place + 12 : place + 16] = (run.end - run.start).to_bytes(4)
    return Part(run.start + length, run.end, bytes(changed), counted * samples)


def _xing(first: bytes, kind: _Kind, place: int, run: _Run) -> bytes:
    """Return frames without sound that tell the number of those behind them.

    The decoder drops its delay from the first sound of a file that has a Xing header, so a frame
    of silence comes before it, and the header asks to drop all of that.
    """
    head = bytes([0xFF, first[1] | 1, first[2] & 0x0C | _XING_CODE << 4, first[3]])
    silence = head.ljust(_bytes(kind, _XING_CODE, 0), b"\0")
    frame = bytearray(silence)
    size = run.end - run.start + 2 * len(frame)
    delay = (576 if kind.version else 1152) - _DECODER_DELAY
    tag = b"Info" + struct.pack(">III", 3, run.frames + 1, size) + b"LAME"
    frame[place : place + len(tag)] = tag
    frame[place + _XING_DELAY : place + _XING_DELAY + 3] = (delay << 12).to_bytes(3)
    return bytes(frame) + silence
