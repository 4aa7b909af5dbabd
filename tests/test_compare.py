"""`earshot compare`: two states of a small repository, made here, side by side."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from history import COST, PARAMS, QUALITY, commit, git, project, scores, write

from earshot import cli
from earshot.workbench.comparison.figures import Figures, interval, names, parse
from earshot.workbench.comparison.markdown import LIMIT, MARKER, code
from earshot.workbench.comparison.moves import moves

QUALITY_FILE, COST_FILE = (f"metrics/listening/{name}.json" for name in ("quality", "cost"))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch) -> Path:
    """A project on its branch `change`, which is where commands run."""
    root = project(tmp_path / "project")
    git(root, "checkout", "--quiet", "-b", "change")
    monkeypatch.chdir(root)
    return root


def quality(**models: dict[str, Any] | None) -> dict[str, Any]:
    """Return the base's scores with some models replaced, or removed where None."""
    found = {**deepcopy(QUALITY), **models}
    return {name: content for name, content in found.items() if content is not None}


def markdown(capsys, *arguments: str) -> str:
    assert cli.main(["compare", *arguments]) == 0
    return capsys.readouterr().out


def report(capsys, *arguments: str) -> dict[str, Any]:
    def refuse(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    assert cli.main(["compare", *arguments, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=refuse)


def verdicts(found: dict[str, Any], part: str = "quality") -> dict[str, str]:
    return {move["name"]: move["verdict"] for move in found["tracks"]["listening"][part]}


def complaint(capsys, *arguments: str) -> str:
    assert cli.main(["compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("earshot: ") and error.count("\n") == 1
    return error


def test_a_changed_temperature_and_what_came_of_it(repository, capsys):
    cost = {"kd": {**COST["kd"], "bytes": 1200, "timing": {"latency_median_ms": 9.0}}}
    head = {
        "params.yaml": PARAMS.replace("2.0", "4.0"),
        QUALITY_FILE: quality(kd=scores(0.75, nll=0.4), hard=scores(0.41)),
        COST_FILE: cost,
    }
    base, changed = git(repository, "rev-parse", "main"), commit(repository, head)
    text = markdown(capsys, "main", "change")
    title = f"## Earshot: `main` ({base[:10]}) → `change` ({changed[:10]})\n"
    assert text.startswith(f"{MARKER}\n{title}")
    moved = "2 moved within their intervals or without a verdict, 5 the same; 1 cost changed."
    assert f"**1 better**, {moved}" in text
    assert "| `kd` | 70.0% (68.0–72.0) | 75.0% (73.0–77.0) | +5.0 | **▲ better** |" in text
    assert "| `hard` | 40.0% (38.0–42.0) | 41.0% (39.0–43.0) | +1.0 |  |" in text
    assert "Unchanged accuracy: `teacher`." in text
    assert "| `kd.nll` | 0.5 | 0.4 | -0.1 (-20.0%) |  |" in text
    assert "| `kd.bytes` | 1,000 | 1,200 | +200 (+20.0%) | **▼ worse** |" in text
    assert "timing" not in text  # older commits hold times: a machine's, not the change's
    assert "| `recipes.listening-kd.terms.kd.temperature` | `2.0` | `4.0` |" in text


def test_json_says_the_same_of_a_commit_or_the_working_tree(repository, capsys):
    head = {"params.yaml": "seed: 1\nnew: [1, x]\n", QUALITY_FILE: quality(kd=scores(0.6))}
    write(repository, head)
    loose = report(capsys, "main")
    assert loose["head"] == {"name": "working tree", "commit": None}
    commit(repository, head)
    found = report(capsys, "main", "HEAD")
    assert {**found, "head": None} == {**loose, "head": None}
    (moved,) = found["tracks"]["listening"]["quality"]
    assert (moved["name"], moved["verdict"]) == ("kd.accuracy", "worse")
    assert moved["change"] == pytest.approx(-0.1)
    assert moved["base_interval"] == pytest.approx([0.68, 0.72])
    assert found["tracks"]["listening"]["same"] == {"quality": 7, "cost": 2}
    assert found["parameters"]["added"] == {"new": [1, "x"]}
    assert found["parameters"]["removed"]["recipes.listening-kd.terms.kd.temperature"] == 2.0
    failure = "0.7 → 0.6, worse by 0.1; 0.03 is tolerated"
    assert found["gate"]["failures"] == [f"listening.quality.kd.accuracy: {failure}"]


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ((0.70, 0.68, 0.72), (0.73, 0.721, 0.739), "better"),
        ((0.70, 0.68, 0.72), (0.67, 0.66, 0.679), "worse"),
        ((0.70, 0.68, 0.72), (0.73, 0.69, 0.77), "within"),  # the base lies in the head's interval
        ((0.70, 0.60, 0.80), (0.73, 0.72, 0.74), "within"),  # the head lies in the base's
        ((0.70, 0.68, 0.73), (0.73, 0.72, 0.74), "within"),  # at its very end
        ((0.70, 0.68, 0.72), (0.70, 0.60, 0.80), "same"),
        ((1.0, 1.0, 1.0), (0.97, 0.9, 1.0), "within"),  # an interval without width
    ],
)
def test_better_and_worse_are_said_beyond_both_intervals_only(old, new, verdict):
    keys = ("m.accuracy", "m.accuracy_low", "m.accuracy_high")
    sides = (dict(zip(keys, side, strict=True)) for side in (old, new))
    assert [move.verdict for move in moves(*sides, counted=False)] == [verdict]


def test_directions_gains_and_figures_without_a_direction():
    def side(value: float) -> Figures:
        found = {"m.nll": value, "m.seeds": value}
        for name in ("m.device_drop", "gain.a_vs_b.accuracy", "m.strangeness", "m.wer"):
            found |= {name: value, f"{name}_low": value - 0.01, f"{name}_high": value + 0.01}
        return found

    assert {move.name: move.verdict for move in moves(side(0.1), side(0.2), counted=False)} == {
        "m.device_drop": "worse",
        "m.wer": "worse",
        "gain.a_vs_b.accuracy": "higher",  # of which of the two, it does not say
        "m.strangeness": "higher",
        "m.nll": "changed",  # no interval, no verdict
        "m.seeds": "changed",
    }


def test_nothing_moved_between_a_commit_and_itself_or_its_checkout(repository, capsys):
    for arguments in (["main", "main"], ["main"], [git(repository, "rev-parse", "main")]):
        found = report(capsys, *arguments)
        assert found["tracks"]["listening"]["quality"] == found["tracks"]["listening"]["cost"] == []
        assert not any(found["parameters"].values()) and not found["faults"]
        assert not found["gate"]["failures"]


def test_a_track_a_model_and_a_file_come_and_go(repository, capsys):
    new = {"kd": {**scores(0.5), "class": {"bus": {"accuracy": 0.4}}}}
    head = {QUALITY_FILE: quality(kd=None, fresh=scores(0.8)), COST_FILE: None}
    commit(repository, {"metrics/scenes/quality.json": new, **head})
    found = report(capsys, "main", "change")
    assert {name: track["state"] for name, track in found["tracks"].items()} == {
        "listening": "both",
        "scenes": "new",
    }
    assert verdicts(found)["kd.accuracy"] == "gone" and verdicts(found)["fresh.accuracy"] == "new"
    assert set(verdicts(found, "cost").values()) == {"gone"}
    text = markdown(capsys, "main", "change")
    assert "### scenes: a new track\n\n| macro accuracy" in text
    assert "| `fresh` | – | 80.0% (78.0–82.0) |  | new |" in text
    assert "| `kd` | 70.0% (68.0–72.0) | – |  | gone |" in text
    assert "### scenes: this track is gone" in markdown(capsys, "change", "main")


def test_a_base_without_metrics_and_a_first_commit(repository, capsys):
    git(repository, "checkout", "--quiet", "--orphan", "bare")
    git(repository, "rm", "--quiet", "-r", "--force", ".")
    commit(repository, {"README": "nothing yet"})
    assert set(verdicts(report(capsys, "bare", "main")).values()) == {"new"}
    assert markdown(capsys, "bare", "bare").endswith("Neither side has metrics.\n")
    found = report(capsys, "--root", "main")
    assert found["base"] == {"name": "nothing", "commit": None}
    assert set(verdicts(found).values()) == {"new"} and found["gate"]["failures"] == []
    assert found["parameters"]["added"]["seed"] == 1
    assert report(capsys, "--root")["tracks"] == {}


def test_what_is_no_number_is_told_by_name(repository, capsys):
    odd = {
        "teacher": [1, 2],
        "kd": scores(float("nan")),
        "hard": {**scores(0.4), "nll": float("inf"), "note": "x", "on": True},
        "empty": {},
    }
    commit(repository, {QUALITY_FILE: {**quality(), **odd}})
    found = report(capsys, "main", "change")
    expected = {f"kd.accuracy{end} is NaN" for end in ("", "_low", "_high")}
    expected |= {"hard.nll is infinite", "hard.note is text", "hard.on is true"}
    expected |= {"teacher is a list", "empty is an empty object"}
    assert set(found["faults"]) == {f"{QUALITY_FILE} (head): {what}" for what in expected}
    unusable = ("kd.accuracy", "teacher.accuracy", "hard.nll")
    assert {verdicts(found)[name] for name in unusable} == {"unusable"}
    text = markdown(capsys, "main", "change")
    assert f"- `{QUALITY_FILE} (head): kd.accuracy is NaN`" in text
    assert "| `kd` | 70.0% (68.0–72.0) | – |  | ⚠ no number |" in text


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"kd": {"accuracy": 0.7,}', "is not JSON (line 1, column 25"),
        ("", "is not JSON"),
        ("[1]", "is a list, not an object"),
        (b"\xff\xfe{}", "is not UTF-8"),
    ],
)
def test_a_metrics_file_that_cannot_be_read_is_told_and_the_rest_compared(
    repository, capsys, content, what
):
    commit(repository, {QUALITY_FILE: content, COST_FILE: {"kd": {"bytes": 900}}})
    found = report(capsys, "main", "change")
    (fault,) = found["faults"]
    assert fault.startswith(f"{QUALITY_FILE} (head): {what}")
    assert set(verdicts(found).values()) == {"unusable"}
    assert verdicts(found, "cost")["kd.bytes"] == "better"
    assert f"the file {what}"[:30] in found["gate"]["failures"][0]


