"""Tables that read back, and figures that are drawn, the same bytes every time."""

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from earshot import metrics, plots

QUALITY = {
    "hard": {"accuracy": 0.46, "accuracy_low": 0.42, "accuracy_high": 0.5},
    "teacher": {"accuracy": 0.95, "accuracy_low": 0.93, "accuracy_high": 0.97},
    "gain": {"teacher_vs_hard": {"accuracy": 0.49, "accuracy_low": 0.45, "accuracy_high": 0.53}},
}
GAINS = {**QUALITY["gain"], "hard_vs_hard": {"accuracy": 0.0, "accuracy_low": 0.0, "accuracy_high": 0.0}}
ANSWERS = np.arange(90) % 3


def model(top):
    """One seed that answers every other item right with confidence `top`."""
    picked = np.where(np.arange(90) % 2, ANSWERS, (ANSWERS + 1) % 3)
    return np.where(np.eye(3)[picked] == 1, top, (1 - top) / 2)[None]


def curves():
    rows = [(step, seed, 0.3 + step / 100 + seed / 50) for seed in range(3) for step in range(0, 50, 10)]
    frame = pd.DataFrame(rows, columns=["step", "seed", "accuracy"])
    return {"hard": frame, "kd": frame[frame.step < 30], "late": frame[~((frame.seed == 2) & (frame.step > 20))]}


DRAW = {
    "accuracy": lambda path: plots.draw_accuracy(path, QUALITY, 1 / 3, "listening"),
    "gains": lambda path: plots.draw_gains(path, GAINS),
    "reliability": lambda path: plots.draw_reliability(path, {"hard": model(0.5), "kd": model(0.9)}, ANSWERS),
    "curves": lambda path: plots.draw_curves(path, curves(), "accuracy"),
}


@pytest.mark.parametrize("name", DRAW)
def test_figures_are_pngs_of_the_same_bytes_without_traces(tmp_path, name):
    first, again = tmp_path / "new" / "first.png", tmp_path / "again.png"
    DRAW[name](first)
    DRAW[name](again)
    assert first.read_bytes() == again.read_bytes()
    assert b"Software" not in first.read_bytes() and b"tEXt" not in first.read_bytes()
    pixels = matplotlib.image.imread(first)
    assert pixels.shape[1] == 1200
    assert 0.005 < (pixels[..., :3].min(-1) < 0.8).mean() < 0.3  # drawn upon, and mostly white
    assert [file.name for file in first.parent.iterdir()] == ["first.png"]


def test_a_figure_grows_with_its_rows_and_shows_its_numbers(tmp_path):
    plots.draw_accuracy(tmp_path / "two.png", QUALITY, 1 / 3, "listening")
    plots.draw_accuracy(tmp_path / "one.png", {"hard": QUALITY["hard"]}, 1 / 3, "listening")
    changed = {**QUALITY, "hard": {**QUALITY["hard"], "accuracy_high": 0.6}}
    plots.draw_accuracy(tmp_path / "changed.png", changed, 1 / 3, "listening")
    one, two, other = (matplotlib.image.imread(tmp_path / f"{name}.png") for name in ("one", "two", "changed"))
    assert len(two) - len(one) == pytest.approx(0.36 * 150, abs=1)
    assert (two != other).any()


def test_a_figure_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyError, match="loss"):
        plots.draw_curves(tmp_path / "curves.png", curves(), "loss")
    assert not list(tmp_path.iterdir())


def test_accuracy_reads_back(tmp_path):
    plots.write_accuracy(tmp_path / "accuracy.csv", [("hard", 1 / 3, 0.3, 0.4), ("teacher", 0.95, 0.93, 0.97)])
    table = pd.read_csv(tmp_path / "accuracy.csv")
    assert list(table.columns) == ["model", "accuracy", "low", "high"]
    assert table.model.tolist() == ["hard", "teacher"]
    assert table.accuracy.tolist() == pytest.approx([1 / 3, 0.95], rel=1e-15)
    assert table[["low", "high"]].values.tolist() == [[0.3, 0.4], [0.93, 0.97]]


def test_confusion_has_one_row_per_item(tmp_path):
    plots.write_confusion(tmp_path / "confusion.csv", ["A", "B", "C"], ["A", "C", "C"])
    assert (tmp_path / "confusion.csv").read_text() == "actual,predicted\nA,A\nB,C\nC,C\n"
    with pytest.raises(ValueError, match="shorter"):
        plots.write_confusion(tmp_path / "other.csv", ["A", "B"], ["A"])


def test_reliability_reads_back_as_the_filled_bins(tmp_path):
    both = np.concatenate([model(0.5), model(0.9)])
    plots.write_reliability(tmp_path / "reliability.csv", both, ANSWERS)
    table = pd.read_csv(tmp_path / "reliability.csv")
    assert table.confidence.tolist() == pytest.approx([0.5, 0.9])
    assert table.accuracy.tolist() == pytest.approx([0.5, 0.5])
    assert table["count"].tolist() == [90, 90]
    apart = np.mean([metrics.calibration_error(one, ANSWERS) for one in (model(0.5), model(0.9))])
    assert metrics.calibration_error(both, ANSWERS) == pytest.approx(apart) == pytest.approx(0.2)
