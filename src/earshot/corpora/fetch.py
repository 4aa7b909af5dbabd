"""Files from the network: resumed after any interruption, checked, from the first mirror that has
them.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, InvalidHeader, ProtocolError
from urllib3.util import Retry

from earshot.corpora.partial import CHUNK, FetchError, Partial, begun, content_range, discard

TIMEOUT = 10.0, 60.0  # seconds to connect, and without a byte
# How often a mirror is asked again without a byte gained, and the longest waits (seconds).
PATIENCE = {
    "total": None,
    "connect": 2,
    "read": 5,
    "status": 5,
    "other": 0,
    "status_forcelist": (408, 425, 429, 500, 502, 503, 504),
    "backoff_factor": 1.0,
    "backoff_jitter": 1.0,
    "backoff_max": 60.0,
    "retry_after_max": 300,
}
OFFLINE = "EARSHOT_OFFLINE"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remote:
    """A file to fetch: its name below a folder, its mirrors in order, and what is known of it."""

    name: str
    urls: tuple[str, ...]
    bytes: int | None = None
    md5: str | None = None  # hex digits


def fetch(remotes: Sequence[Remote], folder: Path, parallel: int = 4, need: int = 0) -> list[Path]:
    """Fetch what is not there yet, `parallel` files at once, into `folder`; return the files, in
    the order of `remotes`.

    A file has its final name only once its size and MD5 were checked. Until then its bytes lie
    beside it in `.NAME.partial`, from where any later call goes on. A file that is there already is
    checked, and fetched anew if it is wrong. Only one process at a time fetches into a folder;
    others wait.

    `need` bytes are wanted on the same disk besides, and asked for in advance. With
    `EARSHOT_OFFLINE=1` in the environment nothing is connected to. Raises FetchError; what other
    files have got by then stays for later.
    """
    folder = Path(folder)
    paths = [folder / _inside(remote.name) for remote in remotes]
    if len(set(paths)) < len(paths):
        names = ", ".join(sorted(remote.name for remote in remotes))
        raise FetchError(f"{folder}: two files of one name ({names})")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        missing = [remote for remote in remotes if not _present(remote, folder)]
        if missing and os.environ.get(OFFLINE, "0") not in ("", "0"):
            raise _by_hand(missing, folder, f"{OFFLINE} is set")
        _check_room(missing, folder, need)
        if missing:
            _Run(missing, folder).all(parallel)
    return paths


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which stays; while another process holds it, say so and wait."""
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning("%s: held by another process; waiting", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def size(count: float) -> str:
    """Return a number of bytes for people: 6.39GB."""
    return tqdm.format_sizeof(count, "B")


class _Refused(Exception):
    """A mirror that does not have the file."""


class _Stopped(Exception):
    """The run ends because of something else."""


class _Patience(Retry):
    """urllib3's Retry, but a stop of the run ends its waits."""

    def __init__(self, stop: threading.Event, **settings: Any):
        super().__init__(**settings)
        self.stop = stop

    def new(self, **settings: Any) -> "_Patience":
        return super().new(stop=self.stop, **settings)

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        seconds = None
        with suppress(InvalidHeader):
            seconds = response and self.get_retry_after(response)
        self.stop.wait(seconds or self.get_backoff_time())


class _Run:
    """The downloads of one call: their bar, and a stop that reaches all threads."""

    def __init__(self, missing: Sequence[Remote], folder: Path):
        self.missing, self.folder = missing, folder
        self.reached = False  # any server at all
        self.done: set[Remote] = set()
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._patience = _Patience(self._stop, **PATIENCE)
        self._bodies: dict[Remote, BaseHTTPResponse] = {}
        self._bar = tqdm(
            desc="Fetching",
            total=sum(remote.bytes or 0 for remote in missing) or None,
            initial=sum(begun(folder / remote.name) for remote in missing),
            unit="B",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def all(self, parallel: int) -> None:
        """Fetch all; the first failure, or an interrupt, stops the rest."""
        with self._bar, ThreadPoolExecutor(parallel) as pool:
            try:
                for job in as_completed([pool.submit(self.one, remote) for remote in self.missing]):
                    job.result()
            finally:
                self._halt()
                pool.shutdown(cancel_futures=True)

    def one(self, remote: Remote) -> None:
        """Fetch a file from the first mirror that gives it whole."""
        final, reasons = self.folder / remote.name, {}
        with closing(Partial(final)) as partial, requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=self._patience))
            for url in remote.urls:
                try:
                    return self._from_mirror(session, remote, url, partial)
                except (requests.RequestException, HTTPError, _Refused) as error:
                    silent = isinstance(error, (requests.ConnectionError, requests.Timeout))
                    self.reached = self.reached or not silent
                    reasons[url] = _reason(error)
        if not self.reached:
            missing = [one for one in self.missing if one not in self.done]
            first = next(iter(reasons.values()), "no URL")
            raise _by_hand(missing, self.folder, f"no server can be reached ({first})")
        failures = [f"{url}: {reason}" for url, reason in reasons.items()]
        raise FetchError(f"{final}: " + ("; ".join(failures) or "no URL"))

    def _from_mirror(
        self, session: requests.Session, remote: Remote, url: str, partial: Partial
    ) -> None:
        """Fetch the rest of a file from a mirror, however often it is cut; check and place it."""
        patience = self._patience
        while not self._stop.is_set():
            resumed = partial.bytes
            whole = remote.bytes or partial.source.get("bytes")
            if not resumed or whole is None or resumed < whole:
                try:
                    self._receive(session, remote, url, partial)
                except HTTPError as error:
                    gained = partial.bytes > resumed
                    start = self._patience if gained else patience
                    patience = start.increment("GET", url, error=error)
                    patience.sleep()
                    continue
            flaw = _flaw(remote, partial.bytes, partial.md5.hexdigest())
            if not flaw:
                partial.finish()
                self.done.add(remote)
                return
            self._restart(partial, {})
            if not resumed:  # else the bytes of an earlier attempt may be to blame
                raise _Refused(flaw)
        raise _Stopped

    def _receive(
        self, session: requests.Session, remote: Remote, url: str, partial: Partial
    ) -> None:
        """Append what `url` still has to give; from the beginning where it cannot go on."""
        ranges = partial.ranges(url, checked=remote.md5 is not None)
        headers = {"Accept-Encoding": "identity", **ranges}
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            self.reached = True
            self._bodies[remote] = response.raw
            status = response.status_code
            if not ranges or status not in (206, 416):
                self._append(remote, url, partial, response)
                return
            if status == 206 and partial.continued_by(url, response):
                self._append(remote, url, partial, response, goes_on=True)
                return
        self._restart(partial, {})
        self._receive(session, remote, url, partial)

    def _append(
        self,
        remote: Remote,
        url: str,
        partial: Partial,
        response: requests.Response,
        goes_on: bool = False,
    ) -> None:
        """Append a body, after the bytes there or instead of them."""
        if not goes_on and response.status_code != 200:
            raise _Refused(f"{response.status_code} {response.reason}")
        whole = content_range(response)[1] if goes_on else _content_length(response)
        if remote.bytes is not None and whole not in (None, remote.bytes):
            raise _Refused(f"{whole} bytes, expected {remote.bytes}")
        if whole is None and remote.bytes is None and remote.md5 is None:
            raise _Refused("no length, and neither size nor MD5 is known to check it by")
        if not goes_on:
            etag = response.headers.get("ETag")
            self._restart(partial, {"url": url, "bytes": whole, "etag": etag})
        while not self._stop.is_set() and (data := response.raw.read1(CHUNK, decode_content=False)):
            partial.append(data)
            self._advance(len(data))
        if self._stop.is_set():
            raise _Stopped
        whole = remote.bytes or whole
        if whole is not None and partial.bytes < whole:
            raise ProtocolError(f"cut at {partial.bytes} of {whole} bytes")

    def _restart(self, partial: Partial, source: dict) -> None:
        self._advance(-partial.bytes)
        partial.restart(source)

    def _advance(self, count: int) -> None:
        with self._lock:
            self._bar.update(count)

    def _halt(self) -> None:
        """Let all threads end soon, even those that wait for a server's next byte."""
        self._stop.set()
        for body in list(self._bodies.values()):
            with suppress(RuntimeError, ValueError, OSError):  # it has ended by itself
                body.shutdown()


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise FetchError(f"{name!r}: not a name below a folder")
    return name


