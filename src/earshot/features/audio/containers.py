"""Where the sound lies in a file, and how much: counted, as headers estimate or say nothing.

libsndfile stops after the number of frames in a header. So each sound of a file is counted here
(MPEG frames, FLAC's last frame, Ogg pages, a chunk's bytes), and where its header says otherwise a
corrected one stands before it. Joined files hold several sounds.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_BLOCK = 1 << 20  # bytes a look
_ID3V1 = 128  # bytes, at the end of a file
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


def parts(path: str | Path, check: bool = True) -> list[Part]:
    """Return the sounds of a file in their order; one of all its bytes where it is as it should be,
    or where nothing is known of its container.

    Without `check`, bytes are not compared with their checksums. Raises ContainerError for a file
    that lacks a part of its sound.
    """
    with open(path, "rb") as file:
        size = file.seek(0, io.SEEK_END)
        start = _after_id3(file, 0)
        magic = _at(file, start, 16)
        if magic[:4] == b"fLaC":
            return _flac(file, start, size)
        if magic[:4] == b"OggS":
            return _ogg(file, size, check)
        if magic[:4] == b".snd":
            return _au(file, size)
        if magic[:4] in _CHUNKED and magic[8:12] in _CHUNKED[magic[:4]].forms:
            return _chunked(file, 0, size)
        if magic[:1] == b"\xff" or start:
            return _mpeg(file, start, size)
        return [Part(0, size)]


def _at(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _after_id3(file: BinaryIO, place: int) -> int:
    """Return where ID3v2 tags at `place` end."""
    while (tag := _at(file, place, 10))[:3] == b"ID3" and len(tag) == 10:
        sizes = [byte & 0x7F for byte in tag[6:]]
        length = (sizes[0] << 21) + (sizes[1] << 14) + (sizes[2] << 7) + sizes[3]
        place += 10 + length + (10 if tag[5] & 0x10 else 0)
    return place


# Chunks: WAV, RF64, W64, AIFF, CAF


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
_CHUNKED = {
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
        name = _at(file, place, layout.id)
        size = struct.unpack(layout.size, file.read(head - layout.id))[0]
        size -= head if layout.inclusive else 0
        yield _Chunk(name, place + head, size)
        if size < 0:
            return
        place += head + size
        place += -(place) % layout.align


def _chunked(file: BinaryIO, start: int, end: int) -> list[Part]:
    layout = _CHUNKED[_at(file, start, 4)]
    encoding = 0
    for chunk in _chunks(file, layout, start + layout.first, end):
        if chunk.name == b"fmt ":
            encoding = _encoding(_at(file, chunk.body, 26), layout.size[0])
        if chunk.name == layout.sound:
            break
    else:
        return [Part(start, end)]
    body, size = chunk.body, chunk.size
    field = body - struct.calcsize(layout.size), layout.size  # where the size stands, and how
    if layout is _RIFF and size == 0xFFFFFFFF and _at(file, start, 4) != b"RIFF":
        field = start + _LARGE_SIZE, "<Q"
        size = struct.unpack("<Q", _at(file, *(start + _LARGE_SIZE, 8)))[0]
    known = not _is_unknown(size) and not (size == 0 and _is_stream(file, layout, body, end))
    if known and size > end - body:
        raise ContainerError(f"cut short, {end - body} of {size} bytes of sound are there")
    stop = body + size if known else end
    if encoding in _MPEG_IN_WAV:
        return _mpeg(file, body, stop)
    if not known:
        return [Part(body, end, _corrected(_at(file, start, body - start), field, end - body))]
    behind = stop + stop % layout.align
    if layout is _RIFF and _at(file, behind, 4) == b"RIFF" and file.read(8)[4:] == b"WAVE":
        return [Part(start, behind), *_chunked(file, behind, end)]
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
    following = list(_chunks(file, layout, body, end)) if end - body < _BLOCK else []
    return body < end and not (following and following[-1].body + following[-1].size == end)


def _corrected(head: bytes, field: tuple[int, str], value: int) -> bytes:
    changed = bytearray(head)
    place, form = field
    struct.pack_into(form, changed, place, value + (24 if form == "<q" else 0))
    return bytes(changed)


def _au(file: BinaryIO, size: int) -> list[Part]:
    body, declared = struct.unpack(">II", _at(file, 4, 8).ljust(8, b"\0"))
    if declared in (size - body, 0xFFFFFFFF):
        return [Part(0, size)]
    if declared > size - body:
        raise ContainerError(f"cut short, {size - body} of {declared} bytes of sound are there")
    return [Part(body, size, _corrected(_at(file, 0, body), (8, ">I"), size - body))]


# FLAC

_FLAC_MAGIC = b"fLaC"
_FLAC_TOTAL = slice(21, 26)  # bytes of the number of samples, its upper 4 bits left out
_FLAC_BLOCKS = {1: 192} | {code: 576 << (code - 2) for code in range(2, 6)}
_FLAC_BLOCKS |= {code: 256 << (code - 8) for code in range(8, 16)}


def _flac(file: BinaryIO, start: int, end: int) -> list[Part]:
    starts = sorted({start, *_flac_starts(file, start, end)})
    found = []
    for first, stop in zip(starts, [*starts[1:], end], strict=True):
        head = _at(file, first, 42)
        if len(head) < 42:
            raise ContainerError("cut short, within its header")
        promised = _flac_promise(head)
        counted = _flac_count(file, first, stop)
        if counted is None and not promised:
            raise ContainerError("no samples")
        if counted is not None and counted < promised:
            raise ContainerError(f"cut short, {counted} of {promised} samples")
        if counted is None or counted == promised:
            found.append(Part(first, stop))
            continue
        upper = int.from_bytes(head[_FLAC_TOTAL]) >> 36 << 36
        total = (upper | counted).to_bytes(5)
        found.append(Part(first + 42, stop, head[:21] + total + head[26:]))
    single = len(found) == 1 and not found[0].head
    return [Part(0, end)] if single else found


def _flac_starts(file: BinaryIO, start: int, end: int) -> Iterator[int]:
    """Yield where streams begin: the magic, then the header of a STREAMINFO block."""
    place = start
    while place < end:
        block = _at(file, place, _BLOCK + 7)
        found = block.find(_FLAC_MAGIC)
        while 0 <= found < _BLOCK:
            if block[found + 4 : found + 8] in (b"\0\0\0\x22", b"\x80\0\0\x22"):
                yield place + found
            found = block.find(_FLAC_MAGIC, found + 1)
        place += _BLOCK


def _flac_promise(head: bytes) -> int:
    """Return the number of samples that a header gives, 0 where it gives none."""
    return int.from_bytes(head[_FLAC_TOTAL]) & (1 << 36) - 1


def _flac_count(file: BinaryIO, start: int, end: int) -> int | None:
    """Return the number of samples up to the end of the last frame, None where none is found."""
    head = _at(file, start, 42).ljust(42, b"\0")
    fixed = int.from_bytes(head[8:10])
    longest = int.from_bytes(head[10:12])
    channels, bits = (head[20] >> 1 & 7) + 1, (head[20] & 1) << 4 | head[21] >> 4
    tail = 2 * (longest * channels * (bits + 8) // 8 + 64)  # a frame is not longer than its samples
    place = max(start + 42, end - tail - _ID3V1)
    block = _at(file, place, end - place)
    found = len(block)
    while (found := block.rfind(b"\xff", 0, found)) >= 0:
        counted = _flac_frame_end(block[found : found + 16], fixed, longest)
        if counted is not None:
            return counted
    return None


def _flac_frame_end(head: bytes, fixed: int, longest: int) -> int | None:
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
    size = _FLAC_BLOCKS.get(block, 0)
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


# Ogg

_LAST, _FIRST = 4, 2  # flags of a page
_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _ogg(file: BinaryIO, end: int, check: bool) -> list[Part]:
    """Split a chain into its links, and see that no page is missing, damaged or cut."""
    starts: list[int] = []
    numbers: dict[int, int] = {}  # stream → number of the next page
    open_streams: set[int] = set()
    headers = False  # the last page began a stream
    place = 0
    while place < end:
        page = _ogg_page(file, place, end, check)
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


def _ogg_page(
    file: BinaryIO, place: int, end: int, check: bool
) -> tuple[int, int, int, int] | None:
    """Return flags, stream, number and bytes of a page, None where only other things follow."""
    head = _at(file, place, 27)
    if head[:4] != b"OggS":
        rest = head + file.read(_BLOCK)
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
        if _ogg_crc(body) != crc:
            raise ContainerError(f"damaged at byte {place}: a page's checksum does not fit")
    return flags, serial, number, length


def _ogg_crc(content: bytes) -> int:
    """Return Ogg's checksum: zlib's, its bits read the other way round, without the inversions."""
    mirrored = zlib.crc32(content.translate(_MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRROR))


# MPEG audio: MP3 and its elders

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


def _mpeg_frame(head: bytes) -> tuple[_Kind, int] | None:
    """Return a frame's kind and its bytes; None where four bytes begin no frame."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = _VERSIONS.get(head[1] >> 3 & 3), 4 - (head[1] >> 1 & 3)
    kbits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version is None or layer == 4 or kbits in (0, 15) or rate == 3:
        return None
    kind = _Kind(version, layer, _RATES[rate] >> version, head[3] >> 6 == 3)
    return kind, _mpeg_bytes(kind, kbits, head[2] >> 1 & 1)


