"""`earshot verify` names what rotted and how to mend it; its commands are run by a shell."""

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
import soundfile
from safetensors.numpy import save_file

from earshot import cli
from earshot.tables import answers, items, manifest, sequences, signals
from earshot.workbench import hashes, integrity
from earshot.workbench.integrity import contents
from earshot.workbench.integrity import outputs as reading

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
    names = {
        f"GIT_{who}_{what}": "test@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    site = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(root / ".dvc/tmp/site")}
    environment = plain | names | site | {"PATH": path}
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
    return integrity.verify(root).faults


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
    report = integrity.verify(repository)
    assert report.faults == [] and (report.stages, report.files) == (1, 4)
    assert report.objects == 4  # three files and the listing of a folder; the note is Git's
    assert report.bytes > 2 * 9 * 256
    assert {output.path: output.in_git for output in integrity.recorded(repository)[0]} == {
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
    wrong = [(fault.kind, fault.path, fault.stage) for fault in found]
    assert wrong == [("changed", path, STAGE) for path in paths]
    assert mended(repository, found) == []


@pytest.mark.slow
def test_rotten_objects_of_the_cache_are_found_and_mended(repository: Path):
    paths = ["data/a/parts/one.txt", "data/a/table.bin"]
    (listing,) = (repository / ".dvc/cache").rglob("*.dir")
    for rotten in ([object_of(repository, path) for path in paths], [listing]):
        for path in rotten:
            flip(path)
        found = faults(repository)
        assert [(one.kind, one.path) for one in found] == [("rotten", str(one)) for one in rotten]
        assert mended(repository, found) == []


@pytest.mark.slow
def test_where_both_are_rotten_the_stage_runs_again(repository: Path):
    flip(object_of(repository, "data/a/table.bin"))
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
    assert any("git status: M data/a/note.json" in fault.detail for fault in found)
    assert mended(repository, found) == []


@pytest.mark.slow
def test_missing_outputs_come_back_from_the_cache_or_by_running(repository: Path):
    sh("rm -rf data", repository)
    found = faults(repository)
    names = ("note.json", "parts", "table.bin")
    assert [(one.kind, one.path) for one in found] == [("missing", f"data/a/{n}") for n in names]
    assert mended(repository, found) == []
    sh("rm -rf data/a/parts .dvc/cache", repository)
    found = faults(repository)
    table = str(object_of(repository, "data/a/table.bin"))
    kinds = {fault.path: fault.kind for fault in found}
    assert kinds == {"data/a/parts": "missing", table: "absent"}
    assert mended(repository, found) == []


@pytest.mark.slow
def test_results_that_were_not_committed_with_their_lock_are_told(repository: Path):
    (repository / "data/a/note.json").write_text('{"a": 2}')
    sh("git commit -qam 'half of it'", repository)
    (fault,) = faults(repository)
    assert "not committed together" in fault.detail and mended(repository, [fault]) == []


def test_a_file_that_cannot_be_read_is_a_fault(repository: Path, monkeypatch):
    def read(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(reading, "md5", read)
    found = integrity.verify(repository).faults
    details = [fault.detail for fault in found if fault.path == "data/a/table.bin"]
    assert any("unknown (Input/output error)" in detail for detail in details)


def test_the_command_exits_with_1_and_prints_what_it_found(repository: Path, capsys):
    flip(repository / "data/a/table.bin")
    assert cli.main(["verify"]) == 1
    printed = capsys.readouterr().out
    assert "$ rm -rf data/a/table.bin && dvc checkout --force data/a/table.bin" in printed
    assert printed.endswith("wrong: 1\n")
    assert cli.main(["verify", "make", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [fault["path"] for fault in report["faults"]] == ["data/a/table.bin"]
    assert report["objects"] == 4
    assert cli.main(["verify", "bake"]) == 2
    complaint = "earshot: bake: dvc.lock has no such stage; it has make@a\n"
    assert capsys.readouterr().err == complaint


def test_stages_are_named_as_dvc_names_them(tmp_path: Path):
    sh("git init -q && dvc init -q", tmp_path)
    block = "{foreach: [x, y], do: {cmd: c, outs: ['${item}']}}"
    (tmp_path / "dvc.yaml").write_text(f"stages: {{a: {block}, b: {{cmd: c, outs: [b]}}}}")
    entry = f"{{cmd: c, outs: [{{path: %s, hash: md5, md5: {'a' * 32}}}]}}"
    locked = [f"  {name}: {entry % name[-1]}\n" for name in ("a@x", "a@y", "b")]
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages:\n" + "".join(locked))

    def chosen(*wanted: str) -> list[str]:
        return [output.stage for output in integrity.recorded(tmp_path, wanted)[0]]

    assert chosen() == ["a@x", "a@y", "b"] and chosen("a") == ["a@x", "a@y"]
    assert chosen("*@y", "b") == ["a@y", "b"]
    with pytest.raises(ValueError, match=r"a@z: dvc\.lock has no such stage; it has a@x, a@y, b"):
        chosen("a@z")
    (tmp_path / "dvc.lock").unlink()
    with pytest.raises(ValueError, match="it has none: `make repro` writes it"):
        chosen("a")


def test_without_a_dvc_repository_there_is_one_line(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["verify"]) == 2
    assert "not inside of a DVC repository" in capsys.readouterr().err


# contents


def spoilt(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return path


@pytest.mark.parametrize("name", ["mel.parquet", "cache/english/front.parquet"])
def test_sequences_are_read_to_their_end(tmp_path: Path, name):
    frames = np.ones((5, 4), np.float16)
    store = tmp_path / name
    sequences.write(store, [("a", 0, frames), ("b", 0, frames)], "mel", 4, {})
    assert contents.fault(store) is None
    lengths = pa.array([5, 6], pa.int32())
    longer = pq.read_table(store).set_column(2, "frames", lengths)
    pq.write_table(longer, store, compression="none", use_dictionary=False)
    assert contents.fault(store) == "row 0 is not where the rows' lengths say"
    assert contents.fault(spoilt(store)) is not None
    sequences.write(store, [("a", 1, frames * np.nan)], "mel", 4, {})
    assert contents.fault(store) == "a, view 1, has values that are not finite"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", b'{"a": {"b": [1.0, NaN]}}', "a number in it is not finite"),
        ("a.json", b'{"a": [1.0], "b": nul', "Expecting value"),
        ("a.csv", b"a,b\n1,2\n3\n", "row 3 has 1 cells, the heading 2"),
        ("a.csv", b"a,b\n1,2\n", None),
        ("a.wav", b"RIFF\0\0\0\0WAVE", "Error opening"),
        ("a.txt", b"\xff", None),  # nothing is known of it
    ],
)
def test_plain_files_are_read_as_their_kind(tmp_path: Path, name, content, why):
    (tmp_path / name).write_bytes(content)
    found = contents.fault(tmp_path / name)
    assert found is None if why is None else why in found


@pytest.mark.parametrize("table", [items, manifest, answers])
def test_tables_must_have_their_columns_and_rows(tmp_path: Path, table):
    path = tmp_path / f"{table.__name__.split('.')[-1]}.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), path)
    assert "not a " in contents.fault(path)
    pq.write_table(table.SCHEMA.empty_table(), path)
    assert contents.fault(path) == "no rows"


def test_weights_and_sounds_end_where_they_say(tmp_path: Path):
    weights, sound = tmp_path / "seed-0.safetensors", tmp_path / "a.wav"
    save_file({"a": np.ones(3)}, weights)
    soundfile.write(sound, np.zeros(100), 8000)
    assert contents.fault(weights) is contents.fault(sound) is None
    assert contents.fault(spoilt(weights)) is not None
    soundfile.write(sound, np.zeros(0), 8000)
    assert contents.fault(sound) == "it ends before its sound does"


def test_signals_must_be_those_of_their_index(tmp_path: Path):
    store, index = (tmp_path / "cache/english" / name for name in ("hidden.parquet", "index.json"))
    sequences.write(store, [("a", 0, np.ones((1, 4)))], "hidden", 4, {})
    signals.write_index(store.parent, "teacher", "key")
    assert contents.fault(index) is None
    sequences.write(store, [("a", 0, np.zeros((1, 4)))], "hidden", 4, {})
    assert contents.fault(index) == "hidden.parquet has not the checksum that is recorded here"
    store.unlink()
    assert contents.fault(index) == "hidden.parquet is missing"


def test_an_onnx_file_must_load_and_say_what_it_is(tmp_path: Path):
    graph = onnx.parser.parse_graph("g (float[N] x) => (float[N] y) { y = Identity(x) }")
    sets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, ir_version=9, opset_imports=sets)
    path = tmp_path / "student.int8.onnx"
    onnx.save(model, path)
    assert contents.fault(path) == "no features, sample_rate, student, task in its metadata"
    names = ("task", "sample_rate", "features", "student", "labels")
    onnx.helper.set_model_props(model, dict.fromkeys(names, "[]") | {"task": "classes"})
    onnx.save(model, path)
    assert contents.fault(path) is None
    assert contents.fault(spoilt(path)) is not None
