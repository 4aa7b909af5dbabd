"""Files that are either whole or absent."""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time

import pytest

from earshot.runtime.files import atomic, atomic_folder, remove_unfinished, sha256, write_json
from earshot.runtime.orphans import die_with_parent


def test_a_file_appears_whole_in_a_folder_made_for_it(tmp_path):
    target = tmp_path / "new" / "folder" / "file"
    with atomic(target) as partial:
        partial.write_text("whole")
        assert partial.parent == target.parent and not target.exists()
    assert target.read_text() == "whole" and list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("before", [None, "old"])
@pytest.mark.parametrize("written", [False, True])
def test_an_exception_leaves_things_as_they_were(tmp_path, before, written):
    target = tmp_path / "file"
    if before:
        target.write_text(before)
    with pytest.raises(KeyboardInterrupt), atomic(target) as partial:
        if written:
            partial.write_text("half")
        raise KeyboardInterrupt
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == (
        {"file": before} if before else {}
    )


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "old"


def test_json_is_sorted_and_ends_its_last_line(tmp_path):
    write_json(tmp_path / "a.json", {"b": {"d": 0.1, "c": 2}, "a": 1})
    sorted_keys = {"a": 1, "b": {"c": 2, "d": 0.1}}
    text = (tmp_path / "a.json").read_text()
    assert text.endswith("}\n") and json.dumps(json.loads(text)) == json.dumps(sorted_keys)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_of_numbers_that_are_not_finite_is_refused(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": {"b": value}})
    assert list(tmp_path.iterdir()) == []


def test_sha256_is_the_known_one(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert (
        sha256(tmp_path / "abc")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    (tmp_path / "large").write_bytes(b"x" * 3_000_001)
    assert sha256(tmp_path / "large") == hashlib.sha256(b"x" * 3_000_001).hexdigest()


def killed_while_writing(path) -> None:
    with atomic(path) as partial:
        partial.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_killed_writers_left_goes_and_what_others_write_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("metrics/scenes/validation/kd.json", "data/scenes/mel.parquet", "data/other/a"):
        writer = multiprocessing.get_context("spawn").Process(
            target=killed_while_writing, args=(name,)
        )
        writer.start()
        writer.join()
    assert len([*tmp_path.rglob("*.partial-*")]) == 3
    with atomic("data/scenes/mine") as mine:
        mine.write_bytes(b"half")
        remove_unfinished("data/scenes", "metrics/scenes/**", "plots/scenes/**")
        left = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.partial-*")}
    assert {path.parent.as_posix() for path in left} == {"data/scenes", "data/other"}
    assert mine in left and (tmp_path / "data/scenes/mine").read_bytes() == b"half"


def test_a_folder_appears_whole_and_what_killed_runs_left_goes(tmp_path):
    target = tmp_path / "new/folder"
    left = tmp_path / "new/.folder.partial-1"
    left.mkdir(parents=True)
    (left / "half").touch()
    with pytest.raises(KeyError), atomic_folder(target) as partial:
        (partial / "file").touch()
        raise KeyError
    assert list((tmp_path / "new").iterdir()) == []
    with atomic_folder(target) as partial:
        (partial / "file").write_text("whole")
        assert not target.exists() and partial.parent == target.parent
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["folder"]
    assert (target / "file").read_text() == "whole"


def _stay(parent: int | None) -> None:
    die_with_parent(parent)
    time.sleep(600)


def _start(given: bool, send) -> None:
    """Start a process that would stay, and be gone by a kill."""
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_stay, args=(os.getpid() if given else None,))
    child.start()
    send.send(child.pid)
    time.sleep(600)


def _is_running(pid: int) -> bool:
    """Return whether a process is there and no zombie, which nobody may wait for here."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize("given", [False, True])
def test_a_process_ends_with_its_parent_however_that_ends(given):
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    parent = context.Process(target=_start, args=(given, send))
    parent.start()
    child = receive.recv()
    assert _is_running(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    end = time.monotonic() + 30
    while _is_running(child) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _is_running(child)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_process_whose_parent_is_gone_already_ends_at_once():
    late = multiprocessing.get_context("fork").Process(target=_stay, args=(2**22 + 1,))
    late.start()
    late.join(30)
    assert late.exitcode == 1
