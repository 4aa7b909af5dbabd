"""A file that is not whole yet: the bytes that came, their source, and how to ask for the rest."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

CHUNK = 1 << 20  # bytes


class FetchError(ValueError):
    """Files that could not be fetched: one line, and one more for each file to fetch by hand."""


class Partial:
    """The first bytes of a file in `.NAME.partial`, and a note on their source beside them.

    Nothing is buffered: what was appended survives a killed process.
    """

    def __init__(self, final: Path):
        self.final, (self.path, self.note) = final, beside(final)
        self.source = read_json(self.note)  # url, etag, bytes of the whole
        self.bytes, self.md5 = 0, hashlib.md5(usedforsecurity=False)
        with self._writing():
            final.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 (closed by close)
        self.file.seek(0)
        while data := self.file.read(CHUNK):
            self.md5.update(data)
            self.bytes += len(data)

    def append(self, data: bytes) -> None:
        """Add bytes to the end; FetchError when the disk takes no more."""
        rest = memoryview(data)
        while rest:
            with self._writing():
                written = os.write(self.file.fileno(), rest)
            self.md5.update(rest[:written])
            self.bytes += written
            rest = rest[written:]

    def restart(self, source: dict) -> None:
        """Forget all bytes; the next ones come from `source`."""
        with self._writing():
            self.file.truncate(0)
            self.note.write_text(json.dumps(source))  # torn, it costs nothing: there are no bytes
        self.source, self.bytes, self.md5 = source, 0, hashlib.md5(usedforsecurity=False)

    def ranges(self, url: str, checked: bool) -> dict[str, str]:
        """Return the headers that ask `url` for the rest.

        Without an MD5 to tell (`checked`), bytes of two versions must not mix: only the same
        address with a strong ETag goes on, and none is returned otherwise.
        """
        etag = self.source.get("etag") or ""
        if not self.bytes:
            return {}
        if self.source.get("url") == url and etag.startswith('"'):
            return {"Range": f"bytes={self.bytes}-", "If-Range": etag}
        return {"Range": f"bytes={self.bytes}-"} if checked else {}

    def continued_by(self, url: str, response: requests.Response) -> bool:
        """Return whether a 206 goes on where these bytes end, in the same file."""
        start, total = content_range(response)
        known, etag = self.source.get("bytes"), self.source.get("etag")
        same = self.source.get("url") != url or response.headers.get("ETag") == etag
        return start == self.bytes and same and (None in (total, known) or total == known)

    def finish(self) -> None:
        """Give the file its final name."""
        with self._writing():
            os.fsync(self.file.fileno())
            os.replace(self.path, self.final)
            self.note.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave the bytes for later; without any, leave nothing."""
        self.file.close()
        if not self.bytes:
            discard(self.final)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kept = f"{error.strerror} after {self.bytes} bytes, which are kept"
            raise FetchError(f"{self.final}: {kept}") from None


def beside(final: Path) -> tuple[Path, Path]:
    """Return where the unfinished bytes of a file lie, and the note on their source."""
    return final.with_name(f".{final.name}.partial"), final.with_name(f".{final.name}.partial.json")


def begun(final: Path) -> int:
    """Return how many bytes of an unfinished file are there."""
    partial = beside(final)[0]
    return partial.stat().st_size if partial.exists() else 0


def discard(final: Path) -> None:
    """Forget the unfinished bytes of a file."""
    for path in beside(final):
        path.unlink(missing_ok=True)


def read_json(path: Path) -> dict:
    """Return the object in a file, or an empty one where there is none or it is torn."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """Return the first byte of a body and the size of the whole; None where the header lacks it."""
    header = response.headers.get("Content-Range", "").strip()
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", header)
    if not match:
        return None, None
    return int(match[1]), None if match[2] == "*" else int(match[2])