def _present(remote: Remote, folder: Path) -> bool:
    """Return whether a file is there and right; if it is there and wrong, tell."""
    path = folder / remote.name
    if not path.exists():
        return False
    with open(path, "rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest() if remote.md5 else ""
    if flaw := _flaw(remote, path.stat().st_size, md5):
        _log.warning("%s: %s; fetching it anew", path, flaw)
        return False
    discard(path)
    return True


def _flaw(remote: Remote, count: int, md5: str) -> str | None:
    """Return what is wrong with a file of so many bytes and that digest."""
    if remote.bytes is not None and count != remote.bytes:
        return f"{count} bytes, expected {remote.bytes}"
    if remote.md5 is not None and md5 != remote.md5.lower():
        return f"MD5 {md5}, expected {remote.md5.lower()}"
    return None


def _check_room(missing: Sequence[Remote], folder: Path, need: int) -> None:
    """Raise FetchError when the disk is too full for the bytes to come and `need` besides."""
    coming = sum(max(0, (remote.bytes or 0) - begun(folder / remote.name)) for remote in missing)
    free = shutil.disk_usage(folder).free
    if coming + need > free:
        parts = f"{size(coming)} to fetch, {size(need)} besides"
        wanted = f"{size(coming + need)} needed on its disk ({parts})"
        raise FetchError(f"{folder}: {wanted}, {size(free)} free")


def _by_hand(missing: Sequence[Remote], folder: Path, why: str) -> FetchError:
    lines = [f"{folder}: {len(missing)} missing, and {why}; put there by hand"]
    for remote in missing:
        url = remote.urls[0] if remote.urls else "no URL"
        count = "size unknown" if remote.bytes is None else size(remote.bytes)
        lines.append(f"{url} ({count}) to {(folder / remote.name).absolute()}")
    return FetchError("\n  ".join(lines))


def _content_length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    return int(length) if length.isdigit() and not chunked else None


def _reason(error: Exception) -> str:
    """Return the innermost reason of a failed request, in one line."""
    inner = error.args[0] if error.args else error
    reason = getattr(error, "reason", None) or getattr(inner, "reason", None) or inner
    return " ".join(str(reason).split()) or type(error).__name__
