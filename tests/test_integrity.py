"""`earshot verify` names what rotted, where, and how to mend it: the commands it prints are run, by
a shell.
"""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from safetensors.numpy import save_file

from earshot.tables import sequences
from earshot.workbench import integrity
from earshot.workbench.integrity import contents, hashes, recorded

PIPELINE = """\
stages:
  make:
    foreach: [a]
    do:
      cmd: python make.py
      deps: [make.py]
      outs:
        - data/${item}/table.bin
        - data/${item}/parts
        - data/${item}/note.json: {cache: false}
"""
SCRIPT = """\
from pathlib import Path
folder = Path("data/a")
(folder / "parts/deep").mkdir(parents=True, exist_ok=True)
(folder / "table.bin").write_bytes(bytes(range(256)) * 9)
(folder / "parts/one.txt").write_text("one")
(folder / "parts/deep/two.txt").write_text("two")
(folder / "note.json").write_text('{"a": 1}')
"""
STAGE = "make@a"


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """A small pipeline that has run once, in Git."""
    root = tmp_path_factory.mktemp("pipeline")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "make.py").write_text(SCRIPT)
    sh("git init -q && dvc init -q && dvc repro -q && git add -A && git commit -qm start", root)
    return root


def sh(command: str, root: Path) -> str:
    own = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(root / ".dvc/tmp/site")}
    own |= {
        f"GIT_{who}_{what}": "test@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = (
        {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        | own
        | {"PATH": path}
    )
    done = subprocess.run(
        command, shell=True, cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def repository(origin: Path, tmp_path: Path, monkeypatch) -> Path:
    """A copy of it, to be spoilt; times and modes are kept, as DVC looks at them."""
    sh(f"cp -a {origin} {tmp_path}/copy", origin)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def faults(root: Path) -> list[integrity.Fault]:
    return integrity.verify(integrity.outputs(root), root / ".dvc/cache", root).faults


def flip(path: Path) -> None:
    """Change a byte, and neither size, time nor mode: as a disk does."""
    before, mode = path.stat(), stat.S_IMODE(path.stat().st_mode)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def mended(root: Path, found: list[integrity.Fault]) -> list[integrity.Fault]:
    """Run what the report says; return what is still wrong."""
    for mend in dict.fromkeys(fault.mend for fault in found):
        sh(mend, root)
    return faults(root)


def object_of(root: Path, path: str) -> Path:
    return hashes.object_path(root / ".dvc/cache", hashes.md5(root / path))


def test_what_is_whole_has_no_faults_and_every_file_is_read(repository: Path):
    report = integrity.verify(integrity.outputs(repository), repository / ".dvc/cache", repository)
    assert report.faults == [] and (report.stages, report.files) == (1, 4)
    assert report.objects == 4  # three files and the listing of a folder; the note is Git's
    assert report.bytes > 2 * 9 * 256
    assert {output.path: output.in_git for output in integrity.outputs(repository)} == {
        "data/a/note.json": True, "data/a/parts": False, "data/a/table.bin": False,
    }  # fmt: skip


@pytest.mark.slow
def test_flipped_bytes_are_found_and_mended(repository: Path):
    sh("dvc status", repository)  # from now on DVC knows the files' times
    paths = ["data/a/parts/deep/two.txt", "data/a/table.bin"]
    for path in paths:
        flip(repository / path)
    assert sh("dvc status", repository).strip().endswith("up to date.")  # and does not look again
    found = faults(repository)
    assert [(fault.kind, fault.path, fault.stage) for fault in found] == [
        ("changed", path, STAGE) for path in paths
    ]
    assert mended(repository, found) == []


@pytest.mark.slow
def test_rotten_objects_of_the_cache_are_found_and_mended(repository: Path):
    paths = ["data/a/parts/one.txt", "data/a/table.bin"]
    kept = [object_of(repository, path) for path in paths]
    for path in kept:
        flip(path)
    found = faults(repository)
    assert [(fault.kind, fault.path) for fault in found] == [("rotten", str(path)) for path in kept]
    assert all(path in fault.detail for path, fault in zip(paths, found, strict=True))
    assert mended(repository, found) == []
    assert all(hashes.md5(path) == path.parent.name + path.name for path in kept)


@pytest.mark.slow
def test_a_rotten_listing_of_a_folder_is_found_and_mended(repository: Path):
    (kept,) = (repository / ".dvc/cache").rglob("*.dir")
    flip(kept)
    (fault,) = faults(repository)
    assert (fault.kind, fault.path) == ("rotten", str(kept))
    assert mended(repository, [fault]) == []


@pytest.mark.slow
def test_where_both_are_rotten_the_stage_runs_again(repository: Path):
    kept = object_of(repository, "data/a/table.bin")
    flip(kept)
    flip(repository / "data/a/table.bin")
    found = faults(repository)
    assert [fault.kind for fault in found] == ["changed", "rotten"]
    assert all("dvc repro" in fault.mend for fault in found)
    assert mended(repository, found) == []


@pytest.mark.slow
def test_what_is_cut_removed_or_extra_is_named_and_mended(repository: Path):
    table = repository / "data/a/table.bin"
    table.chmod(0o644)
    table.write_bytes(table.read_bytes()[:100])
    (repository / "data/a/parts/one.txt").unlink()
    (repository / "data/a/parts/deep/of mine.txt").write_text("mine")
    (repository / "data/a/note.json").write_text('{"a": 2}')
    found = faults(repository)
    assert {(fault.kind, fault.path) for fault in found} == {
        ("changed", "data/a/table.bin"),
        ("missing", "data/a/parts/one.txt"),
        ("extra", "data/a/parts/deep/of mine.txt"),
        ("changed", "data/a/note.json"),
    }
    assert "git status: M data/a/note.json" in next(
        fault.detail for fault in found if "note" in fault.path
    )
    assert mended(repository, found) == []


@pytest.mark.slow
def test_missing_outputs_come_back_from_the_cache_or_by_running(repository: Path):
    sh("rm -rf data", repository)
    found = faults(repository)
    assert {(fault.kind, fault.path) for fault in found} == {
        ("missing", f"data/a/{name}") for name in ("table.bin", "parts", "note.json")
    }
    assert mended(repository, found) == []
    sh("rm -rf data/a/parts .dvc/cache", repository)
    found = faults(repository)
    assert [(f.kind, f.path) for f in found if f.kind == "missing"] == [("missing", "data/a/parts")]
    assert [
        f.kind for f in found if f.path.endswith(hashes.md5(repository / "data/a/table.bin")[2:])
    ] == ["absent"]
    assert mended(repository, found) == []


@pytest.mark.slow
def test_results_that_were_not_committed_with_their_lock_are_told(repository: Path):
    (repository / "data/a/note.json").write_text('{"a": 2}')
    sh("git commit -qam 'half of it'", repository)
    (fault,) = faults(repository)
    assert "not committed together" in fault.detail and mended(repository, [fault]) == []


def test_the_command_exits_with_1_and_prints_what_it_found(repository: Path):
    flip(repository / "data/a/table.bin")
    command = f"{sys.executable} -m earshot.cli verify"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}

    def verify(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*command.split(), *arguments], env=environment, capture_output=True, text=True
        )

    done = verify()
    assert (
        done.returncode == 1
        and "$ rm -rf data/a/table.bin && dvc checkout --force data/a/table.bin" in done.stdout
    )
    assert done.stdout.endswith("wrong: 1\n")
    said = json.loads(verify("make", "--json").stdout)
    assert [fault["path"] for fault in said["faults"]] == ["data/a/table.bin"] and said[
        "objects"
    ] == 4
    wrong = verify("bake")
    assert (
        wrong.returncode == 2
        and wrong.stderr == "earshot: bake: dvc.lock has no such stage; it has make@a\n"
    )


