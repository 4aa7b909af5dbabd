"""The drill itself: its small form finds nothing, and what it would find it does find."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from drill import sounds, texts
from drill.case import Case


@pytest.mark.slow
def test_a_small_drill_finds_nothing():
    command = [sys.executable, "tests/drill/run.py", "--only", "files", "--files", "120"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = json.loads(done.stdout)["files"]
    assert found["faults"] == [] and done.returncode == 0, done.stderr
    assert found["files"] >= 120 and set(texts.seeds() | sounds.seeds()) <= set(found["outcomes"])


def test_a_case_is_the_same_for_its_seed_and_good_files_come_first():
    first, again = list(texts.cases(3, 40)), list(texts.cases(3, 40))
    assert first == again != list(texts.cases(4, 40))
    good = texts.seeds()
    assert [case.content for case in first[: len(good)]] == [file for _, file in good.values()]
    assert sum(case.content != good[case.seed][1] for case in first) > 15


@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (lambda path: [("another",)], "fault"),
        (lambda path: 1 / 0, "fault"),
        (lambda path: bytearray(2 << 30), "fault"),
        (lambda path: int("none"), "fault"),  # refused, but nobody knows which file
        (lambda path: int(path.name), "refused"),
        (lambda path: path.read_bytes(), "used"),
    ],
)
def test_what_a_reader_does_is_judged(tmp_path: Path, monkeypatch, read, outcome):
    def product(place: Path) -> texts.Product:
        return place / "table.csv", lambda: read(place / "table.csv"), lambda content: content

    monkeypatch.setitem(texts._PRODUCT, "table", product)
    case = Case(0, "table", "csv", "none", b"content")
    assert texts.check(case, tmp_path).state == outcome
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_good_sound_files_are_used(tmp_path):
    found = [(case, sounds.check(case, tmp_path)) for case in sounds.cases(1, len(sounds.seeds()))]
    assert [case.name for case, outcome in found if outcome.state != "used"] == []
