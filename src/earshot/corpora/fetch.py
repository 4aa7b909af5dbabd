"""Files from the network: resumed after any interruption, checked, and from whichever mirror
answers.
"""

import fcntl
import hashlib
import logging
import os
import random
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath

import requests
import urllib3
from tqdm import tqdm

from earshot.corpora.partial import CHUNK, FetchError, Partial, content_range, discard, held

TIMEOUT = 10.0, 60.0  # seconds to connect, and without a byte
ROUNDS = 6  # over all mirrors of a file, without a byte gained
WAIT, LONGEST_WAIT = (
    1.0,
    300.0,
)  # seconds: after the first round (then doubled), and the most a server may ask for
OFFLINE = "EARSHOT_OFFLINE"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remote:
    """A file to fetch: where to put it, below a folder, its mirrors in order, and what is known of
    its content.
    """

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
        raise FetchError(
            f"{folder}: two files of one name ({', '.join(sorted(remote.name for remote in remotes))})"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        missing = [remote for remote in remotes if not _present(remote, folder)]
        if missing and os.environ.get(OFFLINE, "0") not in ("", "0"):
            raise _by_hand(missing, folder, f"{OFFLINE} is set")
        _room(missing, folder, need)
        if missing:
            _Run(missing, folder).all(parallel)
    return paths


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which stays; while another process holds it, say so once and wait."""
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning("%s: held by another process; waiting", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def pause(stop: threading.Event, seconds: float) -> None:
    """Wait, but not beyond a stop."""
    stop.wait(seconds)


def size(count: float) -> str:
    """Return a number of bytes for people: 6.39GB."""
    return tqdm.format_sizeof(count, "B")


class _Refused(Exception):
    """A mirror that will not do: it is not asked again."""


class _Failed(Exception):
    """A failure that may pass; `after` so many seconds, if the server said."""

    def __init__(self, reason: str, after: float = 0.0):
        super().__init__(reason)
        self.after = after


class _Stopped(Exception):
    """The run ends because of something else."""


class _Run:
    """The downloads of one call: their bar, and a stop that reaches all threads."""

    def __init__(self, missing: Sequence[Remote], folder: Path):
        self.missing, self.folder = missing, folder
        self.reached = False  # any server at all
        self._stop, self._lock, self._local = threading.Event(), threading.Lock(), threading.local()
        self._bodies: list[urllib3.BaseHTTPResponse] = []
        self._counted: set[Remote] = set()
        self._done: set[Remote] = set()
        self._bar = tqdm(
            desc="Fetching",
            total=sum(remote.bytes or 0 for remote in missing),
            initial=sum(held(folder / remote.name) for remote in missing),
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
        """Fetch a file from its mirrors, in rounds with growing waits between them, as long as
        there is hope.
        """
        final = self.folder / remote.name
        mirrors, reasons, failures, asked = deque(remote.urls), {}, 0, 0.0
        with closing(Partial(final)) as partial:
            most = partial.bytes
            while mirrors and failures < ROUNDS * len(mirrors):
                url = mirrors[0]
                try:
                    return self._attempt(remote, url, partial)
                except _Refused as refusal:
                    reasons[url] = str(refusal)
                    mirrors.popleft()
                except _Failed as failure:
                    reasons[url], asked = str(failure), max(asked, failure.after)
                    if (
                        partial.bytes > most
                    ):  # it works, if badly: the same mirror goes on where it was cut
                        most, failures = partial.bytes, 0
                    else:
                        mirrors.rotate(-1)
                    failures += 1
                    if failures % len(mirrors) == 0:
                        grown = (
                            WAIT * 2 ** (failures // len(mirrors) - 1) * random.uniform(0.5, 1.5)
                        )
                        pause(self._stop, max(asked, grown))
                        asked = 0.0
                if self._stop.is_set():
                    raise _Stopped
        if not self.reached:
            missing = [remote for remote in self.missing if remote not in self._done]
            raise _by_hand(
                missing,
                self.folder,
                f"no server can be reached ({next(iter(reasons.values()), 'no URL')})",
            )
        raise FetchError(
            f"{final}: "
            + ("; ".join(f"{url}: {reason}" for url, reason in reasons.items()) or "no URL")
        )

    def _attempt(self, remote: Remote, url: str, partial: Partial) -> None:
        """Fetch the rest of a file from one mirror, check the whole, and put it in place."""
        resumed = partial.bytes > 0
        whole = remote.bytes or partial.source.get("bytes")
        if not resumed or whole is None or partial.bytes < whole:
            self._receive(remote, url, partial)
        if flaw := _flaw(remote, partial.bytes, partial.md5.hexdigest()):
            self._restart(partial, {})
            raise (_Failed if resumed else _Refused)(
                flaw
            )  # bytes of an earlier attempt are not this mirror's fault
        partial.finish()
        self._done.add(remote)

    def _receive(self, remote: Remote, url: str, partial: Partial) -> None:
        """Append what `url` still has to give; from the beginning where it cannot go on."""
        headers = partial.ranges(url, checked=remote.md5 is not None)
        with self._get(url, headers) as answer:
            status = answer.status_code
            if not headers or status not in (206, 416):
                self._append(remote, url, partial, answer, goes_on=False)
                return
            if status == 206 and partial.continued_by(url, answer):
                self._append(remote, url, partial, answer, goes_on=True)
                return
        self._restart(partial, {})
        self._receive(remote, url, partial)

    def _append(
        self, remote: Remote, url: str, partial: Partial, answer: requests.Response, goes_on: bool
    ) -> None:
        """Append the body of an answer, after the bytes there or instead of them."""
        if not goes_on:
            _expect_200(answer)
        whole = content_range(answer)[1] if goes_on else _content_length(answer)
        if remote.bytes is not None and whole not in (None, remote.bytes):
            raise _Refused(f"{whole} bytes, expected {remote.bytes}")
        if whole is None and remote.bytes is None and remote.md5 is None:
            raise _Refused("it says no length, and neither size nor MD5 is known to check it by")
        self._count(remote, whole)
        if not goes_on:
            tags = {
                "etag": answer.headers.get("ETag"),
                "modified": answer.headers.get("Last-Modified"),
            }
            self._restart(partial, {"url": url, "bytes": whole, **tags})
        while data := answer.raw.read1(CHUNK, decode_content=False):
            partial.append(data)
            self._advance(len(data))
            if self._stop.is_set():
                raise _Stopped
        whole = remote.bytes or whole
        if whole is not None and partial.bytes < whole:
            raise _Failed(f"cut at {partial.bytes} of {whole} bytes")

    @contextmanager
    def _get(self, url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        """Yield an answer whose body is still to be read."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        headers = {"Accept-Encoding": "identity", **headers}
        try:
            with self._local.session.get(
                url, headers=headers, stream=True, timeout=TIMEOUT
            ) as answer:
                self.reached = True
                with self._lock:
                    self._bodies.append(answer.raw)
                try:
                    if self._stop.is_set():
                        raise _Stopped
                    yield answer
                finally:
                    with self._lock:
                        self._bodies.remove(answer.raw)
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            urllib3.exceptions.HTTPError,
        ) as error:
            raise _Failed(_reason(error)) from None
        except requests.RequestException as error:
            self.reached = True  # it is not for want of a network
            raise _Refused(_reason(error)) from None

    def _count(self, remote: Remote, whole: int | None) -> None:
        """Let the bar know a size that only the server knew."""
        with self._lock:
            if remote.bytes is None and whole and remote not in self._counted:
                self._counted.add(remote)
                self._bar.total = (self._bar.total or 0) + whole

    def _restart(self, partial: Partial, source: dict) -> None:
        self._advance(-partial.bytes)
        partial.restart(source)

    def _advance(self, count: int) -> None:
        with self._lock:
            self._bar.update(count)

    def _halt(self) -> None:
        """Let all threads end soon, even those that wait for a server's next byte."""
        self._stop.set()
        with self._lock:
            for body in self._bodies:
                with suppress(RuntimeError, ValueError, OSError):  # it has just ended by itself
                    body.shutdown()


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise FetchError(f"{name!r}: not a name below a folder")
    return name


