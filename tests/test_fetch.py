"""Files from the network, from servers that misbehave."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from server import Fault, Server

from earshot.corpora import fetch as fetching
from earshot.corpora.fetch import FetchError, Remote, fetch

BODY = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)
UNKNOWN = {"bytes": None, "md5": None}


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def remote(server: Server, *paths: str, body: bytes = BODY, name: str = "a.tar", **known) -> Remote:
    """Return a file of known size and MD5, if not told otherwise."""
    facts = {"bytes": len(body), "md5": md5(body), **known}
    return Remote(name, tuple(server.url(path) for path in paths or ("/a",)), **facts)


def partial(folder: Path, name: str = "a.tar") -> Path:
    return folder / f".{name}.partial"


def begin(folder: Path, body: bytes, **source) -> None:
    """Leave what a killed run would: the beginning of a file, and a note on its source."""
    partial(folder).write_bytes(body)
    Path(f"{partial(folder)}.json").write_text(json.dumps(source))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def asked(server: Server) -> list[tuple[str, int]]:
    return [(request.path, request.start) for request in server.log]


@pytest.fixture
def server():
    with Server({"/a": BODY, "/b": BODY}) as server:
        yield server


@pytest.fixture(autouse=True)
def waits(monkeypatch) -> list[float]:
    """The seconds that would have been waited."""
    found: list[float] = []
    wait = threading.Event.wait

    def noted(event, timeout=None):
        if isinstance(timeout, float | int) and sys._getframe(1).f_code.co_name == "sleep":
            found.append(timeout)
            timeout = 0
        return wait(event, timeout)

    monkeypatch.setattr(threading.Event, "wait", noted)
    monkeypatch.delenv("EARSHOT_OFFLINE", raising=False)
    return found


# whole files


def test_files_are_fetched_in_the_order_asked_and_nothing_else_stays(server, tmp_path, capfd):
    bodies = [BODY[: 1000 * i] for i in range(6)]
    server.files |= {f"/{i}": body for i, body in enumerate(bodies)}
    remotes = [remote(server, f"/{i}", body=bodies[i], name=f"sub/{i}") for i in range(6)]
    paths = fetch(remotes, tmp_path, parallel=3)
    assert [path.read_bytes() for path in paths] == bodies
    assert names(tmp_path) == [".lock", "sub"] and names(tmp_path / "sub") == list("012345")
    assert capfd.readouterr() == ("", "")
    assert fetch(remotes, tmp_path) == paths and len(server.log) == 6


def test_a_wrong_file_that_is_there_is_fetched_anew(server, tmp_path, caplog):
    for wrong, flaw in (BODY[:-1], "299999 bytes, expected 300000"), (OTHER, f"MD5 {md5(OTHER)}"):
        (tmp_path / "a.tar").write_bytes(wrong)
        assert fetch([remote(server)], tmp_path)[0].read_bytes() == BODY
        assert flaw in caplog.messages[-1]


@pytest.mark.parametrize("names", [["/etc/a"], ["a/../../b"], [""], ["a", "a"]])
def test_names_stay_below_the_folder_and_differ(tmp_path, names):
    with pytest.raises(FetchError, match="not a name below a folder|two files of one name"):
        fetch([Remote(name, ()) for name in names], tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


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
    fetch([remote(server, name=str(i)) for i in range(6)], tmp_path, parallel=2)
    assert len(most) == 6 and max(most) == 2


# resuming


@pytest.mark.parametrize("known", [{}, {"md5": None}, {"bytes": None}, UNKNOWN])
def test_a_cut_connection_goes_on_where_it_was_cut(server, tmp_path, known):
    server.faults["/a"] = [Fault(cut=n) for n in (100_000, 50_000, *[20_000] * 6)]
    assert fetch([remote(server, **known)], tmp_path)[0].read_bytes() == BODY
    assert [start for _, start in asked(server)][:3] == [0, 100_000, 150_000]
    server.wait(lambda: server.sent() == len(BODY))  # it counts a piece when it is gone


def test_the_next_run_resumes_the_same_file_only(server, tmp_path):
    server.faults["/a"] = [Fault(cut=70_000), Fault(status=404)]
    with pytest.raises(FetchError, match="a.tar: http.*/a: 404 Not Found"):
        fetch([remote(server, **UNKNOWN)], tmp_path)
    assert partial(tmp_path).read_bytes() == BODY[:70_000]
    assert fetch([remote(server, **UNKNOWN)], tmp_path)[0].read_bytes() == BODY
    last = server.log[-1]
    assert (last.start, last.headers["if-range"], last.status) == (70_000, f'"{md5(BODY)}"', 206)
    assert names(tmp_path) == [".lock", "a.tar"]


@pytest.mark.parametrize(
    ("begun", "known", "fault", "asked_for"),
    [
        (BODY, {}, Fault(ranges=False), [(1000, 200)]),  # a server without ranges
        (BODY, {}, Fault(status=416), [(1000, 416), (0, 200)]),
        (OTHER, {}, Fault(), [(1000, 206), (0, 200)]),  # damaged: no fault of the mirror
        (OTHER, UNKNOWN, Fault(), [(1000, 200)]),  # it changed meanwhile
    ],
)
def test_what_cannot_go_on_starts_again(server, tmp_path, begun, known, fault, asked_for):
    begin(tmp_path, begun[:1000], url=server.url("/a"), etag=f'"{md5(begun)}"', bytes=len(BODY))
    if not known:
        begin(tmp_path, begun[:1000])
    server.faults["/a"] = [fault]
    assert fetch([remote(server, **known)], tmp_path)[0].read_bytes() == BODY
    assert [(request.start, request.status) for request in server.log] == asked_for


def test_a_server_that_ignores_if_range_is_seen_by_its_etag(server, tmp_path):
    begin(tmp_path, OTHER[:1000], url=server.url("/a"), etag='"old"', bytes=len(BODY))

    def ignorant(handler):
        del handler.headers["If-Range"]
        handler.send(BODY)

    server.routes["/a"] = ignorant
    assert fetch([remote(server, **UNKNOWN)], tmp_path)[0].read_bytes() == BODY
    assert [(r.start, r.status) for r in server.log] == [(1000, 206), (0, 200)]


@pytest.mark.parametrize(("known", "start"), [({}, 100_000), ({"md5": None}, 0)])
def test_another_mirror_goes_on_only_where_an_md5_will_tell(server, tmp_path, known, start):
    server.faults["/a"] = [Fault(cut=100_000), Fault(status=404)]
    fetch([remote(server, "/a", "/b", **known)], tmp_path)
    assert asked(server) == [("/a", 0), ("/a", 100_000), ("/b", start)]


@pytest.mark.parametrize("extra", [b"", b"too long"])
def test_all_bytes_there_but_unnamed(server, tmp_path, extra):
    begin(tmp_path, BODY + extra)
    assert fetch([remote(server)], tmp_path)[0].read_bytes() == BODY
    assert len(server.log) == bool(extra)


# mirrors and patience


@pytest.mark.parametrize("fault", [Fault(status=404), Fault(status=403), Fault(body=OTHER)])
def test_a_mirror_without_the_file_is_left_at_once(server, tmp_path, waits, fault):
    server.always["/a"] = fault
    assert fetch([remote(server, "/a", "/b")], tmp_path)[0].read_bytes() == BODY
    assert asked(server) == [("/a", 0), ("/b", 0)] and waits == []


def test_wrong_bytes_everywhere_are_an_error_with_both_digests(server, tmp_path):
    server.files = {"/a": OTHER, "/b": OTHER}
    message = rf"a\.tar: .*/a: MD5 {md5(OTHER)}, expected {md5(BODY)}; .*/b: MD5"
    with pytest.raises(FetchError, match=message) as caught:
        fetch([remote(server, "/a", "/b", md5=md5(BODY).upper())], tmp_path)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == [".lock"] and len(server.log) == 2


@pytest.mark.parametrize(
    ("fault", "known", "message"),
    [
        (Fault(length=1000), {}, "1000 bytes, expected 300000"),
        (Fault(length=1000), {"bytes": None}, "MD5 .*, expected"),
        (Fault(length=300_001), {}, "300001 bytes, expected 300000"),
        (Fault(length=300_001), UNKNOWN, "more expected|416"),
        (Fault(chunked=True), UNKNOWN, "no length, and neither size nor MD5"),
        (Fault(body=OTHER[:-1], chunked=True), {}, "cut at|MD5|416"),
    ],
)
def test_a_wrong_length_is_noticed(server, tmp_path, fault, known, message):
    server.always["/a"] = fault
    with pytest.raises(FetchError, match=f"a.tar: .*({message})"):
        fetch([remote(server, **known)], tmp_path)
    assert not (tmp_path / "a.tar").exists()


def test_server_errors_are_waited_out_longer_and_longer_as_asked(server, tmp_path, waits):
    later = {"Retry-After": "7"}
    server.faults["/a"] = [Fault(status=n) for n in (500, 502, 504)]
    server.faults["/a"] += [Fault(status=429, headers=later), Fault(cut=0)]
    assert fetch([remote(server)], tmp_path)[0].read_bytes() == BODY
    assert waits[0] < 1 and 2 <= waits[1] <= 3 and 4 <= waits[2] <= 5 and waits[3] == 7
    server.faults["/b"] = [
        Fault(status=503, headers={"Retry-After": value}) for value in ("99999", "soon")
    ]
    fetch([remote(server, "/b", name="b")], tmp_path)
    assert waits[-2] == 300 and waits[-1] <= 3


def test_patience_ends(server, tmp_path):
    server.always = {"/a": Fault(status=503), "/b": Fault(cut=0)}
    with pytest.raises(FetchError, match="a.tar: .*/a: too many 503 .*; .*/b: "):
        fetch([remote(server, "/a", "/b")], tmp_path)
    assert len(server.log) == 2 * (fetching.PATIENCE["status"] + 1)


def test_a_silent_server_is_a_timeout(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT", (1.0, 0.3))
    server.faults["/a"] = [Fault(hang=50_000)]
    assert fetch([remote(server)], tmp_path)[0].read_bytes() == BODY
    assert asked(server) == [("/a", 0), ("/a", 50_000)]


def test_redirects_are_followed_and_keep_the_range(server, tmp_path):
    server.always["/old"] = Fault(status=302, headers={"Location": server.url("/a")})
    server.faults["/a"] = [Fault(cut=1000)]
    assert fetch([remote(server, "/old")], tmp_path)[0].read_bytes() == BODY
    assert asked(server) == [("/old", 0), ("/a", 0), ("/old", 1000), ("/a", 1000)]
    server.always["/a"] = Fault(status=302, headers={"Location": server.url("/old")})
    with pytest.raises(FetchError, match="b: .*/old: Exceeded 30 redirects"):
        fetch([remote(server, "/old", name="b")], tmp_path)


# without a network, without room


def test_without_a_network_everything_missing_is_listed(server, tmp_path):
    with Server() as gone:
        nowhere = gone.url()
    down = Remote("a.tar", (f"{nowhere}/a", server.url("/a")), len(BODY), md5(BODY))
    assert fetch([down], tmp_path)[0].read_bytes() == BODY  # one mirror is down
    remotes = [
        Remote("a.tar", (f"{nowhere}/there",), len(BODY), md5(BODY)),
        Remote("b", (f"{nowhere}/a", f"{nowhere}/b"), 6_390_000_000),
        Remote("sub/c", (f"{nowhere}/c",)),
    ]
    with pytest.raises(FetchError) as caught:
        fetch(remotes, tmp_path)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"{tmp_path}: 2 missing, and no server can be reached (")
    assert "Connection refused" in first
    assert lines == [
        f"  {nowhere}/a (6.39GB) to {tmp_path}/b",
        f"  {nowhere}/c (size unknown) to {tmp_path}/sub/c",
    ]


def test_offline_nothing_is_connected_to(server, tmp_path, monkeypatch):
    monkeypatch.setenv("EARSHOT_OFFLINE", "1")
    with pytest.raises(FetchError, match=r"1 missing, and EARSHOT_OFFLINE is set; .*\n  http.*/a "):
        fetch([remote(server)], tmp_path)
    (tmp_path / "a.tar").write_bytes(BODY)
    assert fetch([remote(server)], tmp_path) == [tmp_path / "a.tar"]
    assert server.log == []


def test_room_is_asked_for_in_advance(server, tmp_path, monkeypatch):
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: usage(9e9, 8e9, 1_300_000))
    partial(tmp_path).write_bytes(BODY[:100_000])
    remotes = [remote(server), remote(server, "/b", name="b", bytes=None)]
    message = r": 1.30MB needed on its disk \(200kB to fetch, 1.10MB besides\), 1.30MB free"
    with pytest.raises(FetchError, match=message):
        fetch(remotes, tmp_path, need=1_100_001)
    assert server.log == []
    fetch(remotes, tmp_path, need=1_100_000)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EFBIG])
def test_a_full_disk_names_the_file_and_keeps_what_fitted(server, tmp_path, monkeypatch, error):
    write = os.write

    def full(descriptor, data):
        if os.fstat(descriptor).st_size >= 100_000:
            raise OSError(error, os.strerror(error))
        return write(descriptor, data[: 100_000 - os.fstat(descriptor).st_size])

    monkeypatch.setattr(os, "write", full)
    message = f"a.tar: {os.strerror(error)} after 100000 bytes, which are kept"
    with pytest.raises(FetchError, match=message):
        fetch([remote(server)], tmp_path)
    assert partial(tmp_path).read_bytes() == BODY[:100_000]


# stops


def run(folder: Path, remotes: list[Remote], **options) -> subprocess.Popen:
    """Start a process that fetches."""
    code = f"""
