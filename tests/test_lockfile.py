"""dvc.lock after a kill."""

import pytest
from conftest import ROOT

from earshot.workbench.lockfile import IN_USE, free, mend

WHOLE = (ROOT / "dvc.lock").read_text()
TORN = WHOLE[: WHOLE.rindex("- path")] + "- pa"


@pytest.mark.parametrize("torn", ["", "schema: '2.0'\nstages:\n  a:\n    de", TORN])
def test_a_torn_lock_is_replaced_by_the_last_whole_one(tmp_path, torn):
    lock, kept = tmp_path / "dvc.lock", tmp_path / "scratch/dvc.lock"
    lock.write_text(torn)
    assert "scratch/dvc.torn" in mend(tmp_path) and not lock.exists()
    lock.write_text(torn)
    kept.write_text(WHOLE)
    assert "is back" in mend(tmp_path) and lock.read_text() == WHOLE
    assert mend(tmp_path) is None and lock.read_text() == WHOLE


def test_without_a_lock_nothing_is_done(tmp_path):
    assert mend(tmp_path) is None and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("torn", ["", '{"write": {"/a/mel.par', '{"a": 1}'])
def test_torn_notes_of_what_is_in_use_are_removed(tmp_path, torn):
    notes = tmp_path / IN_USE
    notes.parent.mkdir(parents=True)
    notes.write_text(torn)
    assert "rwlock was torn by a kill" in free(tmp_path) and not notes.exists()
    assert free(tmp_path) is None
    whole = '{"write": {"/a/mel.parquet": {"pid": 7, "cmd": "dvc repro"}}, "read": {}}'
    notes.write_text(whole)
    assert free(tmp_path) is None and notes.read_text() == whole
