"""Archives: whole, damaged, unsafe, and interrupted."""

import errno
import gzip
import io
import json
import os
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

from earshot.corpora import unpack as unpacking
from earshot.corpora.unpack import UnpackError, unpack

ROOT = Path(__file__).parents[1]
FILES = {f"top/{i % 3}/{i}.wav": np.random.default_rng(i).bytes(1000 * i) for i in range(12)}
TARS = {"a.tar": "w", "a.tar.gz": "w:gz", "a.tgz": "w:gz", "a.tar.bz2": "w:bz2", "a.tar.xz": "w:xz"}
KINDS = [*TARS, "a.zip"]


def tar(path: Path, members: dict[str, bytes] | list[tarfile.TarInfo], mode: str = "w") -> Path:
    """Write a tar of files, or of bare headers."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            header = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            body = b"" if isinstance(member, tarfile.TarInfo) else members[member]
            header.size = len(body)
            archive.addfile(header, io.BytesIO(body))
    return path


def zipped(path: Path, members: dict[str, bytes], mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            info = zipfile.ZipInfo(name)
            info.filename, info.external_attr, info.create_system = name, mode << 16, 3
            archive.writestr(info, body, zipfile.ZIP_DEFLATED)
    return path


def make(path: Path, members: dict[str, bytes] = FILES) -> Path:
    return zipped(path, members) if path.suffix == ".zip" else tar(path, members, TARS[path.name])


def content(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, without the markers."""
    files = (file for file in folder.rglob("*") if file.is_file() and ".unpacked" not in file.parts)
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / ".unpacked").iterdir())


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("disguise", [None, "archive.bin"])
def test_an_archive_is_told_by_its_content(tmp_path, name, disguise, capfd):
    archive = make(tmp_path / name)
    if disguise:
        archive = archive.rename(tmp_path / disguise)
    assert unpack(archive, tmp_path / "out") == len(FILES)
    assert content(tmp_path / "out") == FILES and archive.exists()
    assert hidden(tmp_path / "out") == [f"{archive.name}.json", f"{archive.name}.lock"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_leading_folders_are_dropped(tmp_path, name):
    archive = make(tmp_path / name, {"./a/b/c": b"1", "a/d": b"2", "e": b"3"})
    assert unpack(archive, tmp_path / "out", strip=1) == 2
    assert content(tmp_path / "out") == {"b/c": b"1", "d": b"2"}


def test_folders_are_made_for_files_only(tmp_path):
    folder, file = tarfile.TarInfo("empty"), tarfile.TarInfo("full/file")
    folder.type = tarfile.DIRTYPE
    assert unpack(tar(tmp_path / "a.tar", [folder, file]), tmp_path / "out") == 1
    assert (
        content(tmp_path / "out") == {"full/file": b""}
        and not (tmp_path / "out" / "empty").exists()
    )


def test_of_two_members_of_one_name_the_last_one_stays(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for body in (b"one", b"two"):
            header = tarfile.TarInfo("a")
            header.size = 3
            archive.addfile(header, io.BytesIO(body))
    assert unpack(tmp_path / "a.tar", tmp_path / "out") == 1
    assert content(tmp_path / "out") == {"a": b"two"}


@pytest.mark.parametrize(
    "name",
    [
        "/etc/a",
        "../a",
        "good/../../a",
        "C:a",
        "C:\\a",
        "\\a",
        "..\\a",
        "good\\..\\..\\a",
        "\\\\host\\share\\a",
        "..",
    ],
)
@pytest.mark.parametrize("kind", ["a.tar", "a.tar.gz", "a.zip"])
@pytest.mark.parametrize("strip", [0, 1])
def test_nothing_is_written_outside(tmp_path, name, kind, strip):
    archive = make(tmp_path / kind, {"good/first": b"1", name: b"evil"})
    with pytest.raises(
        UnpackError, match=r"a\.(tar|tar\.gz|zip): '.+': outside of the folder"
    ) as caught:
        unpack(archive, tmp_path / "deep" / "out", strip)
    assert repr(name) in str(caught.value)
    assert b"evil" not in content(tmp_path / "deep").values()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([kind, "deep"])
    assert content(tmp_path / "deep" / "out") == (
        {} if kind == "a.zip" else {"good/first"[5 * strip :]: b"1"}
    )
    assert hidden(tmp_path / "deep" / "out") == [f"{kind}.lock"]


@pytest.mark.parametrize(
    "type, said",
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "special file"),
    ],
)
def test_a_tar_holds_files_and_folders_only(tmp_path, type, said):
    member = tarfile.TarInfo("name")
    member.type, member.linkname = type, "/etc/passwd"
    with pytest.raises(UnpackError, match=f"a.tar: 'name': a .*{said}"):
        unpack(tar(tmp_path / "a.tar", [member]), tmp_path / "out")
    assert content(tmp_path / "out") == {} and not os.path.lexists(tmp_path / "out" / "name")


