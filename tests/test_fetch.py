"""Files from the network, from servers that misbehave."""

import errno
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest

from earshot.corpora import fetch as fetching
from earshot.corpora.fetch import FetchError, Remote, fetch, locked
from tests.server import Chunked, Cut, Hang, Length, NoRange, Server, Slow, Status, Wrong

ROOT = Path(__file__).parents[1]
BODY = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)
IN_FLIGHT = 64 * 1024  # bytes between a server's `send` and a client's file, in two socket buffers


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def remote(server: Server, *paths: str, body: bytes = BODY, name: str = "a.tar", **known) -> Remote:
    """Return a file of known size and MD5, if not told otherwise."""
    return Remote(
        name,
        tuple(server.url(path) for path in paths),
        **{"bytes": len(body), "md5": md5(body), **known},
    )


def partial(folder: Path, name: str = "a.tar") -> Path:
    return folder / f".{name}.partial"


def begun(folder: Path, body: bytes, **source) -> None:
    """Leave what a killed run would: the beginning of a file, and a note on where it came from."""
    partial(folder).write_bytes(body)
    Path(f"{partial(folder)}.json").write_text(json.dumps(source))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def server():
    with Server({"/a": BODY, "/b": BODY}) as server:
        yield server


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> list[float]:
    """The seconds that would have been waited."""
    waited: list[float] = []
    monkeypatch.setattr(fetching, "pause", lambda stop, seconds: waited.append(seconds))
    monkeypatch.delenv("EARSHOT_OFFLINE", raising=False)
    return waited


@pytest.fixture
def nowhere() -> str:
    """An address where nobody listens."""
    with Server() as server:
        return server.url()


def test_files_are_fetched_in_the_order_asked_and_nothing_else_stays(server, tmp_path, capfd):
    server.files |= {f"/{i}": BODY[: 1000 * i] for i in range(6)}
    remotes = [remote(server, f"/{i}", body=BODY[: 1000 * i], name=f"sub/{i}") for i in range(6)]
    paths = fetch(remotes, tmp_path / "new", parallel=3)
    assert [path.read_bytes() for path in paths] == [BODY[: 1000 * i] for i in range(6)]
    assert names(tmp_path / "new") == [".lock", "sub"] and names(tmp_path / "new" / "sub") == list(
        "012345"
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "known", [{}, {"md5": None}, {"bytes": None}, {"bytes": None, "md5": None}]
)
def test_a_cut_connection_goes_on_where_it_was_cut(server, tmp_path, known):
    server.faults["/a"] = [Cut(100_000), Cut(50_000)]
    [path] = fetch([remote(server, "/a", **known)], tmp_path)
    assert path.read_bytes() == BODY
    assert [request.start for request in server.requests("/a")] == [0, 100_000, 150_000]
    assert server.sent() == len(BODY)


def test_a_connection_that_is_cut_over_and_over_still_ends(server, tmp_path):
    server.always["/a"] = Cut(20_000)
    assert fetch([remote(server, "/a")], tmp_path)[0].read_bytes() == BODY
    assert server.sent() == len(BODY) and len(server.log) == 15 > fetching.ROUNDS


@pytest.mark.parametrize("weak", [False, True])
def test_the_next_run_resumes_with_if_range(server, tmp_path, weak):
    tag, date = '"one"', formatdate(0, usegmt=True)
    server.headers["/a"] = {"ETag": f"W/{tag}" if weak else tag, "Last-Modified": date}
    server.faults["/a"] = [Cut(70_000), Status(404)]
    with pytest.raises(FetchError, match="a.tar: http.*/a: 404 Not Found"):
        fetch([remote(server, "/a")], tmp_path)
    assert partial(tmp_path).read_bytes() == BODY[:70_000]
    assert fetch([remote(server, "/a")], tmp_path)[0].read_bytes() == BODY
    last = server.log[-1]
    assert (last.start, last.headers["if-range"], last.status) == (
        70_000,
        date if weak else tag,
        206,
    )
    assert names(tmp_path) == [".lock", "a.tar"]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.faults["/a"] = [Cut(100_000), NoRange()]
    assert fetch([remote(server, "/a")], tmp_path)[0].read_bytes() == BODY
    assert [(r.start, r.status) for r in server.log] == [(0, 200), (100_000, 200)]


