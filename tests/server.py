"""A small HTTP server on 127.0.0.1 that keeps a log, and misbehaves where it is told to.

>>> with Server({"/a": b"content"}) as server:
...     server.faults["/a"] = [Fault(status=503), Fault(cut=3)]  # of its first two requests
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
class Fault:
    """What goes wrong with one request."""

    status: int | None = None  # instead of the file
    headers: dict[str, str] = field(default_factory=dict)  # of that status
    cut: int | None = None  # close the connection after so many bytes of the body
    hang: int | None = None  # send so many bytes, then nothing until the server stops
    length: int | None = None  # say this Content-Length
    body: bytes | None = None  # send this under the headers of the file
    ranges: bool = True  # False: send the whole file whatever range is asked for
    chunked: bool = False  # no Content-Length


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
    """Serves `files` in a `with` block; all of its dictionaries may be changed meanwhile."""

    def __init__(self, files: dict[str, bytes | Path] | None = None):
        self.files: dict[str, bytes | Path] = files or {}
        self.headers: dict[str, dict[str, str | None]] = {}  # of a path; None takes one away
        self.faults: dict[str, list[Fault]] = {}  # of a path, each for one request
        self.always: dict[str, Fault] = {}  # of a path, for all others
        self.routes: dict[str, Callable[[Handler], None]] = {}  # by a prefix of paths
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
    """One connection. A route gets it, reads `.asked` and `.fault`, calls `.send` or `.reply`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked = Request(self.command, path, headers)
        owner = self.server.owner
        owner.log.append(self.asked)
        faults = owner.faults.get(path)
        fault = faults.pop(0) if faults else owner.always.get(path, Fault())
        self.fault = fault
        routes = [prefix for prefix in owner.routes if path.startswith(prefix)]
        if fault.status:
            self.reply(fault.status, b"", fault.headers)
        elif routes:
            owner.routes[routes[0]](self)
        elif path in owner.files:
            content = owner.files[path]
            body = content.read_bytes() if isinstance(content, Path) else content
            self.send(body, owner.headers.get(path), fault)
        else:
            self.reply(404)

    do_HEAD = do_POST = do_GET

    def reply(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Answer with a status and a short body."""
        self._head(code, {"Content-Length": str(len(body)), **(headers or {})})
        self._body(body, Fault())

    def send(
        self,
        body: bytes,
        headers: dict[str, str | None] | None = None,
        fault: Fault = Fault(),
    ) -> None:
        """Answer with a file, or the range asked for if the file is the same (If-Range)."""
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        tags = {"ETag": etag, "Accept-Ranges": "bytes", **(headers or {})}
        body = body if fault.body is None else fault.body
        start, condition = self.asked.start, self.headers.get("If-Range")
        code, part = 200, body
        if "Range" in self.headers and condition in (None, tags["ETag"]) and fault.ranges:
            if start >= len(body):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            code, part = 206, body[start:]
            tags["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        length = len(part) if fault.length is None else fault.length
        tags["Content-Length"] = str(length)
        if fault.chunked:
            tags |= {"Content-Length": None, "Transfer-Encoding": "chunked"}
        self._head(code, tags)
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

    def _body(self, body: bytes, fault: Fault) -> None:
        if self.command == "HEAD":
            return
        end = next((n for n in (fault.cut, fault.hang) if n is not None), len(body))
        try:
            for start in range(0, min(end, len(body)), PIECE):
                part = body[start : min(start + PIECE, end)]
                chunk = b"%x\r\n%b\r\n" % (len(part), part)
                self.wfile.write(chunk if fault.chunked else part)
                self.asked.sent += len(part)
            if fault.chunked:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:  # whoever asked has gone
            self.close_connection = True
        if fault.hang is not None:
            self.server.owner.over.wait()
        if end < len(body):
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