def test_parameters_that_cannot_be_read_are_an_error(repository, capsys):
    faults = {"a: [1\n": ": line 2: expected ',' or ']'", "- 1\n": " is list, not a mapping"}
    for content, what in faults.items():
        write(repository, {"params.yaml": content})
        assert f"params.yaml (working tree){what}" in complaint(capsys, "main")


def test_a_type_and_a_value_json_lacks_count_as_changes(repository, capsys):
    commit(repository, {"params.yaml": "seed: 1.0\nnan: .nan\nday: 2026-01-02\n"})
    found = report(capsys, "main", "change")["parameters"]
    assert found["changed"] == {"seed": [1, 1.0]}
    assert found["added"] == {"nan": "nan", "day": "2026-01-02"}


def test_a_shallow_clone_says_what_to_fetch_and_then_compares(
    repository, tmp_path, monkeypatch, capsys
):
    base = git(repository, "rev-parse", "main")
    commit(repository, {QUALITY_FILE: quality(kd=scores(0.5))})
    clone = tmp_path / "clone"
    words = ("clone", "--quiet", "--depth=1", "--branch=change", f"file://{repository}")
    git(tmp_path, *words, str(clone))
    monkeypatch.chdir(clone)
    fetch = "git fetch --depth=1 origin main:refs/remotes/origin/main"
    error = complaint(capsys, "origin/main")
    assert error == f"earshot: origin/main: no such commit in this clone; fetch it: {fetch}\n"
    assert f"git fetch --depth=1 origin {base}" in complaint(capsys, base)
    rest = "the clone is shallow, fetch the rest: git fetch --unshallow origin"
    assert rest in complaint(capsys, "HEAD~1")
    git(clone, *fetch.split()[1:])
    assert verdicts(report(capsys, "origin/main")) == {"kd.accuracy": "worse"}


