"""Tables that read back, and figures that are drawn, the same bytes every time."""

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from earshot.evaluation import maps, metrics, plots
from earshot.tables.items import Item

QUALITY = {
    "hard": {"accuracy": 0.46, "accuracy_low": 0.42, "accuracy_high": 0.5},
    "teacher": {"accuracy": 0.95, "accuracy_low": 0.93, "accuracy_high": 0.97},
    "gain": {"teacher_vs_hard": {"accuracy": 0.49, "accuracy_low": 0.45, "accuracy_high": 0.53}},
}
GAINS = {
    **QUALITY["gain"],
    "hard_vs_hard": {"accuracy": 0.0, "accuracy_low": 0.0, "accuracy_high": 0.0},
}
ANSWERS = np.arange(90) % 3


def model(top):
    """One seed that answers every other item right with confidence `top`."""
    picked = np.where(np.arange(90) % 2, ANSWERS, (ANSWERS + 1) % 3)
    return np.where(np.eye(3)[picked] == 1, top, (1 - top) / 2)[None]


def curves():
    rows = [
        (step, seed, 0.3 + step / 100 + seed / 50) for seed in range(3) for step in range(0, 50, 10)
    ]
    frame = pd.DataFrame(rows, columns=["step", "seed", "accuracy"])
    return {
        "hard": frame,
        "kd": frame[frame.step < 30],
        "late": frame[~((frame.seed == 2) & (frame.step > 20))],
    }


CLASSES = ("airport", "street_traffic", "public_square")
GROUPS = {"s4": "unseen", "a": "real", "s1": "seen"}
DROPS = {
    "kd_vs_hard": GAINS["hard_vs_hard"]
    | {"device_drop": -0.1, "device_drop_low": -0.2, "device_drop_high": -0.05}
}
ROUTING = {
    f"seed-{seed}": {
        "similarity": [[0.1, 0.5, 0.4], [0.2, 0.1, 0.3 + seed / 10]],
        "chosen": [[2, 3], [3, 1 + seed % 2]],
    }
    for seed in range(3)
}


def devices() -> pd.DataFrame:
    """Accuracy of two models on three devices."""
    rows = [
        (model, device, group, share, share - 0.05, share + 0.05)
        for model, share in {"hard_int8": 0.5, "kd_int8": 0.7}.items()
        for device, group in sorted(GROUPS.items())
    ]
    return pd.DataFrame(rows, columns=["model", "device", "group", "accuracy", "low", "high"])


DRAW = {
    "drops": lambda path: plots.draw_gains(path, DROPS, "drops", "device_drop"),
    "devices": lambda path: plots.draw_devices(path, devices(), "by device"),
    "confusion": lambda path: maps.draw_confusion(
        path, CLASSES, ANSWERS, model(0.8).argmax(-1), "confusion"
    ),
    "routing": lambda path: maps.draw_routing(path, ROUTING, "routing"),
    "accuracy": lambda path: plots.draw_accuracy(path, QUALITY, 1 / 3, "listening"),
    "gains": lambda path: plots.draw_gains(path, GAINS),
    "reliability": lambda path: plots.draw_reliability(
        path, {"hard": model(0.5), "kd": model(0.9)}, ANSWERS
    ),
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
    inked = (pixels[..., :3].min(-1) < 0.8).mean()
    assert (
        0.005 < inked < (0.75 if name in ("confusion", "routing") else 0.3)
    )  # drawn upon; of maps the cells are filled
    assert [file.name for file in first.parent.iterdir()] == ["first.png"]


def test_a_figure_grows_with_its_rows_and_shows_its_numbers(tmp_path):
    plots.draw_accuracy(tmp_path / "two.png", QUALITY, 1 / 3, "listening")
    plots.draw_accuracy(tmp_path / "one.png", {"hard": QUALITY["hard"]}, 1 / 3, "listening")
    changed = {**QUALITY, "hard": {**QUALITY["hard"], "accuracy_high": 0.6}}
    plots.draw_accuracy(tmp_path / "changed.png", changed, 1 / 3, "listening")
    one, two, other = (
        matplotlib.image.imread(tmp_path / f"{name}.png") for name in ("one", "two", "changed")
    )
    assert len(two) - len(one) == pytest.approx(0.36 * 150, abs=1)
    assert (two != other).any()


def test_a_figure_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyError, match="loss"):
        plots.draw_curves(tmp_path / "curves.png", curves(), "loss")
    assert not list(tmp_path.iterdir())


def test_accuracy_reads_back(tmp_path):
    plots.write_accuracy(
        tmp_path / "accuracy.csv", [("hard", 1 / 3, 0.3, 0.4), ("teacher", 0.95, 0.93, 0.97)]
    )
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


def test_routing_has_a_row_per_recipe_seed_stage_and_layer():
    table = maps.routing_table({"layered": ROUTING})
    assert len(table) == 3 * 2 * 3
    first = table[(table.seed == "seed-1") & (table.stage == 2)]
    assert first.layer.tolist() == [1, 2, 3]
    assert first.similarity.tolist() == pytest.approx([0.2, 0.1, 0.4])
    assert first.chosen.tolist() == [0, 1, 1]


def scored(model: np.ndarray) -> dict:
    found = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6}
    return found | {"device": dict.fromkeys(GROUPS, found)}


def test_everything_of_a_track_is_drawn(tmp_path):
    live = tmp_path / "live"
    for number, name in enumerate(("hard/seed-0", "hard/seed-1", "teacher")):
        folder = live / name / "plots/metrics"
        folder.mkdir(parents=True)
        pd.DataFrame({"step": [1, 2, 3], "validation": [0.1, 0.2, 0.3 + number]}).to_csv(
            folder / "validation.tsv", sep="\t", index=False
        )
    items = [
        Item(f"i{n}", "test", "scene", "p", (f"i{n}",), "", CLASSES, int(a))
        for n, a in enumerate(ANSWERS)
    ]
    probabilities = {name: model(0.8) for name in ("teacher", "hard", "hard_int8")}
    quality = {name: scored(one) for name, one in probabilities.items()} | {"gain": DROPS}
    arguments = (quality, probabilities, items, "hard_int8", live, "scenes")
    plots.draw_all(tmp_path / "test", *arguments, GROUPS, {"hard": ROUTING})
    pictures = {
        "accuracy",
        "gains",
        "reliability",
        "curves",
        "confusion",
        "devices",
        "drops",
        "routing",
    }
    assert {file.stem for file in (tmp_path / "test").glob("*.png")} == pictures
    tables = {file.stem: pd.read_csv(file) for file in (tmp_path / "test").glob("*.csv")}
    assert set(tables) == pictures - {"gains", "drops"}
    assert tables["confusion"].groupby(["actual", "predicted"]).size()["airport", "airport"] == 15
    assert (
        tables["devices"].device.tolist()[:3] == ["a", "s1", "s4"] and len(tables["devices"]) == 9
    )
    items = [
        Item(f"i{n}", "test", "detail", "p", (f"i{n}",), "Which?", (f"a{n}", "b", "c"), int(a))
        for n, a in enumerate(ANSWERS)
    ]
    quality["gain"] = GAINS
    plots.draw_all(tmp_path / "other", quality, probabilities, items, *arguments[3:], {}, {})
    assert {file.stem for file in (tmp_path / "other").glob("*.png")} == {
        "accuracy",
        "gains",
        "reliability",
        "curves",
    }
    assert set(pd.read_csv(tmp_path / "other/confusion.csv").actual) == {0, 1, 2}
