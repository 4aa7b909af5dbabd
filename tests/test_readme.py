"""The READMEs name commands and files that are there; tables of results come from metrics."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from earshot.runtime.files import write_json
from earshot.workbench import table
from earshot.workbench.results import Track, read_track

ROOT = Path(__file__).parents[1]
READMES = {"README.md": "en", "README.zh-CN.md": "zh"}


def test_both_readmes_show_the_same_code():
    english, chinese = ((ROOT / name).read_text() for name in READMES)

    def output(text: str) -> list[str]:
        return [block for block in re.findall(r"```console\n(.*?)```", text, re.S)]

    assert output(english) == output(chinese)


@pytest.fixture
def results(tmp_path: Path) -> dict[str, tuple[Track, float]]:
    """The results of a track of classes without times, and of one with some."""
    scores = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6}
    listening = scores | {"macro_f1": 0.5, "wording": {}}
    scenes = scores | {"nll": 1.5}
    students = ("hard", "kd", "pool")
    for track, each in (("listening", listening), ("scenes", scenes)):
        names = ("audio_blind", "teacher", *students, *(f"{name}_int8" for name in students))
        quality = {name: dict(each) for name in names}
        quality["pool"]["accuracy"] = 0.55
        quality["gain"] = {"kd_vs_hard": scores}
        write_json(tmp_path / f"metrics/{track}/quality.json", quality)
        write_json(tmp_path / f"metrics/{track}/cost.json", {"pool_int8": {"bytes": 804600}})
    path = tmp_path / "metrics/scenes/quality.json"
    quality = json.loads(path.read_text())
    quality["teacher"]["class"] = {}
    write_json(path, quality)
    timing = tmp_path / "metrics/listening/timing"
    write_json(timing / "distill@listening-kd.json", {"seconds": 1.0, "train_minutes": 2.5})
    write_json(timing / "teacher@english.json", {"seconds": 1.0, "train_minutes": 3.5})
    latency = {"kd_int8": {"latency_median_ms": 6.25}}
    write_json(timing / "evaluate@listening.json", {"seconds": 1.0, "latency": latency})
    write_json(timing / "download@listening.json", {"seconds": 1.0})
    return {track: (read_track(tmp_path, track), 10.0) for track in ("listening", "scenes")}


def rows(text: str) -> dict[str, list[str]]:
    """Return {first cell: other cells} of a Markdown table's rows."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if " | " in line]
    return {first.strip("`"): cells for first, *cells in lines}


@pytest.mark.parametrize(
    ("items", "shown"), [(1, "1 / 1"), (19, "9.5 / 19"), (20, "50.0 (40.0–60.0)")]
)
def test_of_few_items_no_share_is_shown(items, shown):
    accuracy = 1.0 if items == 1 else 0.5
    score = {"accuracy": accuracy, "accuracy_low": 0.4, "accuracy_high": 0.6, "items": items}
    assert table.ACCURACY.cell(score) == shown


def test_times_are_those_of_the_stages_and_may_be_absent(results):
    models, gains = (rows(part) for part in table.full(*results["listening"]).split("\n\n"))
    assert list(models) == [
        "model", "teacher", "hard", "hard_int8", "kd", "kd_int8", "pool", "pool_int8", "audio_blind"
    ]  # fmt: skip
    times = {name: cells[4:6] for name, cells in models.items()}
    assert times["model"] == ["10-s clip, 1 thread", "training"]
    assert times["kd"][1] == "2.5 min" and times["teacher"][1] == "3.5 min"
    assert times["kd_int8"][0] == "6.2 ms" and times["hard"] == ["", ""]
    assert gains["kd` − `hard"] == ["+50.0 (+40.0 to +60.0)"]
    heads = rows(table.full(*results["scenes"]))["model"]
    assert "macro accuracy, % (95% interval)" in heads
    assert not {"10-s clip, 1 thread", "training"} & set(heads)


def test_a_short_table_has_a_few_rows(results):
    shown = rows(table.short(results["listening"][0], "zh"))
    few = ["模型", "teacher", "hard", "kd", "pool", "pool_int8", "audio_blind"]
    assert list(shown) == few and shown["模型"] == ["准确率，%（95% 区间）", "文件"]
    assert shown["pool_int8"] == ["50.0 (40.0–60.0)", "0.80 MB"]


def test_marked_parts_are_renewed_and_nothing_else(tmp_path: Path, results):
    page = tmp_path / "page.md"
    text = (
        "before\n<!-- results:scenes:begin -->\nold\n<!-- results:scenes:end -->\n"
        "<!-- results:asr:begin -->\nkept\n<!-- results:asr:end -->\n"
        "<!-- results: short -->\nold\n<!-- results: end -->\nafter\n"
    )
    page.write_text(text)
    table.renew(page, results, "scenes")
    scenes = text.replace("old", table.full(*results["scenes"]), 1)
    assert page.read_text() == scenes
    table.renew(page, results)
    few = [f"**{name}**\n\n{table.short(one)}" for name, (one, _) in results.items()]
    assert page.read_text() == scenes.replace("old", "\n\n".join(few))
    table.renew(page, results)
    assert page.read_text() == scenes.replace("old", "\n\n".join(few))


@pytest.mark.parametrize(
    "text", ["", "<!-- results:a:begin -->\n<!-- results: short --><!-- results: end -->"]
)
def test_a_page_without_whole_parts_is_left_alone(tmp_path: Path, results, text: str):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(
        ValueError, match=r"page.md: \d whole parts to fill; expected <!-- results:"
    ):
        table.renew(page, results)
    assert page.read_text() == text


def test_make_pretrain_runs_the_stage_that_dvc_keeps_frozen():
    command = ["make", "-n", "-o", ".venv/ready", "pretrain"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    commands = asked.stdout.splitlines()
    assert any("python stages/pretrain.py listening" in command for command in commands)
    assert not any("dvc repro" in command for command in commands)


def test_a_reader_who_has_enough_is_no_error(results, tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    command = [sys.executable, "-m", "earshot.cli", "table"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as printing:
        printing.stdout.close()
        assert printing.stderr.read() == b"" and printing.wait() == 141