def test_wrong_arguments_and_places_are_one_clear_line(repository, tmp_path, monkeypatch, capsys):
    for arguments in ((), ("main", "change", "main"), ("--root", "main", "change")):
        assert "BASE [HEAD]" in complaint(capsys, *arguments)
    assert "git fetch origin" in complaint(capsys, "no-such-branch")
    assert "no such commit" in complaint(capsys, "--", "--output=stolen")
    assert not Path("stolen").exists()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "no Git repository" in complaint(capsys, "main")
    monkeypatch.setenv("PATH", "")
    assert "no such command" in complaint(capsys, "main")


def test_a_project_in_a_folder_of_its_repository(tmp_path, monkeypatch, capsys):
    root = project(tmp_path / "whole")
    git(root, "checkout", "--quiet", "-b", "moved")
    (root / "part").mkdir()
    git(root, "mv", "metrics", "params.yaml", "plots", "part")
    base = commit(root, {"outside": "x"})
    commit(root, {f"part/{QUALITY_FILE}": quality(kd=scores(0.8))})
    monkeypatch.chdir(root / "part")
    found = report(capsys, base, "moved")
    assert verdicts(found) == {"kd.accuracy": "better"} and not any(found["parameters"].values())


def test_a_name_cannot_break_out_of_its_cell(repository, capsys):
    name = "a|b`<img src=x>\n@someone"
    params = f"{json.dumps(name)}: {json.dumps(name)}\n"
    commit(repository, {QUALITY_FILE: quality(**{name: scores(0.5)}), "params.yaml": params})
    text = markdown(capsys, "main", "change")
    assert "<img" not in text and "@someone" not in text and "\n&#64;" not in text
    assert text.count("<code>a&#124;b&#96;&lt;img src=x&gt; &#64;someone</code>") >= 2
    assert code("plain") == "`plain`" and code("x" * 50, 10) == f"`{'x' * 9}…`"


