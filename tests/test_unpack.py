"""Archives: whole, damaged, unsafe, and interrupted."""

import gzip
import io
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from earshot.corpora import unpack as unpacking
from earshot.corpora.unpack import UnpackError, unpack

FILES = {f"top/{i % 3}/{i}.wav": np.random.default_rng(i).bytes(1000 * i) for i in range(12)}
TARS = {"a.tar": "w", "a.tar.gz": "w:gz", "a.tar.bz2": "w:bz2", "a.tar.xz": "w:xz"}
KINDS = [*TARS, "a.zip"]


def make(path: Path, members: dict[str, bytes] = FILES, kind: int = 0) -> Path:
    """Write an archive of files, or (`kind`: a type of tar's, a mode of zip's) of other things."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, body in members.items():
                info = zipfile.ZipInfo(name)
                info.create_system = 3
                info.external_attr = (kind or stat.S_IFREG | 0o644) << 16
                archive.writestr(info, body, zipfile.ZIP_DEFLATED)
        return path
    with tarfile.open(path, TARS[path.name]) as archive:
        for name, body in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(body)
            header.type = kind or tarfile.REGTYPE
            header.linkname = "/etc/passwd" if kind else ""
            archive.addfile(header, io.BytesIO(body))
    return path


def content(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, without the markers."""
    files = (file for file in folder.rglob("*") if file.is_file() and ".unpacked" not in file.parts)
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / ".unpacked").iterdir())


@pytest.mark.parametrize("name", KINDS)
def test_an_archive_is_told_by_its_content(tmp_path, name, capfd):
    archive = make(tmp_path / name).rename(tmp_path / "archive.bin")
    out = tmp_path / "out"
    assert unpack(archive, out) == len(FILES) and content(out) == FILES and archive.exists()
    assert hidden(out) == ["archive.bin.json", "archive.bin.lock"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_leading_folders_are_dropped_and_empty_ones_not_made(tmp_path, name):
    archive = make(tmp_path / name, {"./a/b/c": b"1", "a/d": b"2", "e": b"3"})
    folder = tmp_path / "empty/empty"
    folder.mkdir(parents=True)
    if name == "a.tar":
        with tarfile.open(archive, "a") as tar:
            tar.add(folder, "a/empty")
    else:
        with zipfile.ZipFile(archive, "a") as packed:
            packed.write(folder, "a/empty/")
    assert unpack(archive, tmp_path / "out", strip=1) == 2
    assert content(tmp_path / "out") == {"b/c": b"1", "d": b"2"}
    assert not (tmp_path / "out/empty").exists()


def test_of_two_members_of_one_name_the_last_one_stays(tmp_path):
    archive = make(tmp_path / "a.tar", {"a": b"one"})
    with tarfile.open(archive, "a") as tar:
        header = tarfile.TarInfo("a")
        header.size = 3
        tar.addfile(header, io.BytesIO(b"two"))
    assert unpack(archive, tmp_path / "out") == 1 and content(tmp_path / "out") == {"a": b"two"}


@pytest.mark.parametrize("member", ["/etc/a", "../a", "good/../../a", "..", ".unpacked/b.tar.json"])
@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_nothing_is_written_outside_or_among_the_markers(tmp_path, member, name):
    archive = make(tmp_path / name, {"good/first": b"1", member: b"evil"})
    with pytest.raises(UnpackError, match=f"{name}: '{member}': (outside of the|.unpacked is for)"):
        unpack(archive, tmp_path / "deep/out")
    assert sorted(content(tmp_path)) == [name, "deep/out/good/first"]
    assert hidden(tmp_path / "deep/out") == [f"{name}.lock"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, stat.S_IFLNK])
def test_an_archive_holds_files_and_folders_only(tmp_path, kind):
    archive = make(tmp_path / ("a.tar" if isinstance(kind, bytes) else "a.zip"), {"x": b""}, kind)
    with pytest.raises(UnpackError, match="'x': a link or device"):
        unpack(archive, tmp_path / "out")
    assert not os.path.lexists(tmp_path / "out/x")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.8])