def test_a_range_refused_starts_again(server, tmp_path):
    begun(tmp_path, BODY[:1000], url=server.url("/a"), etag='"x"', bytes=len(BODY))
    server.faults["/a"] = [Status(416)]
    assert fetch([remote(server, "/a")], tmp_path)[0].read_bytes() == BODY
    assert [(r.start, r.status) for r in server.log] == [(1000, 416), (0, 200)]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("dates", [True, False])
def test_a_file_that_changed_meanwhile_starts_again(server, tmp_path, known, dates):
    server.headers["/a"] = {"ETag": None, "Last-Modified": formatdate(0)} if dates else {}
    server.faults["/a"] = [Cut(100_000), Status(404)]
    with pytest.raises(FetchError):
        fetch([remote(server, "/a", bytes=None, md5=None)], tmp_path)
    server.files["/a"] = OTHER
    server.headers["/a"] = {"ETag": None, "Last-Modified": formatdate(9)} if dates else {}
    facts = {"bytes": len(OTHER), "md5": md5(OTHER)} if known else {"bytes": None, "md5": None}
    assert fetch([remote(server, "/a", **facts)], tmp_path)[0].read_bytes() == OTHER
    assert [r.status for r in server.log] == [200, 404, 200] and server.log[-1].start == 100_000


def test_a_server_that_ignores_if_range_is_seen_by_its_etag(server, tmp_path):
    begun(tmp_path, OTHER[:1000], url=server.url("/a"), etag='"old"', bytes=len(BODY))

    def ignorant(handler):
        del handler.headers["If-Range"]
        handler.send(BODY)

    server.routes["/a"] = ignorant
    assert fetch([remote(server, "/a", bytes=None, md5=None)], tmp_path)[0].read_bytes() == BODY
    assert [(r.start, r.status) for r in server.log] == [(1000, 206), (0, 200)]


def test_bytes_without_a_note_are_used_only_where_an_md5_will_tell(server, tmp_path):
    partial(tmp_path).write_bytes(BODY[:1000])
    fetch([remote(server, "/a")], tmp_path)
    partial(tmp_path, "b").write_bytes(BODY[:1000])
    fetch([remote(server, "/b", name="b", md5=None)], tmp_path)
    assert [r.start for r in server.log] == [1000, 0]
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b").read_bytes() == BODY


def test_damaged_bytes_of_an_earlier_run_are_not_held_against_the_mirror(server, tmp_path):
    begun(tmp_path, OTHER[:1000], url=server.url("/a"), etag=f'"{md5(BODY)}"', bytes=len(BODY))
    assert fetch([remote(server, "/a")], tmp_path)[0].read_bytes() == BODY
    assert [r.start for r in server.log] == [1000, 0]


@pytest.mark.parametrize("extra", [b"", b"too long"])
def test_all_bytes_there_but_unnamed(server, tmp_path, extra):
    begun(tmp_path, BODY + extra)
    assert fetch([remote(server, "/a")], tmp_path)[0].read_bytes() == BODY
    assert len(server.log) == bool(extra)


def test_another_mirror_goes_on_where_the_md5_will_tell(server, tmp_path):
    server.faults["/a"] = [Cut(100_000), Status(404)]
    fetch([remote(server, "/a", "/b")], tmp_path)
    assert [(r.path, r.start) for r in server.log] == [("/a", 0), ("/a", 100_000), ("/b", 100_000)]
    server.log.clear()
    server.faults["/a"] = [Cut(100_000), Status(404)]
    fetch([remote(server, "/a", "/b", name="b", md5=None)], tmp_path)
    assert [(r.path, r.start) for r in server.log] == [("/a", 0), ("/a", 100_000), ("/b", 0)]