@pytest.mark.parametrize(
    "mode, said", [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "special file")]
)
def test_a_zip_holds_files_and_folders_only(tmp_path, mode, said):
    with pytest.raises(UnpackError, match=f"a.zip: 'name': a .*{said}"):
        unpack(zipped(tmp_path / "a.zip", {"name": b"/etc/passwd"}, mode | 0o777), tmp_path / "out")
    assert not os.path.lexists(tmp_path / "out" / "name")


def test_no_archive_passes_for_a_marker(tmp_path):
    with pytest.raises(UnpackError, match="for markers"):
        unpack(tar(tmp_path / "a.tar", {".unpacked/b.tar.json": b"{}"}), tmp_path / "out")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.8])
def test_a_truncated_archive_is_refused_by_name(tmp_path, name, share):
    archive = make(tmp_path / name)
    archive.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size) // 512 * 512])
    with pytest.raises(UnpackError, match=f"{name}: damaged, or no archive .*") as caught:
        unpack(archive, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert content(tmp_path / "out") == {} and hidden(tmp_path / "out") == [f"{name}.lock"]


def test_a_tar_without_its_end_is_truncated(tmp_path):
    archive = tar(tmp_path / "a.tar", {"a": b"x" * 512, "b": b"y" * 512})
    archive.write_bytes(archive.read_bytes()[:2048])  # two headers, two bodies
    with pytest.raises(UnpackError, match="a.tar: damaged"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("name", [name for name in KINDS if name != "a.tar"])
@pytest.mark.parametrize("place", [0.3, 0.6])
def test_a_corrupt_archive_is_refused_and_leaves_no_file(tmp_path, name, place):
    archive = make(tmp_path / name)
    spoilt = bytearray(archive.read_bytes())
    spoilt[int(place * len(spoilt))] ^= 1
    archive.write_bytes(spoilt)
    with pytest.raises(UnpackError, match=f"{name}: damaged"):
        unpack(archive, tmp_path / "out")
    assert (
        not (tmp_path / "out" / ".unpacked" / f"{name}.json").exists()
        and content(tmp_path / "out") == {}
    )
    make(tmp_path / name)  # fetched anew
    assert unpack(archive, tmp_path / "out") == len(FILES) and content(tmp_path / "out") == FILES


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
    [
        b"",
        b"hello",
        b"PK nothing",
        b"\x1f\x8bnothing",
        gzip.compress(b"no tar", mtime=0),
        bytes(100),
    ],
)
def test_what_is_no_archive_is_refused_by_name(tmp_path, body):
    (tmp_path / "a.tar.gz").write_bytes(body)
    with pytest.raises(UnpackError, match="a.tar.gz: damaged, or no archive"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(UnpackError, match="a.tar: no such file"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize("keep", [True, False])
def test_what_is_finished_is_not_done_again(tmp_path, keep):
    archive, out = make(tmp_path / "a.tar.gz"), tmp_path / "out"
    assert unpack(archive, out, keep=keep) == len(FILES)
    assert archive.exists() == keep
    said = json.loads((out / ".unpacked" / "a.tar.gz.json").read_text())
    assert (said["archive"], said["files"], said["bytes"] > 60_000) == (
        "a.tar.gz",
        len(FILES),
        True,
    )
    (out / "top/0/3.wav").unlink()
    assert unpack(archive, out, keep=keep) == len(FILES)
    assert len(content(out)) == len(FILES) - 1
    assert unpack(archive, out, keep=False) == len(FILES) and not archive.exists()


def test_another_archive_of_the_same_name_is_unpacked(tmp_path):
    archive = make(tmp_path / "a.tar")
    unpack(archive, tmp_path / "out")
    assert unpack(tar(archive, {"new": b"1"}), tmp_path / "out") == 1
    assert unpack(archive, tmp_path / "out", strip=1) == 0


def test_the_archive_stays_until_the_marker_is_there(tmp_path, monkeypatch):
    archive = make(tmp_path / "a.tar")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(unpacking, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", keep=False)
    assert archive.exists()


@pytest.mark.parametrize("name", KINDS)
def test_whole_files_of_a_killed_call_are_kept_and_others_written(tmp_path, name):
    archive, out = make(tmp_path / name), tmp_path / "out"
    kept, short = out / "top/1/10.wav", out / "top/2/11.wav"
    kept.parent.mkdir(parents=True), short.parent.mkdir(parents=True), (out / ".unpacked").mkdir()
    kept.write_bytes(FILES["top/1/10.wav"]), short.write_bytes(b"short")
    (out / ".unpacked" / f"{name}.partial").write_bytes(b"half a file")
    before = kept.stat()
    assert unpack(archive, out) == len(FILES)
    assert content(out) == FILES and hidden(out) == [f"{name}.json", f"{name}.lock"]
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_a_full_disk_names_the_member_and_leaves_no_half_file(tmp_path, monkeypatch, name):
    archive, out = make(tmp_path / name), tmp_path / "out"

    class Full(io.FileIO):
        def write(self, data):
            if len(data) > 6000:
                super().write(data[:100])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    def opened(path, mode):
        return Full(path, mode) if str(path).endswith(".partial") else open(path, mode)

    monkeypatch.setattr(unpacking, "open", opened, raising=False)
    with pytest.raises(
        UnpackError, match=rf"{name}: 'top/1/7.wav': cannot be written \(No space left on device\)"
    ):
        unpack(archive, out)
    assert content(out) == {name: body for name, body in FILES.items() if len(body) <= 6000}
    assert hidden(out) == [f"{name}.lock"]
    monkeypatch.undo()
    assert unpack(archive, out) == len(FILES) and content(out) == FILES


def test_a_small_disk_that_is_really_full(tmp_path):
    archive, out = make(tmp_path / "a.tar.gz"), tmp_path / "out"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", out]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        with pytest.raises(
            UnpackError, match=r"a.tar.gz: 'top/./[0-9]+.wav': cannot be written .No space left"
        ):
            unpack(archive, out)
        files = content(out)
        assert len(files) > 3 and all(FILES[name] == body for name, body in files.items())
        assert hidden(out) == ["a.tar.gz.lock"]
    finally:
        subprocess.run(["umount", "-l", out], check=True)


def test_one_bar_over_the_bytes_of_the_archive(tmp_path, monkeypatch):
    bars = []

    class Bar(unpacking.tqdm):
        def __init__(self, **options):
            bars.append(self)
            self.silent = options["disable"]
            super().__init__(**{**options, "disable": False, "file": io.StringIO()})

    monkeypatch.setattr(unpacking, "tqdm", Bar)
    archive = make(tmp_path / "a.tar.gz")
    unpack(archive, tmp_path / "out")
    [bar] = bars
    assert bar.n == bar.total == archive.stat().st_size and bar.silent is not sys.stderr.isatty()


SLOWLY = """
import os, sys, time
from pathlib import Path
from earshot.unpack import unpack
replace = os.replace
os.replace = lambda *paths: time.sleep(0.001) or replace(*paths)
unpack(*map(Path, sys.argv[1:]))
"""


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_kills_on_the_way_end_in_the_same_files(tmp_path, name):
    files = {f"{i % 7}/{i}.txt": f"{i}".encode() * (i % 50) for i in range(3000)}
    archive, out = make(tmp_path / name, files), tmp_path / "out"
    command, environment = (
        [sys.executable, "-c", SLOWLY, archive, out],
        {**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    for kill in range(1, 6):
        process = subprocess.Popen(command, env=environment)
        while sum(1 for _ in out.glob("*/*.txt")) < 200 * kill and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        there = content(out)
        assert 200 * kill <= len(there) < len(files) and all(
            files[name] == body for name, body in there.items()
        )
        assert f"{name}.json" not in hidden(out)
    assert unpack(archive, out) == len(files)
    assert content(out) == files and hidden(out) == [f"{name}.json", f"{name}.lock"]
