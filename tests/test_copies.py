"""Copies of the repository, in which `dvc exp run --queue` and `--temp` run."""

import pytest

from earshot.runtime.inputs import check_copy


def test_a_path_out_of_a_copy_is_refused_with_the_path_that_is_meant(tmp_path, monkeypatch):
    copy = tmp_path / "repository/.dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    check_copy(["data/table.csv", "/elsewhere/table.csv"])
    meant = tmp_path / "recordings/table.csv"
    with pytest.raises(ValueError, match=f"^params.yaml: ../recordings/table.csv .* write {meant}"):
        check_copy(["../recordings/table.csv"])
    monkeypatch.chdir(tmp_path / "repository")
    check_copy(["../recordings/table.csv"])