@pytest.mark.parametrize("status", [404, 403, 410])
def test_what_is_not_there_is_asked_of_the_next_mirror_at_once(server, tmp_path, pauses, status):
    server.always["/a"] = Status(status)
    assert fetch([remote(server, "/a", "/b")], tmp_path)[0].read_bytes() == BODY
    assert [r.path for r in server.log] == ["/a", "/b"] and pauses == []


def test_wrong_bytes_are_asked_of_the_next_mirror(server, tmp_path):
    server.always["/a"] = Wrong(OTHER)
    assert fetch([remote(server, "/a", "/b")], tmp_path)[0].read_bytes() == BODY
    assert [(r.path, r.start) for r in server.log] == [("/a", 0), ("/b", 0)]


def test_wrong_bytes_everywhere_are_an_error_with_both_digests(server, tmp_path):
    server.files = {"/a": OTHER, "/b": OTHER}
    with pytest.raises(
        FetchError, match=rf"a\.tar: .*/a: MD5 {md5(OTHER)}, expected {md5(BODY)}; .*/b: MD5"
    ) as caught:
        fetch([remote(server, "/a", "/b")], tmp_path)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == [".lock"] and len(server.log) == 2


def test_an_md5_may_be_in_capitals(server, tmp_path):
    assert fetch([remote(server, "/a", md5=md5(BODY).upper())], tmp_path)[0].exists()


@pytest.mark.parametrize("known", [{}, {"md5": None}, {"bytes": None}])
def test_a_length_too_short_is_noticed(server, tmp_path, known):
    server.always["/a"] = Length(1000)
    with pytest.raises(FetchError, match="a.tar: .*(1000 bytes, expected 300000|MD5 .*, expected)"):
        fetch([remote(server, "/a", **known)], tmp_path)
    assert names(tmp_path) == [".lock"]


def test_a_length_too_long_is_noticed(server, tmp_path):
    server.always["/a"] = Length(300_001)
    with pytest.raises(FetchError, match="a.tar: .*300001 bytes, expected 300000"):
        fetch([remote(server, "/a")], tmp_path)
    with pytest.raises(FetchError, match="a.tar: .*(1 more expected|cut at|416)"):
        fetch([remote(server, "/a", bytes=None, md5=None)], tmp_path)
    assert not (tmp_path / "a.tar").exists()


def test_without_any_length_a_digest_is_needed(server, tmp_path):
    server.always["/a"] = Chunked()
    assert fetch([remote(server, "/a", bytes=None)], tmp_path)[0].read_bytes() == BODY
    with pytest.raises(FetchError, match="/a: it says no length"):
        fetch([remote(server, "/a", name="b", bytes=None, md5=None)], tmp_path)


def test_server_errors_are_waited_out_longer_and_longer(server, tmp_path, pauses):
    server.faults["/a"] = [Status(503), Status(500), Status(502), Status(504)]
    assert fetch([remote(server, "/a")], tmp_path)[0].read_bytes() == BODY
    assert [0.5 * 2**i <= pause <= 1.5 * 2**i for i, pause in enumerate(pauses)] == [True] * 4