def test_stages_are_named_as_dvc_names_them(tmp_path: Path):
    (tmp_path / "dvc.yaml").write_text("stages: {a: {foreach: [x, y], do: {cmd: c}}, b: {cmd: c}}")
    entry = "{cmd: c, outs: [{path: %s, hash: md5, md5: 0}]}"
    names = ("a@x", "a@y", "b")
    (tmp_path / "dvc.lock").write_text(
        "stages:\n" + "".join(f"  {name}: {entry % name}\n" for name in names)
    )

    def chosen(*wanted: str) -> list[str]:
        return [output.stage for output in recorded.outputs(tmp_path, wanted)]

    assert (
        chosen() == list(names)
        and chosen("a") == ["a@x", "a@y"]
        and chosen("*@y", "b") == ["a@y", "b"]
    )
    with pytest.raises(ValueError, match=r"a@z: dvc\.lock has no such stage; it has a@x, a@y, b"):
        chosen("a@z")
    (tmp_path / "dvc.lock").unlink()
    with pytest.raises(ValueError, match=r"dvc\.lock: no such file; `make repro` writes"):
        chosen()


def test_a_folder_has_the_name_that_dvc_gives_it(repository: Path):
    listing = {
        name: hashes.md5(repository / "data/a/parts" / name)
        for name in hashes.files(repository / "data/a/parts")
    }
    (output,) = (output for output in integrity.outputs(repository) if output.is_folder)
    assert (
        sorted(listing) == ["deep/two.txt", "one.txt"] and hashes.folder_md5(listing) == output.md5
    )