def test_a_comment_is_never_too_long_for_github(repository, capsys):
    values = "".join(f"key_{i}: {'v' * 70}\n" for i in range(2000))
    commit(repository, {"params.yaml": values, QUALITY_FILE: quality(kd=scores(0.5))})
    text = markdown(capsys, "main", "change")
    assert len(text) <= LIMIT and "▼ worse" in text and "The rest is cut" in text
    assert text.count("<details>") == text.count("</details>")
    assert len(report(capsys, "main", "change")["parameters"]["added"]) == 2000


def test_ends_belong_to_their_figure_and_other_names_of_that_form_do_not():
    ends = '"accuracy_low": 0.4, "accuracy_high": 0.6'
    found = parse(f'{{"m": {{"accuracy": 0.5, {ends}, "cut_low": 1}}}}')
    assert names(found) == ["m.accuracy", "m.cut_low"]
    assert interval(found, "m.accuracy") == (0.4, 0.6)


def test_this_repository_beside_itself(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    if not (ROOT / ".git").exists():
        pytest.skip("not a Git checkout")
    found = report(capsys, "HEAD", "HEAD")
    assert found["tracks"] and found["faults"] == [] and found["gate"]["failures"] == []
    for track in found["tracks"].values():
        assert track["quality"] == track["cost"] == [] and sum(track["same"].values()) > 50
