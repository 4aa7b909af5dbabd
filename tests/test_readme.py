"""The READMEs say what the repository says: tables from metrics, commands that exist, files that
are there.
"""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from earshot.params import ParameterError, parse
from earshot.workbench import profile, table

ROOT = Path(__file__).parents[1]
READMES = {"README.md": "en", "README.zh-CN.md": "zh"}


TRACKS = parse(yaml.safe_load((ROOT / "params.yaml").read_text())).tracks
DONE = [track for track in TRACKS if (ROOT / "metrics" / track / "quality.json").exists()]


@pytest.mark.parametrize(("name", "language"), READMES.items())
@pytest.mark.parametrize("track", DONE)
def test_results_are_those_of_the_metrics(track: str, name: str, language: str):
    text, (begin, end) = (ROOT / name).read_text(), table.markers(track)
    shown = text.split(begin)[1].split(end)[0].strip()
    assert shown == table.render(
        *table.load(track, ROOT), language, TRACKS[track].evaluate.reference_seconds
    )


@pytest.mark.parametrize("name", READMES)
def test_named_files_and_targets_exist(name: str):
    text = (ROOT / name).read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (ROOT / link).exists(), link
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"make ([a-z-]+)", text)) <= set(targets)


def test_both_readmes_show_the_same_code():
    english, chinese = ((ROOT / name).read_text() for name in READMES)

    def output(text: str) -> list[str]:
        return [block for block in re.findall(r"```console\n(.*?)```", text, re.S)]

    assert output(english) == output(chinese)


def test_insert_replaces_between_markers_only(tmp_path: Path):
    readme = tmp_path / "README.md"
    (begin, end), (other, last) = table.markers("scenes"), table.markers("listening")
    kept = f"before\n{other}\nold\n{last}\nbetween\n"
    readme.write_text(f"{kept}{begin}\nold\n{end}\nafter\n")
    table.insert(readme, "scenes", "| new |")
    assert readme.read_text() == f"{kept}{begin}\n| new |\n{end}\nafter\n"
    with pytest.raises(ValueError, match="README.md: no <!-- results:asr:begin -->"):
        table.insert(readme, "asr", "x")


def test_profiles_apply_and_go_back(tmp_path: Path):
    params = tmp_path / "params.yaml"
    params.write_text((ROOT / "params.yaml").read_text())
    original = parse(yaml.safe_load(params.read_text()))
    assert profile.apply(ROOT / "profiles/embedded.yaml", params) == []
    changes = profile.apply(ROOT / "profiles/paper.yaml", params)
    paper = parse(yaml.safe_load(params.read_text()))
    assert any(line.startswith("tracks.listening.student.hidden: ") for line in changes)
    assert paper.tracks["listening"].student.hidden == 512
    assert paper.tracks["listening"].distill.learning_rate == 1e-4
    assert {recipe.epochs for recipe in paper.recipes.values() if recipe.track == "listening"} == {
        50
    }
    assert "# " in params.read_text()  # comments survive
    profile.apply(ROOT / "profiles/embedded.yaml", params)
    assert parse(yaml.safe_load(params.read_text())) == original


def test_a_wrong_profile_leaves_the_file_alone(tmp_path: Path):
    params, wrong = tmp_path / "params.yaml", tmp_path / "wrong.yaml"
    params.write_text((ROOT / "params.yaml").read_text())
    before = params.read_bytes()
    for content, complaint in (("seeed: 1", "seeed"), ("seed: -1", "seed=-1")):
        wrong.write_text(content)
        with pytest.raises(ParameterError, match=complaint):
            profile.apply(wrong, params)
        assert params.read_bytes() == before


def test_make_pretrain_runs_the_stage_that_dvc_keeps_frozen():
    command = ["make", "-n", "-o", ".venv/ready", "pretrain"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    commands = asked.stdout.splitlines()
    assert any("python stages/pretrain.py listening" in command for command in commands)
    assert not any("dvc repro" in command for command in commands)