def _mpeg_bytes(kind: _Kind, code: int, padding: int) -> int:
    bits = _KBITS[kind.version == 0, kind.layer][code] * 1000
    if kind.layer == 1:
        return (12 * bits // kind.rate + padding) * 4
    return (72 if kind.layer == 3 and kind.version else 144) * bits // kind.rate + padding


def _mpeg(file: BinaryIO, start: int, end: int) -> list[Part]:
    runs = list(_mpeg_runs(file, start, end))
    if not runs:
        raise ContainerError("not readable audio (no MPEG frame in it)")
    found = [_mpeg_part(file, run) for run in runs]
    is_whole = found[0][1:3] == (end, b"") and found[0].start == start == _after_id3(file, 0)
    return [found[0]._replace(start=0)] if is_whole else found


def _mpeg_runs(file: BinaryIO, start: int, end: int) -> Iterator[_Run]:
    """Walk from frame to frame; another kind of frame begins a run of its own."""
    place = _mpeg_first(file, start, end)
    kind, begun, frames = None, place, 0
    while place < end:
        frame = _mpeg_frame(_at(file, place, 4))
        if frame is None:
            behind = _after_tags(file, place, end)
            if behind > place:
                place = behind
                continue
            if _mpeg_first(file, place, end) < end:
                raise ContainerError(f"damaged at byte {place}: no MPEG frame")
            break
        if place + frame[1] > end:
            raise ContainerError("cut short, within its last frame")
        if frame[0] != kind:
            following = _mpeg_frame(_at(file, place + frame[1], 4))
            if kind is not None and (following is None or following[0] != frame[0]):
                raise ContainerError(f"damaged at byte {place}: a frame unlike its neighbours")
            if kind is not None:
                yield _Run(kind, begun, place, frames)
            kind, begun, frames = frame[0], place, 0
        frames += 1
        place += frame[1]
    if kind is not None:
        yield _Run(kind, begun, place, frames)


def _mpeg_first(file: BinaryIO, start: int, end: int) -> int:
    """Return where a frame begins that another frame of its kind follows; `end` if nowhere."""
    block = _at(file, start, min(end - start, _LEADING))
    found = block.find(b"\xff")
    while found >= 0:
        frame = _mpeg_frame(block[found : found + 4])
        if frame is not None:
            behind = start + found + frame[1]
            following = _mpeg_frame(_at(file, behind, 4))
            if following is not None and following[0] == frame[0]:
                return start + found
            if behind == end and found == 0:
                return start
        found = block.find(b"\xff", found + 1)
    return end


def _after_tags(file: BinaryIO, place: int, end: int) -> int:
    """Return where tags (ID3, APE) at `place` end."""
    head = _at(file, place, 32)
    if head[:3] == b"ID3":
        return min(end, _after_id3(file, place))
    if head[:3] == b"TAG":
        return min(end, place + _ID3V1)
    if head[:8] == b"APETAGEX" and len(head) == 32:
        body, is_header = int.from_bytes(head[12:16], "little"), head[23] & 0x20
        return min(end, place + 32 + (body if is_header else 0))
    return place


def _mpeg_part(file: BinaryIO, run: _Run) -> Part:
    """Return a run with the right number of frames before it: that of a Xing header."""
    kind = run.kind
    if kind.layer != 3:
        samples = 384 if kind.layer == 1 else 1152
        return Part(run.start, run.end, frames=run.frames * samples)
    samples = 576 if kind.version else 1152
    first = _at(file, run.start, 4)
    length = _mpeg_frame(first)[1]
    place = 4 + ({True: 17, False: 32} if kind.version == 0 else {True: 9, False: 17})[kind.mono]
    frame = _at(file, run.start, length)
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
    silence = head.ljust(_mpeg_bytes(kind, _XING_CODE, 0), b"\0")
    frame = bytearray(silence)
    size = run.end - run.start + 2 * len(frame)
    delay = (576 if kind.version else 1152) - _DECODER_DELAY
    tag = b"Info" + struct.pack(">III", 3, run.frames + 1, size) + b"LAME"
    frame[place : place + len(tag)] = tag
    frame[place + _XING_DELAY : place + _XING_DELAY + 3] = (delay << 12).to_bytes(3)
    return bytes(frame) + silence