def _present(remote: Remote, folder: Path) -> bool:
    """Say whether a file is there and right; if it is there and wrong, tell."""
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


def _room(missing: Sequence[Remote], folder: Path, need: int) -> None:
    """Raise FetchError when the disk of `folder` is too full for the bytes to come and `need` bytes
    besides.
    """
    coming = sum(max(0, (remote.bytes or 0) - held(folder / remote.name)) for remote in missing)
    free = shutil.disk_usage(folder).free
    if coming + need > free:
        parts = f"{size(coming)} to fetch, {size(need)} besides"
        raise FetchError(
            f"{folder}: {size(coming + need)} needed on its disk ({parts}), {size(free)} free"
        )


def _by_hand(missing: Sequence[Remote], folder: Path, why: str) -> FetchError:
    lines = [
        f"{remote.urls[0] if remote.urls else 'no URL'}"
        f" ({'size unknown' if remote.bytes is None else size(remote.bytes)}) to {(folder / remote.name).absolute()}"
        for remote in missing
    ]
    return FetchError(
        "\n  ".join([f"{folder}: {len(lines)} missing, and {why}; put there by hand", *lines])
    )


def _expect_200(answer: requests.Response) -> None:
    """Raise what another status means: try again, or ask elsewhere."""
    status = answer.status_code
    if status in (408, 425, 429) or status >= 500:
        raise _Failed(f"{status} {answer.reason}", _retry_after(answer))
    if status != 200:
        raise _Refused(f"{status} {answer.reason}")


def _retry_after(answer: requests.Response) -> float:
    """Return how many seconds the server asks to wait: a number, or until a date."""
    value = answer.headers.get("Retry-After", "")
    try:
        seconds = (
            float(value)
            if value.isdigit()
            else parsedate_to_datetime(value).timestamp() - time.time()
        )
    except ValueError:
        return 0.0
    return min(max(0.0, seconds), LONGEST_WAIT)


def _content_length(answer: requests.Response) -> int | None:
    length = answer.headers.get("Content-Length", "")
    chunked = "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
    return int(length) if length.isdigit() and not chunked else None


def _reason(error: Exception) -> str:
    """Return the innermost reason of a failed request, in one line."""
    inner = error.args[0] if error.args else error
    return " ".join(str(getattr(inner, "reason", inner)).split()) or type(error).__name__
