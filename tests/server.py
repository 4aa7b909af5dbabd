"""A small HTTP server on 127.0.0.1 that keeps a log, and misbehaves where it is told to.

>>> with Server({"/a": b"content"}) as server:
# the first two requests; the third one succeeds
...     server.faults["/a"] = [Status(503), Cut(3)]
...     requests.get(server.url("/a")).status_code
503
"""

import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

PIECE = 16384  # bytes sent at once


@dataclass(frozen=True)
class Status:
    """Answer this status instead, with these headers (`{"Retry-After": "7"}`, `{"Location": ...}`)."""

    code: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """Close the connection after so many bytes of the body."""

    after: int


@dataclass(frozen=True)
class Hang:
    """Send so many bytes of the body, and then nothing until the server stops."""

    after: int


@dataclass(frozen=True)
class Slow:
    """Wait so many seconds after each piece of so many bytes."""

    seconds: float
    piece: int = PIECE


@dataclass(frozen=True)
class Length:
    """Say this Content-Length, whatever the body's is."""

    bytes: int


@dataclass(frozen=True)
class Wrong:
    """Send another body under the headers (ETag) of the file."""

    body: bytes


@dataclass(frozen=True)
class NoRange:
    """Send the whole file whatever range is asked for."""


@dataclass(frozen=True)
class Chunked:
    """Send the body in chunks, without a Content-Length."""


@dataclass
class Request:
    """What was asked, and how many bytes of a body went out so far."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    status: int = 0
    sent: int = 0

    @property
    def start(self) -> int:
        """The first byte asked for."""
        return int(re.match(r"bytes=(\d+)-", self.headers.get("range", "bytes=0-"))[1])


class Server:
    """Serves `files` until the end of a `with` block; all of its dictionaries may be changed
    meanwhile.
    """

    def __init__(self, files: dict[str, bytes | Path] | None = None):
        self.files: dict[str, bytes | Path] = files or {}
        self.headers: dict[
            str, dict[str, str | None]
        ] = {}  # of a file, besides the usual ones or (None) without one
        self.faults: dict[str, list] = {}  # each is for one request
        self.always: dict[str, object] = {}  # a fault for all others
        self.routes: dict[
            str, Callable[[Handler], None]
        ] = {}  # what answers all paths with a prefix
        self.log: list[Request] = []
        self.over = threading.Event()
        self._server = _Http(("127.0.0.1", 0), Handler)
        self._server.owner = self

    def __enter__(self) -> "Server":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def add(self, folder: Path, prefix: str = "") -> None:
        """Serve all files below a folder."""
        self.files |= {
            f"{prefix}/{file.relative_to(folder)}": file
            for file in folder.rglob("*")
            if file.is_file()
        }

    def requests(self, path: str) -> list[Request]:
        return [request for request in self.log if request.path == path]

    def sent(self, path: str | None = None) -> int:
        """Return how many bytes of bodies went out, of one path or of all."""
        return sum(request.sent for request in self.log if path in (None, request.path))

    def wait(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait until something is true; AssertionError if it takes too long."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"still not after {seconds} s; asked so far: {self.log}"
            time.sleep(0.005)


class Handler(BaseHTTPRequestHandler):
    """Answers one connection. A route gets it with `.path`, `.headers`, `.server.owner`, and calls
    `.reply` or `.send`.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.asked = Request(
            self.command, urlsplit(self.path).path, {k.lower(): v for k, v in self.headers.items()}
        )
        owner, path = self.server.owner, self.asked.path
        owner.log.append(self.asked)
        faults = owner.faults.get(path)
        fault = faults.pop(0) if faults else owner.always.get(path)
        routes = [prefix for prefix in owner.routes if path.startswith(prefix)]
        if isinstance(fault, Status):
            self.reply(fault.code, b"", fault.headers)
        elif routes:
            owner.routes[max(routes, key=len)](self)
        elif path in owner.files:
            content = owner.files[path]
            body = content.read_bytes() if isinstance(content, Path) else content
            self.send(body, owner.headers.get(path, {}), fault)
        else:
            self.reply(404)

    do_HEAD = do_POST = do_GET

    def reply(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Answer with a status and a short body."""
        self._head(code, {"Content-Length": str(len(body)), **(headers or {})})
        self._body(body, None)

    def send(
        self, body: bytes, headers: dict[str, str | None] | None = None, fault: object = None
    ) -> None:
        """Answer with a file: with an ETag, and only the range that was asked for if it is
        (If-Range) still the same.
        """
        tags = {
            "ETag": f'"{hashlib.md5(body).hexdigest()}"',
            "Accept-Ranges": "bytes",
            **(headers or {}),
        }
        body = fault.body if isinstance(fault, Wrong) else body
        start, condition = self.asked.start, self.headers.get("If-Range")
        same = condition is None or condition in (tags.get("ETag"), tags.get("Last-Modified"))
        if "Range" not in self.headers or not same or isinstance(fault, NoRange):
            code, part = 200, body
        elif start >= len(body):
            return self.reply(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        else:
            code, part = 206, body[start:]
            tags["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        length = fault.bytes if isinstance(fault, Length) else len(part)
        way = (
            {"Transfer-Encoding": "chunked"}
            if isinstance(fault, Chunked)
            else {"Content-Length": str(length)}
        )
        self._head(code, {**way, **tags})
        self._body(part[:length], fault)
        if length > len(part):
            self._cut()

    def log_message(self, *_) -> None:
        pass

    def _head(self, code: int, headers: dict[str, str | None]) -> None:
        self.asked.status = code
        self.send_response(code)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def _body(self, body: bytes, fault: object) -> None:
        if self.command == "HEAD":
            return
        end = fault.after if isinstance(fault, Cut | Hang) else len(body)
        piece = fault.piece if isinstance(fault, Slow) else PIECE
        chunked = isinstance(fault, Chunked)
        try:
            for start in range(0, min(end, len(body)), piece):
                part = body[start : min(start + piece, end)]
                self.wfile.write(
                    f"{len(part):x}\r\n".encode() + part + b"\r\n" if chunked else part
                )
                self.asked.sent += len(part)
                if isinstance(fault, Slow) and self.server.owner.over.wait(fault.seconds):
                    return
            if chunked:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:  # whoever asked has gone
            self.close_connection = True
        if isinstance(fault, Hang):
            self.server.owner.over.wait()
        if isinstance(fault, Cut | Hang):
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    owner: Server

    def server_bind(self) -> None:
        # Little waits between the two ends, so that what was sent is nearly what was received.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
        super().server_bind()

    def handle_error(self, *_) -> None:
        pass
