"""Files that are either whole or absent."""

import hashlib
import json

import pytest

from earshot.runtime.files import atomic, sha256, write_json


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
    text = (tmp_path / "a.json").read_text()
    assert (
        text.endswith("}\n")
        and list(json.loads(text)) == ["a", "b"]
        and list(json.loads(text)["b"]) == ["c", "d"]
    )
    write_json(tmp_path / "b.json", {"a": 1, "b": {"c": 2, "d": 0.1}})
    assert (tmp_path / "b.json").read_text() == text


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
