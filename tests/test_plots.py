"""Tables that read back, and pictures that are drawn, the same bytes every time."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import results
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from earshot.evaluation import charts, figures, maps, metrics, plots

CHOICES = {"accuracy", "gains", "reliability", "curves", "confusion", "robustness"}
SVG = "{http://www.w3.org/2000/svg}"


def texts(picture: ElementTree.Element) -> list[str]:
    return [text.text for text in picture.iter(f"{SVG}text")]


def test_everything_of_a_track_is_drawn_with_the_same_bytes(tmp_path: Path):
    results.draw(tmp_path / "one")
    results.draw(tmp_path / "two")
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    pictures = CHOICES | {"drops", "devices", "routing"}
    tables = pictures - {"gains", "drops"}
    expected = [f"{name}.svg" for name in pictures] + [f"{name}.csv" for name in tables]
    assert files == sorted(expected)
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    confusion = pd.read_csv(tmp_path / "one/confusion.csv")
    assert confusion.groupby(["actual", "predicted"]).size()["airport", "airport"] == 15
    devices = pd.read_csv(tmp_path / "one/devices.csv")
    assert devices["device"].tolist()[:3] == ["a", "s1", "s4"] and len(devices) == 15
    accuracy = pd.read_csv(tmp_path / "one/accuracy.csv", index_col="model")
    assert accuracy.loc["kd_int8"].tolist() == [0.69, 0.69 - 0.05, 0.69 + 0.05]


def test_a_track_of_choices_has_no_devices_and_numbers_its_options(tmp_path: Path):
    results.draw(tmp_path / "test", same=False)
    assert {path.stem for path in (tmp_path / "test").glob("*.svg")} == CHOICES
    assert set(pd.read_csv(tmp_path / "test/confusion.csv").actual) == {0, 1, 2}
    assert "option 3" in texts(ElementTree.parse(tmp_path / "test/confusion.svg").getroot())


def test_pictures_follow_the_paper_and_say_what_they_show(tmp_path: Path):
    results.draw(tmp_path / "test")
    for path in (tmp_path / "test").glob("*.svg"):
        content, picture = path.read_text(), ElementTree.parse(path).getroot()
        style = picture.find(f"{SVG}style").text
        assert "prefers-color-scheme: dark" in style and figures.PALETTE["ink"][1] in style
        assert not re.search(r"(fill|stroke): #", content), f"{path.name}: a colour without a name"
        assert picture.get("role") == "img" and picture.get("aria-label")
        assert "metadata" not in content and "url(#" not in style
        assert len(content) < 60_000
    accuracy = ElementTree.parse(tmp_path / "test/accuracy.svg").getroot()
    assert {"kd_int8", "69.0 (64.0–74.0)", "chance 33%"} <= set(texts(accuracy))
    assert "kd_int8 69.0 (64.0–74.0)" in accuracy.get("aria-label")
    gains = ElementTree.parse(tmp_path / "test/drops.svg").getroot()
    assert {"kd − hard", "−10.0 (−20.0 … +5.0)"} <= set(texts(gains))
    devices = ElementTree.parse(tmp_path / "test/devices.svg").getroot()
    assert "s4 (unseen)" in texts(devices) and "hard" not in texts(devices)
    routing = ElementTree.parse(tmp_path / "test/routing.svg").getroot()
    assert {"0.50", "3/3", "2/3"} <= set(texts(routing))


@pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
def test_every_ink_can_be_read_on_every_paper(side: int):
    def light(colour) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour]
        return 0.05 + np.dot(linear, [0.2126, 0.7152, 0.0722])

    def contrast(one, other) -> float:
        return max(light(one), light(other)) / min(light(one), light(other))

    colours = {name: np.array(to_rgb(pair[side])) for name, pair in figures.PALETTE.items()}
    papers = {name: colours.pop(name) for name in ("paper", "panel")}
    heat, _ = colours.pop("heat"), colours.pop("rule")
    papers_of_ink = [*papers.values(), maps.DARKEST * heat + (1 - maps.DARKEST) * papers["paper"]]
    assert min(contrast(colours["ink"], paper) for paper in papers_of_ink) >= 4.5
    for name, colour in colours.items():
        assert min(contrast(colour, paper) for paper in papers.values()) >= 4.5, name


def test_a_picture_changes_with_its_numbers_and_ids_with_its_name():
    rows = [charts.Estimate("a<b", 0.5, 0.4, 0.6), charts.Estimate("b", 0.2, 0.1, 0.3, 1, True)]
    drawn = [charts.intervals(rows, width, "x") for width in (figures.WIDE, figures.NARROW)]
    wide, narrow = (figures.svg(figure, "name") for figure in drawn)
    assert 'viewBox="0 0 900' in wide and 'viewBox="0 0 342' in narrow
    assert "a&lt;b" in wide and ElementTree.fromstring(wide) is not None
    moved = charts.intervals([rows[0]._replace(high=0.7), rows[1]], figures.WIDE, "x")
    assert figures.svg(moved, "name") != wide
    other = figures.svg(charts.intervals(rows, figures.WIDE, "x"), "other")
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (wide, other)]
    assert ids[0] and not ids[0] & ids[1]


def test_quantized_forms_share_their_students_series_and_are_hollow():
    models = ["teacher", "kd", "kd_int8", "kd_ptq", "audio_blind"]
    found = charts.estimate("kd_ptq", {"wer": 0.1}, "wer", models)
    assert found == ("kd_ptq", 0.1, 0.1, 0.1, 1, True)
    assert len({charts.style(number) for number in range(49)}) == 49
    assert charts.series(["x", "audio_blind"], models) == {"audio_blind": 2, "x": 3}
    assert charts.shortlist(models) == ["teacher", "kd_int8", "audio_blind"]
    gains = {"a_vs_b": {"accuracy": 0.1, "accuracy_low": -0.1, "accuracy_high": 0.2}}
    assert charts.paired(gains, "accuracy") == [("a − b", 0.1, -0.1, 0.2, 0, True)]
    assert charts.paired(gains, "device_drop") == []


def test_learning_curves_are_read_from_every_seed_or_named(tmp_path: Path):
    table = plots.curves_table(results.curves(tmp_path))
    epochs = table.groupby(["model", "seed"]).size().to_dict()
    assert epochs == {("kd", "seed-0"): 9, ("kd", "seed-1"): 5, ("teacher", "seed-0"): 3}
    drawn = charts.curves(table, "validation", {"kd": 0}, 900, ("epoch", "accuracy"), share=True)
    assert drawn.get_label() == "accuracy: kd 0.84"  # where both seeds are: epoch 5
    with pytest.raises(ValueError, match=f"{tmp_path / 'none'}: no learning curves"):
        plots.curves_table({"kd": tmp_path / "none"})


def test_reliability_has_the_filled_bins_of_all_seeds():
    both = np.concatenate([results.probabilities(0.5), results.probabilities(0.9)])
    table = plots.reliability_table(both, results.ANSWERS)
    assert table["confidence"].tolist() == pytest.approx([0.5, 0.9])
    assert table["accuracy"].tolist() == pytest.approx([0.5, 0.5])
    assert table["count"].tolist() == [90, 90]
    error = metrics.calibration_error(both, results.ANSWERS)
    assert error == pytest.approx((0.0 + 0.4) / 2)


def test_routing_has_a_row_per_recipe_seed_stage_and_layer():
    table = maps.routing_table({"layered": results.ROUTING})
    assert len(table) == 3 * 2 * 3
    rows = table[(table.seed == "seed-1") & (table.stage == 2)]
    assert rows.layer.tolist() == [1, 2, 3]
    assert rows.similarity.tolist() == pytest.approx([0.2, 0.1, 0.4])
    assert rows.chosen.tolist() == [0, 1, 1]


def test_an_axis_of_zeros_alone_has_room(recwarn):
    axes = Figure().subplots()
    charts._across(axes, [charts.Estimate("a gain", 0.0, 0.0, 0.0)], "gain", narrow=False)
    low, high = axes.get_xlim()
    assert low == 0 < high
    assert not recwarn