@pytest.mark.parametrize(
    "asked, low, high",
    [
        ("7", 7, 7),
        ("99999", 300, 300),
        ("soon", 0.5, 1.5),
        (200, 1, 200),  # a date so many seconds ahead
        (formatdate(0), 0.5, 1.5),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_may_ask_for_patience(server, tmp_path, pauses, status, asked, low, high):
    said = asked if isinstance(asked, str) else formatdate(time.time() + asked)
    server.faults["/a"] = [Status(status, {"Retry-After": said})]
    fetch([remote(server, "/a")], tmp_path)
    assert len(pauses) == 1 and low <= pauses[0] <= high


def test_mirrors_take_turns_and_patience_ends(server, tmp_path, pauses):
    server.always = {"/a": Status(503), "/b": Status(429)}
    with pytest.raises(
        FetchError, match="a.tar: .*/a: 503 Service Unavailable; .*/b: 429 Too Many Requests"
    ):
        fetch([remote(server, "/a", "/b")], tmp_path)
    assert [r.path for r in server.log] == ["/a", "/b"] * fetching.ROUNDS and len(
        pauses
    ) == fetching.ROUNDS


def test_a_silent_server_is_a_timeout(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT", (1.0, 0.3))
    server.faults["/a"] = [Hang(50_000)]
    assert fetch([remote(server, "/a")], tmp_path)[0].read_bytes() == BODY
    assert [r.start for r in server.log] == [0, 50_000]


def test_a_mirror_that_is_down_is_passed_over(server, tmp_path, nowhere):
    both = Remote("a.tar", (f"{nowhere}/a", server.url("/a")), len(BODY), md5(BODY))
    assert fetch([both], tmp_path)[0].read_bytes() == BODY


def test_redirects_are_followed_and_keep_the_range(server, tmp_path):
    server.always["/old"] = Status(302, {"Location": server.url("/a")})
    server.faults["/a"] = [Cut(1000)]
    assert fetch([remote(server, "/old")], tmp_path)[0].read_bytes() == BODY
    assert [(r.path, r.start) for r in server.log] == [
        ("/old", 0),
        ("/a", 0),
        ("/old", 1000),
        ("/a", 1000),
    ]


def test_redirects_in_a_circle_end(server, tmp_path):
    server.always["/a"] = Status(302, {"Location": server.url("/a")})
    with pytest.raises(FetchError, match="a.tar: .*/a: Exceeded 30 redirects"):
        fetch([remote(server, "/a")], tmp_path)


@pytest.mark.parametrize("known", [{}, {"md5": None}, {"bytes": None}])
def test_a_file_that_is_there_is_checked_and_used(server, tmp_path, capfd, known):
    (tmp_path / "a.tar").write_bytes(BODY)
    begun(tmp_path, b"left by a kill just before the end")
    fetch([remote(server, "/a", **known)], tmp_path)
    assert (
        server.log == [] and capfd.readouterr().err == "" and names(tmp_path) == [".lock", "a.tar"]
    )


@pytest.mark.parametrize(
    "wrong, flaw", [(BODY[:-1], "299999 bytes, expected 300000"), (OTHER, "MD5 .*, expected ")]
)
def test_a_wrong_file_that_is_there_is_fetched_anew(server, tmp_path, caplog, wrong, flaw):
    (tmp_path / "a.tar").write_bytes(wrong)
    assert fetch([remote(server, "/a")], tmp_path)[0].read_bytes() == BODY
    (said,) = caplog.messages
    assert re.search(rf"a\.tar: {flaw}.*; fetching it anew", said)


def test_an_empty_file(server, tmp_path):
    server.files["/a"] = b""
    assert fetch([remote(server, "/a", body=b"")], tmp_path)[0].read_bytes() == b""
    assert (
        fetch([remote(server, "/a", name="b", bytes=None, md5=None)], tmp_path)[0].read_bytes()
        == b""
    )


@pytest.mark.parametrize("name", ["/etc/a", "../a", "a/../../b", "", "."])
def test_names_stay_below_the_folder(tmp_path, name):
    with pytest.raises(FetchError, match="not a name below a folder"):
        fetch([Remote(name, ())], tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_file_without_a_mirror_is_for_hands(server, tmp_path):
    with pytest.raises(FetchError, match="1 missing.*no URL"):
        fetch([remote(server)], tmp_path)


def test_names_are_told_apart(tmp_path):
    with pytest.raises(FetchError, match="two files of one name .a, a"):
        fetch([Remote("a", ()), Remote("a", ())], tmp_path)


def test_so_many_at_once_and_no_more(server, tmp_path):
    lock, now, most = threading.Lock(), set(), []

    def counted(handler):
        with lock:
            now.add(handler)
            most.append(len(now))
        time.sleep(0.05)
        with lock:
            now.remove(handler)
        handler.send(BODY)

    server.routes["/a"] = counted
    fetch([remote(server, "/a", name=str(i)) for i in range(6)], tmp_path, parallel=2)
    assert len(most) == 6 and max(most) <= 2


def test_the_first_failure_stops_the_rest_and_leaves_what_they_got(server, tmp_path):
    server.files["/slow"] = BODY
    server.always = {"/slow": Hang(60_000)}

    def gone(handler):
        server.wait(
            lambda: (
                server.sent("/slow") == 60_000
                and partial(tmp_path, "slow").stat().st_size == 60_000
            )
        )
        handler.reply(404)

    server.routes["/gone"] = gone
    waiting = [remote(server, "/a", name=f"later-{i}") for i in range(5)]
    with pytest.raises(FetchError, match="gone: .*404"):
        fetch(
            [remote(server, "/slow", name="slow"), remote(server, "/gone", name="gone"), *waiting],
            tmp_path,
            parallel=2,
        )
    assert partial(tmp_path, "slow").read_bytes() == BODY[:60_000]
    assert len(server.requests("/a")) < len(waiting)
    del server.always["/slow"]
    fetch([remote(server, "/slow", name="slow")], tmp_path)
    assert server.log[-1].start == 60_000


def test_an_interrupt_ends_it_and_leaves_what_was_got(server, tmp_path):
    server.always["/a"] = Hang(60_000)

    def hear():  # a shell's background jobs ignore it
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = run(FETCH, tmp_path, [remote(server, "/a")], stderr=subprocess.PIPE, preexec_fn=hear)
    server.wait(lambda: partial(tmp_path).exists() and partial(tmp_path).stat().st_size == 60_000)
    process.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in process.communicate(timeout=30)[1] and process.returncode
    assert partial(tmp_path).read_bytes() == BODY[:60_000]
    del server.always["/a"]
    assert fetch([remote(server, "/a")], tmp_path)[0].read_bytes() == BODY
    assert server.sent() == len(BODY)


def test_one_bar_for_all_bytes_on_a_terminal(server, tmp_path, monkeypatch):
    bars = []

    class Bar(fetching.tqdm):
        def __init__(self, *_, **options):
            bars.append(self)
            self.options = options
            super().__init__(**{**options, "disable": False, "file": io.StringIO()})

    monkeypatch.setattr(fetching, "tqdm", Bar)
    begun(tmp_path, BODY[:1000], url=server.url("/a"), etag=f'"{md5(BODY)}"', bytes=len(BODY))
    server.faults["/b"] = [Cut(5000), NoRange()]
    fetch([remote(server, "/a"), remote(server, "/b", name="b", bytes=None, md5=None)], tmp_path)
    [bar] = bars
    assert (bar.initial, bar.n, bar.total, bar.unit) == (1000, 2 * len(BODY), 2 * len(BODY), "B")
    assert bar.options["disable"] is not sys.stderr.isatty()


def test_room_is_asked_for_in_advance(server, tmp_path, monkeypatch):
    asked = []
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(
        fetching.shutil, "disk_usage", lambda path: asked.append(path) or usage(9e9, 8e9, 1_300_000)
    )
    partial(tmp_path).write_bytes(BODY[:100_000])
    remotes = [remote(server, "/a"), remote(server, "/b", name="b", bytes=None)]
    with pytest.raises(
        FetchError,
        match=r": 1.30MB needed on its disk \(200kB to fetch, 1.10MB besides\), 1.30MB free",
    ) as caught:
        fetch(remotes, tmp_path, need=1_100_001)
    assert (
        str(caught.value).startswith(f"{tmp_path}: ") and server.log == [] and asked == [tmp_path]
    )
    fetch(remotes, tmp_path, need=1_100_000)
    with pytest.raises(FetchError, match="0.00B to fetch, 5.00GB besides"):
        fetch(remotes, tmp_path, need=5 * 10**9)


def test_a_full_disk_names_the_file_and_keeps_what_fitted(server, tmp_path, monkeypatch):
    write = os.write

    def full(descriptor, data):
        if os.fstat(descriptor).st_size >= 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[: 100_000 - os.fstat(descriptor).st_size])

    monkeypatch.setattr(fetching.os, "write", full)
    with pytest.raises(
        FetchError, match="a.tar: No space left on device after 100000 bytes, which are kept"
    ):
        fetch([remote(server, "/a")], tmp_path)
    assert partial(tmp_path).read_bytes() == BODY[:100_000]
    monkeypatch.undo()
    assert fetch([remote(server, "/a")], tmp_path)[0].read_bytes() == BODY
    assert [r.start for r in server.log] == [0, 100_000]


def test_a_file_too_large_for_its_limit_is_a_full_disk_too(server, tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = run(
        FETCH, tmp_path, [remote(server, "/a")], stderr=subprocess.PIPE, preexec_fn=limited
    )
    said = process.communicate(timeout=60)[1].decode()
    assert "a.tar: File too large after 100000 bytes, which are kept" in said
    assert partial(tmp_path).read_bytes() == BODY[:100_000]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 200 kB, where the system lets us make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.getuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], capture_output=True
        ).returncode
    ):
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_small_disk_that_is_really_full(server, small_disk):
    with pytest.raises(FetchError, match="300kB needed on its disk .* free"):
        fetch([remote(server, "/a")], small_disk)
    with pytest.raises(
        FetchError, match="a.tar: No space left on device after [0-9]+ bytes, which are kept"
    ):
        fetch([remote(server, "/a", bytes=None)], small_disk)
    held = partial(small_disk).read_bytes()
    assert (
        100_000 < len(held) < 210_000
        and BODY.startswith(held)
        and not (small_disk / "a.tar").exists()
    )


def test_without_a_network_everything_missing_is_listed(tmp_path, nowhere):
    (tmp_path / "there").write_bytes(BODY)
    remotes = [
        Remote("there", (f"{nowhere}/there",), len(BODY), md5(BODY)),
        Remote("a.tar", (f"{nowhere}/a", f"{nowhere}/b"), 6_390_000_000),
        Remote("sub/b", (f"{nowhere}/c",)),
    ]
    with pytest.raises(FetchError) as caught:
        fetch(remotes, tmp_path)
    first, *lines = str(caught.value).splitlines()
    assert (
        first.startswith(f"{tmp_path}: 2 missing, and no server can be reached (")
        and "Connection refused" in first
    )
    assert lines == [
        f"  {nowhere}/a (6.39GB) to {tmp_path}/a.tar",
        f"  {nowhere}/c (size unknown) to {tmp_path}/sub/b",
    ]


def test_offline_nothing_is_connected_to(server, tmp_path, monkeypatch):
    monkeypatch.setenv("EARSHOT_OFFLINE", "1")
    with pytest.raises(
        FetchError, match=r"1 missing, and EARSHOT_OFFLINE is set; .*\n  http.*/a .300kB. to "
    ):
        fetch([remote(server, "/a")], tmp_path)
    (tmp_path / "a.tar").write_bytes(BODY)
    assert fetch([remote(server, "/a")], tmp_path) == [tmp_path / "a.tar"]
    assert server.log == []


def test_memory_does_not_grow_with_the_file(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "CHUNK", 4096)
    read = []
    append = fetching.Partial.append
    monkeypatch.setattr(
        fetching.Partial, "append", lambda self, data: read.append(len(data)) or append(self, data)
    )
    fetch([remote(server, "/a")], tmp_path)
    assert max(read) <= 4096 and sum(read) == len(BODY)


def test_a_lock_is_for_one_at_a_time(tmp_path, caplog):
    order = []

    def second():
        with locked(tmp_path / ".lock"):
            order.append("second")

    with locked(tmp_path / ".lock"):
        thread = threading.Thread(target=second)
        thread.start()
        while not caplog.messages:
            time.sleep(0.01)
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and caplog.messages == [
        f"{tmp_path}/.lock: held by another process; waiting"
    ]


FETCH = """
import json, sys
from pathlib import Path
from earshot.corpora.fetch import FetchError, Remote, fetch
folder, remotes = Path(sys.argv[1]), json.loads(sys.argv[2])
fetch([Remote(name, tuple(urls), size, md5) for name, urls, size, md5 in remotes], folder)
"""
FETCH_AND_UNPACK = f"""{FETCH}
from earshot.unpack import unpack
for name, *_ in remotes:
    unpack(folder / name, folder / "out")
"""


def run(code: str, folder: Path, remotes: list[Remote], **options) -> subprocess.Popen:
    """Start a process that fetches."""
    told = json.dumps([(remote.name, remote.urls, remote.bytes, remote.md5) for remote in remotes])
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), told], env=environment, **options
    )