# contents


def spoilt(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return path


def test_unreadable_files_are_told_by_kind(tmp_path: Path):
    frames = np.ones((5, 4), np.float16)
    mel = tmp_path / "mel.parquet"
    sequences.write(mel, [("a", 0, frames), ("b", 0, frames)], "mel", 4, {})
    assert contents.fault(mel) is None
    table = pq.read_table(mel)
    lengths = pa.array([5, 6], pa.int32())
    pq.write_table(table.set_column(table.column_names.index("frames"), "frames", lengths), mel)
    assert contents.fault(mel) == "b, view 0, is not 6×4 float16 values"
    assert contents.fault(spoilt(mel)) is not None

    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "items.parquet")
    assert "its columns are a, expected id, role" in contents.fault(tmp_path / "items.parquet")
    weights = tmp_path / "seed-0.safetensors"
    save_file({"a": np.ones(3)}, weights)
    assert contents.fault(weights) is None and contents.fault(spoilt(weights)) is not None
    (tmp_path / "a.json").write_text('{"a": {"b": [1.0, NaN]}}')
    assert contents.fault(tmp_path / "a.json") == "a number in it is not finite"
    (tmp_path / "a.txt").write_bytes(b"\xff")
    assert contents.fault(tmp_path / "a.txt") is None  # nothing is known of it


def test_a_cache_whose_index_disagrees_is_told(tmp_path: Path):
    folder = tmp_path / "cache"
    folder.mkdir()
    pq.write_table(pa.table({"a": [1]}), folder / "part-00000.parquet")
    index = folder / "index.json"
    index.write_text(
        json.dumps({"parts": {"part-00000.parquet": "0" * 64, "part-00001.parquet": "0" * 64}})
    )
    assert contents.fault(index) == "part-00000.parquet has not the checksum that is recorded here"
    index.write_text(json.dumps({"parts": {"part-00001.parquet": "0" * 64}}))
    assert contents.fault(index) == "part-00001.parquet is missing"
    assert "expected item, view, logits" in contents.fault(folder / "part-00000.parquet")


def test_an_onnx_file_must_load_and_say_what_it_is(tmp_path: Path):
    graph = onnx.parser.parse_graph("g (float[N] x) => (float[N] y) { y = Identity(x) }")
    model = onnx.helper.make_model(
        graph, ir_version=9, opset_imports=[onnx.helper.make_opsetid("", 17)]
    )
    path = tmp_path / "student.int8.onnx"
    onnx.save(model, path)
    assert contents.fault(path) == "no features, sample_rate, student, task in its metadata"
    held = {
        "task": "classes",
        "sample_rate": "16000",
        "features": "{}",
        "student": "{}",
        "labels": "[]",
    }
    onnx.helper.set_model_props(model, held)
    onnx.save(model, path)
    assert contents.fault(path) is None
    assert contents.fault(spoilt(path)) is not None
