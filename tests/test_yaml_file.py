"""One dialect of YAML, 1.2, wherever a file is read, and one line about a slip of the pen."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from dvc.utils.hydra import apply_overrides

from earshot.cli import main
from earshot.params import ParameterError, parse
from earshot.runtime import yaml_file
from earshot.runtime.yaml_file import YamlError

RATE = "tracks.listening.distill.learning_rate"
PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", ["0.0001", "0.00005", "5e-5", "5.5e-05", "1e-5"])
def test_numbers_are_numbers_as_dvc_writes_them(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS, encoding="utf-8")
    apply_overrides("params.yaml", [f"{RATE}={value}"])
    read = parse(yaml_file.read("params.yaml"))
    assert read.tracks["listening"].distill.learning_rate == float(value)


def test_scalars_are_those_of_yaml_1_2():
    text = "[5e-05, 1e5, yes, off, 7:30, 0o17, 010, ~, true]"
    assert yaml_file.parse(text, "") == [5e-05, 1e5, "yes", "off", "7:30", 15, 10, None, True]
    written = ["5e-05", "1e5", "yes", "off", "7:30", "0o17", "010", "~", "true"]
    assert yaml_file.parse(text, "", as_text=True) == written


def test_a_word_for_a_boolean_is_told_what_to_write():
    content = yaml_file.parse(PARAMS.replace("layered: false", "layered: no"), "")
    with pytest.raises(ParameterError, match="cache.layered='no': .*, true or false$"):
        parse(content)


@pytest.mark.parametrize(
    ("text", "line", "remedy"),
    [
        ("a: 1\nb: [2\nc: 3\n", 3, "begins in line 2; close the bracket with ]"),
        ("a: {b: 1\n", 2, "begins in line 1; close the brace with }"),
        ("a: 1\n\tb: 2\n", 2, "indent with spaces, not with tabs"),
        ("a: b: c\n", 1, "quote a text that holds ': '"),
        ("a: 1\n  b: 2\n", 2, "mend the indentation"),
        ("a:\n  b: 1\n c: 2\n", 3, "indent the line like those that it belongs to"),
        ('a: "x\nb: 1\n', 3, "begins in line 1; close the quotation"),
        ("a: 1\na: 2\n", 2, "keep one of the two"),
        ("a: %x\n", 1, "put the text into quotes"),
        ("a: *x\n", 1, "put a text that begins with * into quotes"),
        ("a: !x 1\n", 1, "put a text that begins with ! into quotes"),
        ("a: 1\nb: \x07\n", 2, "the character '\\x07' may not stand in YAML"),
    ],
)
def test_a_slip_is_named_with_its_line_and_what_to_write(tmp_path, text, line, remedy):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(YamlError) as raised:
        yaml_file.read(tmp_path / "a.yaml")
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'a.yaml'}: line {line}: ")
    assert remedy in message and "\n" not in message


@pytest.mark.parametrize("text", ["[" * 5000, "a: !!int x", "a: 2026-13-45", "- &a [1]\n- *b"])
def test_whatever_the_parser_raises_is_one_line(text):
    with pytest.raises(YamlError, match=r"^params\.yaml: [^\n]+$"):
        yaml_file.parse(text, "params.yaml")


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_a_file_saved_elsewhere_is_read(tmp_path, mark):
    (tmp_path / "a.yaml").write_bytes("a: é\r\nb: 2\r\n".encode(mark))
    assert yaml_file.read(tmp_path / "a.yaml") == {"a": "é", "b": 2}


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (
            "a: 1\nb: é\n".encode("latin-1"),
            "line 2: byte 0xe9 is not UTF-8; save the file as UTF-8",
        ),
        ("a: 1\nb: 2\n".encode("utf-16-le"), "line 1: a NUL: .*UTF-16 without its mark"),
    ],
)
def test_other_bytes_are_refused_with_file_and_line(tmp_path, raw, named):
    (tmp_path / "a.yaml").write_bytes(raw)
    with pytest.raises(YamlError, match=rf"a\.yaml: {named}"):
        yaml_file.read(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "command", [["plan"], ["table"], ["sweep"], ["search"], ["profile", "embedded"]], ids=" ".join
)
def test_no_command_answers_a_slip_with_a_traceback(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS.replace("seed: 2026", "seed: [2026"))
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    assert main(command) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"earshot: params\.yaml: line \d+: .*close the bracket with \]\n", error)


def test_an_error_that_nobody_foresaw_is_one_line(monkeypatch, capsys):
    def broken(chosen):
        raise RuntimeError("out\nof order")

    monkeypatch.setattr("earshot.cli.plan.run", broken)
    assert main(["plan"]) == 2
    expected = "earshot: RuntimeError: out of order (EARSHOT_TRACEBACK=1 shows where)\n"
    assert capsys.readouterr().err == expected


def test_params_are_read_by_one_parser():
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")]
    loads = {file.name for file in files if re.search(r"^\s*import yaml$", file.read_text(), re.M)}
    # dvc.lock, of which it takes texts alone; a card, which it writes
    assert loads == {"lockfile.py", "card.py"}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk"])
def test_a_terminal_that_is_not_utf_8_gets_the_table(encoding):
    settings = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-m", "earshot.cli", "table", "--track", "listening"],
        cwd=ROOT,
        env=os.environ | settings | {"PYTHONIOENCODING": encoding, "PYTHONPATH": "src"},
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    printed = done.stdout.decode(encoding)
    assert re.search(r"\| `teacher` \| [\d.]+ \([\d.]+[-–][\d.]+\) \|", printed), printed
