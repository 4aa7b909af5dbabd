"""`make deps` sets the lists of library files in dvc.yaml right, and touches nothing else."""

import pytest
from conftest import ROOT

import deps

TEXT = (ROOT / "dvc.yaml").read_text()


def without(line: str, text: str, stage: str) -> str:
    """Return dvc.yaml without a stage's dependency."""
    before, behind = text.split(f"\n  {stage}:\n")
    entry = f"        - {line}\n"
    assert entry in behind
    return before + f"\n  {stage}:\n" + behind.replace(entry, "", 1)


def test_what_is_committed_is_right():
    assert deps.rewrite(TEXT) == (TEXT, [])


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("features", "src/earshot/store.py"),
        ("features", "src/earshot/__init__.py"),  # the first
        ("evaluate", "stages/evaluate.py"),  # the last, before data
        ("download", "src/earshot/corpora"),  # a folder, and with it nothing that lies in it
        ("pretrain", "src/earshot/pretraining/masking.py"),
    ],
)
def test_what_is_left_out_comes_back_to_its_place(stage, file):
    assert deps.rewrite(without(file, TEXT, stage)) == (TEXT, [f"{stage}: +{file}"])


def test_what_is_superfluous_goes():
    wrong = TEXT.replace(
        "        - src/earshot/features.py\n",
        "        - src/earshot/features.py\n        - src/earshot/gone.py\n",
        1,
    )
    assert wrong != TEXT
    text, changes = deps.rewrite(wrong)
    assert text == TEXT and changes == ["features: -src/earshot/gone.py"]


def test_comments_data_and_their_order_stay():
    entry = "        - data/${key}/manifest.parquet\n        - data/${key}/mel.parquet\n"
    turned = "        # first the frames\n        - data/${key}/mel.parquet # all views\n        - data/${key}/manifest.parquet\n"
    assert entry in TEXT
    commented = TEXT.replace(entry, turned)
    assert deps.rewrite(commented) == (commented, [])
    text, changes = deps.rewrite(without("stages/fewshot.py", commented, "fewshot"))
    assert text == commented and changes == ["fewshot: +stages/fewshot.py"]