def test_a_truncated_archive_is_refused_and_leaves_no_file(tmp_path, name, share):
    archive = make(tmp_path / name)
    archive.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size) // 512 * 512])
    with pytest.raises(UnpackError, match=f"{name}: damaged, or no archive .*") as caught:
        unpack(archive, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert content(tmp_path / "out") == {} and hidden(tmp_path / "out") == [f"{name}.lock"]


def test_a_tar_without_its_end_is_truncated(tmp_path):
    archive = make(tmp_path / "a.tar", {"a": b"x" * 512, "b": b"y" * 512})
    archive.write_bytes(archive.read_bytes()[:2048])  # two headers, two bodies
    with pytest.raises(UnpackError, match="a.tar: damaged"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("name", [name for name in KINDS if name != "a.tar"])
@pytest.mark.parametrize("place", [0.3, 0.6])
def test_a_corrupt_archive_is_refused_and_a_good_one_mends_it(tmp_path, name, place):
    archive, out = make(tmp_path / name), tmp_path / "out"
    spoilt = bytearray(archive.read_bytes())
    spoilt[int(place * len(spoilt))] ^= 1
    archive.write_bytes(spoilt)
    with pytest.raises(UnpackError, match=f"{name}: damaged"):
        unpack(archive, out)
    assert hidden(out) == [f"{name}.lock"] and content(out) == {}
    make(archive)
    assert unpack(archive, out) == len(FILES) and content(out) == FILES


def test_a_wrong_gzip_checksum_is_noticed_after_the_last_file(tmp_path):
    archive = make(tmp_path / "a.tar.gz")
    spoilt = bytearray(archive.read_bytes())
    spoilt[-8] ^= 1
    archive.write_bytes(spoilt)
    with pytest.raises(UnpackError, match="a.tar.gz: damaged, or no archive .*CRC"):
        unpack(archive, tmp_path / "out")
    assert content(tmp_path / "out") == {}


@pytest.mark.parametrize(
    "body",
    # without the time, which would make another name of the test in each worker
    [b"hello", b"PK nothing", b"\x1f\x8bnothing", gzip.compress(b"no", mtime=0), bytes(100), None],
)
def test_what_is_no_archive_is_refused_by_name(tmp_path, body):
    if body:
        (tmp_path / "a.tar.gz").write_bytes(body)
    with pytest.raises(UnpackError, match="a.tar.gz: (damaged, or no archive|no such file)"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")


def test_what_is_finished_is_not_done_again(tmp_path, monkeypatch):
    archive, out = make(tmp_path / "a.tar.gz"), tmp_path / "out"
    assert unpack(archive, out) == len(FILES)
    marker = json.loads((out / ".unpacked/a.tar.gz.json").read_text())
    size = archive.stat().st_size
    assert marker == {"archive": "a.tar.gz", "files": len(FILES), "bytes": size, "strip": 0}
    (out / "top/0/3.wav").unlink()
    for _ in range(2):  # the second time the archive is gone
        assert unpack(archive, out, keep=False) == len(FILES) and not archive.exists()
    assert len(content(out)) == len(FILES) - 1
    make(archive, {"a/new": b"1"})  # another one of its name
    assert unpack(archive, out) == 1 and unpack(archive, out, strip=2) == 0


def test_the_archive_stays_until_the_marker_is_there(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(unpacking, "write_json", interrupted)
    archive = make(tmp_path / "a.tar")
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", keep=False)
    assert archive.exists()


CODE = """
import sys, time
from pathlib import Path
from earshot.corpora import unpack
move = unpack._Unpacking._move
unpack._Unpacking._move = lambda *file: time.sleep(0.001) or move(*file)
unpack.unpack(*map(Path, sys.argv[1:]))
"""


def run(archive: Path, out: Path, **options) -> subprocess.Popen:
    """Start a process that unpacks slowly."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", CODE, archive, out]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **options)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_a_full_disk_is_named_and_leaves_no_half_file(tmp_path, name):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    archive, out = make(tmp_path / name), tmp_path / "out"
    said = run(archive, out, preexec_fn=limited).communicate(timeout=60)[1].decode()
    assert f"{name}: {out} cannot be written (File too large)" in said
    assert content(out) == {name: body for name, body in FILES.items() if len(body) <= 6000}
    assert hidden(out) == [f"{name}.lock"]
    assert unpack(archive, out) == len(FILES) and content(out) == FILES


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_a_killed_call_leaves_whole_files_and_the_next_keeps_them(tmp_path, name):
    files = {f"{i % 7}/{i}.txt": f"{i}".encode() * (i % 50) for i in range(2000)}
    archive, out = make(tmp_path / name, files), tmp_path / "out"
    process = run(archive, out)
    while sum(1 for _ in out.glob("*/*.txt")) < 200:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    there = content(out)
    assert len(there) < len(files) and all(files[name] == body for name, body in there.items())
    assert f"{name}.json" not in hidden(out)
    kept, short = out / "0/7.txt", out / "1/8.txt"
    short.write_bytes(b"short")
    before = kept.stat()
    assert unpack(archive, out) == len(files) and content(out) == files
    assert hidden(out) == [f"{name}.json", f"{name}.lock"]
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
