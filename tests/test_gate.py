"""The gate: a guarded figure that got too much worse fails, and a change cannot loosen it
unnoticed.
"""

from pathlib import Path

import pytest
from conftest import ROOT
from history import COST, PARAMS, QUALITY, commit, git, project, scores

from earshot import cli
from earshot.workbench.comparison.figures import parse
from earshot.workbench.comparison.gate import gate

QUALITY_FILE, COST_FILE = (f"metrics/listening/{name}.json" for name in ("quality", "cost"))
KD, HARD = (f"listening.quality.{model}.accuracy" for model in ("kd", "hard"))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch) -> Path:
    root = project(tmp_path / "project")
    git(root, "checkout", "--quiet", "-b", "change")
    monkeypatch.chdir(root)
    return root


def gated(capsys, *arguments: str) -> tuple[int, str, str]:
    """Return the exit status, what was printed, and the lines on standard error."""
    status = cli.main(["compare", *arguments, "--gate"])
    return (status, *capsys.readouterr())


def test_a_broken_student_fails_with_its_line(repository, capsys):
    commit(repository, {QUALITY_FILE: {**QUALITY, "kd": scores(0.5)}})
    line = "0.7 → 0.5, worse by 0.2; 0.03 is tolerated"
    status, out, error = gated(capsys, "main", "change")
    assert status == 1 and error == f"gate: {KD}: {line}\n"
    assert f"**Gate: failed**, 1 of 2 guarded figures.\n\n- `{KD}`: {line}" in out
    # Who does not ask for the gate is told, not stopped.
    assert cli.main(["compare", "main", "change"]) == 0
    assert "**Gate: failed**" in capsys.readouterr().out


@pytest.mark.parametrize(("accuracy", "status"), [(0.67, 0), (0.6699, 1), (0.9, 0)])
def test_the_tolerance_itself_is_tolerated(repository, capsys, accuracy, status):
    commit(repository, {QUALITY_FILE: {**QUALITY, "kd": scores(accuracy)}})
    ended, out, error = gated(capsys, "main")
    passed = "**Gate: passed**, 2 guarded figures are within their tolerance."
    assert ended == status == bool(error) and (passed in out) == (status == 0)


@pytest.mark.parametrize(("size", "status"), [(1000, 0), (999, 0), (1001, 1)])
def test_a_cost_has_the_other_direction(repository, capsys, size, status):
    commit(repository, {COST_FILE: {"kd": {**COST["kd"], "bytes": size}}})
    assert gated(capsys, "main")[0] == status


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({**QUALITY, "kd": {"nll": 0.5}}, "vanished"),
        (None, "vanished"),
        ({**QUALITY, "kd": scores(float("nan"))}, "is NaN"),
        ({**QUALITY, "kd": [0.9]}, "is a list"),
        ("{", "the file is not JSON (line 1, column 2"),
    ],
)
def test_a_guarded_figure_that_is_no_number_any_more_fails(repository, capsys, content, why):
    commit(repository, {QUALITY_FILE: content})
    status, _, error = gated(capsys, "main")
    assert status == 1 and error.startswith(f"gate: {KD}: {why}")


def test_a_change_cannot_loosen_its_own_gate_unnoticed(repository, capsys):
    loose = PARAMS.replace("kd.accuracy: 0.03", "kd.accuracy: 0.5")
    commit(repository, {"params.yaml": loose, QUALITY_FILE: {**QUALITY, "kd": scores(0.5)}})
    status, out, error = gated(capsys, "main")
    assert status == 1 and f"this change alters the guard ({KD})" in error
    assert f"⚠ This change alters the guard ({KD})" in out
    commit(repository, {"params.yaml": "seed: 1\n"})  # nor drop it
    assert gated(capsys, "main")[0] == 1
    git(repository, "branch", "merged")
    commit(repository, {QUALITY_FILE: {**QUALITY, "kd": scores(0.3)}})
    status, _, error = gated(capsys, "merged")  # once it is merged, it counts
    assert status == 0 and "neither side has a guard" in error


def test_a_new_guard_counts_for_what_the_base_does_not_guard(repository, capsys):
    commit(repository, {"params.yaml": f"{PARAMS}  {HARD}: 0.01\n"})
    assert gated(capsys, "main")[0] == 0
    commit(repository, {QUALITY_FILE: {**QUALITY, "hard": scores(0.38)}})
    status, _, error = gated(capsys, "main")
    assert status == 1 and HARD in error and "alters" not in error


def test_the_guard_of_a_first_commit_is_its_own_and_new_figures_pass(repository, capsys):
    assert gated(capsys, "--root", "main")[0] == 0
    commit(repository, {"params.yaml": f"{PARAMS}  scenes.quality.layered.acuracy: 0.01\n"})
    status, _, error = gated(capsys, "--root")
    assert status == 2 and "guard.scenes.quality.layered.acuracy" in error and "'acuracy'" in error


def guarded(base: dict, head: dict) -> list[str]:
    sides = {"listening": {"quality": ({"kd.accuracy": 0.5}, {"kd.accuracy": 0.5})}}
    return gate({"guard": base}, {"guard": head}, sides).failures


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"listening.quality.kd.beauty": 0.1}, "guard.listening.quality.kd.beauty: whether more"),
        ({"listening.other.kd.accuracy": 0.1}, "names are TRACK.quality.… or TRACK.cost.…"),
        ({"listening.quality": 0.1}, "names are TRACK.quality.… or TRACK.cost.…"),
        ({KD: -1}, "-1 must be a number, 0 or more"),
        ({KD: float("nan")}, "nan must be a number"),
        ({KD: True}, "True must be a number"),
        ({KD: "1"}, "'1' must be a number"),
        (["listening"], "no mapping of figures to tolerances"),
    ],
)
def test_a_guard_that_cannot_be_read_is_an_error(entry, complaint):
    with pytest.raises(ValueError) as raised:
        guarded({}, entry)
    assert complaint in str(raised.value)


def test_a_guard_of_nothing_fails_until_it_is_corrected():
    wrong, right = {"listening.quality.kb.accuracy": 0.1}, {KD: 0.1}
    assert guarded({}, wrong) == ["listening.quality.kb.accuracy: is in neither side's metrics"]
    assert guarded(wrong, wrong) == guarded({}, wrong)
    assert guarded(wrong, right) == []
    assert guarded({"listening.quality.kd.beauty": 0.1}, right) == []


def test_this_repository_guards_figures_that_it_has(content):
    tracks = {}
    for track in content["tracks"]:
        files = {name: ROOT / f"metrics/{track}/{name}.json" for name in ("quality", "cost")}
        there = {name: path for name, path in files.items() if path.exists()}
        tracks[track] = {name: (parse(path.read_text()),) * 2 for name, path in there.items()}
    found = gate({}, content, tracks)
    assert len(found.checks) >= 6 and found.failures == []