def test_two_at_once_fetch_each_file_once(server, tmp_path):
    both = threading.Event()
    server.routes["/a"] = lambda handler: both.wait(60) and handler.send(BODY)
    remotes = [remote(server, "/a"), remote(server, "/b", name="b")]
    first = run(FETCH, tmp_path, remotes, stderr=subprocess.PIPE)
    server.wait(lambda: server.log)
    second = run(FETCH, tmp_path, remotes, stderr=subprocess.PIPE)
    assert (
        second.stderr.readline().decode() == f"{tmp_path}/.lock: held by another process; waiting\n"
    )
    both.set()
    assert [process.communicate(timeout=60)[1] for process in (first, second)] == [b"", b""]
    assert (first.returncode, second.returncode) == (0, 0) and len(server.log) == 2
    assert names(tmp_path) == [".lock", "a.tar", "b"]


@pytest.mark.slow
def test_thirty_kills_end_in_the_right_files(tmp_path):
    """12 MB at 1.6 MB/s: each run gets a part of them, and goes on exactly where the last one
    ended.
    """
    archives = {f"{i}.tar": _archive(tmp_path / f"{i}.tar", i) for i in range(4)}
    total = sum(map(len, archives.values()))
    chance, folder = random.Random(0), tmp_path / "folder"
    held, kills, asked = dict.fromkeys(archives, 0), 0, 0
    with Server({f"/{name}": body for name, body in archives.items()}) as server:
        server.always = {f"/{name}": Slow(0.02, 8192) for name in archives}
        remotes = [
            remote(server, f"/{name}", body=body, name=name) for name, body in archives.items()
        ]
        while _killed(run(FETCH_AND_UNPACK, folder, remotes), server, asked, chance):
            kills += 1
            if kills == 30:
                server.always, chance = {}, None
            assert all(request.start == held[request.path[1:]] for request in server.log[asked:])
            asked, held = len(server.log), {name: _held(folder / name) for name in archives}
            assert server.sent() - sum(held.values()) <= kills * len(archives) * IN_FLIGHT
        assert kills >= 20
        assert all(request.start == held[request.path[1:]] for request in server.log[asked:])
        assert server.sent() <= total + kills * len(archives) * IN_FLIGHT
        print(f"{kills} kills, {server.sent()} bytes sent for {total}")
    for i, (name, body) in enumerate(archives.items()):
        assert (folder / name).read_bytes() == body
        assert (folder / "out" / f"{i}.wav").read_bytes() == np.random.default_rng(i).bytes(
            3_000_000
        )
    assert not list(folder.glob(".*.partial*"))


def _killed(
    process: subprocess.Popen, server: Server, asked: int, chance: random.Random | None
) -> bool:
    """Kill a process soon after its first request, and say whether it died of that; let it end well
    without `chance`.
    """
    if chance:
        server.wait(lambda: process.poll() is not None or len(server.log) > asked)
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
    code = process.wait(timeout=120)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def _held(final: Path) -> int:
    return next(
        (
            path.stat().st_size
            for path in (final, partial(final.parent, final.name))
            if path.exists()
        ),
        0,
    )


def _archive(path: Path, seed: int) -> bytes:
    """Return a tar of one file of 3 MB."""
    content = path.with_suffix(".wav")
    content.write_bytes(np.random.default_rng(seed).bytes(3_000_000))
    with tarfile.open(path, "w") as tar:
        tar.add(content, content.name)
    return path.read_bytes()