from pathlib import Path, PosixPath
from earshot.corpora.fetch import Remote, fetch
fetch({remotes!r}, {folder!r})
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **options)


def test_the_first_failure_stops_the_rest_and_leaves_what_they_got(server, tmp_path):
    server.always["/slow"] = Fault(hang=60_000)
    server.files["/slow"] = BODY

    def gone(handler):
        slow = partial(tmp_path, "slow")
        server.wait(lambda: slow.exists() and slow.stat().st_size == 60_000)
        handler.reply(404)

    server.routes["/gone"] = gone
    first = [remote(server, f"/{name}", name=name) for name in ("slow", "gone")]
    later = [remote(server, name=f"later-{i}") for i in range(5)]
    with pytest.raises(FetchError, match="gone: .*404"):
        fetch([*first, *later], tmp_path, parallel=2)
    assert partial(tmp_path, "slow").read_bytes() == BODY[:60_000]
    assert len(server.log) < 7


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_what_it_got_and_the_next_goes_on(server, tmp_path, kill):
    server.always["/a"] = Fault(hang=60_000)

    def interruptible():  # a shell's background jobs ignore it
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = run(tmp_path, [remote(server)], preexec_fn=interruptible)
    server.wait(lambda: partial(tmp_path).exists() and partial(tmp_path).stat().st_size == 60_000)
    process.send_signal(kill)
    said = process.communicate(timeout=30)[1]
    assert process.returncode and (kill == signal.SIGKILL or b"KeyboardInterrupt" in said)
    del server.always["/a"]
    assert fetch([remote(server)], tmp_path)[0].read_bytes() == BODY
    server.wait(lambda: server.sent() == len(BODY))


def test_two_at_once_fetch_each_file_once(server, tmp_path):
    both = threading.Event()
    server.routes["/a"] = lambda handler: both.wait(60) and handler.send(BODY)
    remotes = [remote(server), remote(server, "/b", name="b")]
    first = run(tmp_path, remotes)
    server.wait(lambda: server.log)
    second = run(tmp_path, remotes)
    assert second.stderr.readline() == b"%s/.lock: held by another process; waiting\n" % bytes(
        tmp_path
    )
    both.set()
    assert [process.communicate(timeout=60)[1] for process in (first, second)] == [b"", b""]
    assert len(server.log) == 2 and names(tmp_path) == [".lock", "a.tar", "b"]
