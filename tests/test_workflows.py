"""The workflows: GitHub's schema accepts them, they may do no more than they must, and their
scripts do what they say.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from history import ALONE, commit, git

from earshot.workbench.comparison.markdown import MARKER

FOLDER = ROOT / ".github/workflows"
NAMES = sorted(path.name for path in FOLDER.glob("*.yml"))


def workflow(name: str) -> dict[str, Any]:
    content = yaml.safe_load((FOLDER / name).read_text())
    return {
        "on" if key is True else key: value for key, value in content.items()
    }  # YAML 1.1 takes `on` for true


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def script(name: str, step: str) -> str:
    """Return what a step runs."""
    return next(one["run"] for one in steps(name) if one.get("name") == step)


def run(text: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as GitHub does: bash that stops at the first error."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **ALONE, "PATH": tools, "DVC_NO_ANALYTICS": "1", **variables}
    return subprocess.run(
        ["bash", "-e", "-c", text], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_workflows_are_there():
    assert NAMES == ["ci.yml", "comment.yml", "page.yml"]


def check(*files: Path) -> subprocess.CompletedProcess[str]:
    """Check workflows against GitHub's schema."""
    module = [sys.executable, "-m", "check_jsonschema"]
    schema = ["--builtin-schema", "vendor.github-workflows"]
    return subprocess.run([*module, *schema, *files], capture_output=True, text=True)


def test_github_accepts_them():
    checked = check(*(FOLDER / name for name in NAMES))
    assert checked.returncode == 0, checked.stdout


def test_a_workflow_with_a_slip_is_refused(tmp_path):
    wrong = tmp_path / "ci.yml"
    wrong.write_text((FOLDER / "ci.yml").read_text().replace("runs-on", "run-on"))
    assert check(wrong).returncode == 1


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_others_write_gets_into_a_script(name):
    text = (FOLDER / name).read_text()
    assert "pull_request_target" not in text and "secrets." not in text
    assert [step["run"] for step in steps(name) if "${{" in step.get("run", "")] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_job_ends_and_uses_actions_of_github_alone(name):
    assert all(0 < job["timeout-minutes"] <= 120 for job in workflow(name)["jobs"].values())
    used = [step["uses"] for step in steps(name) if "uses" in step]
    assert [action for action in used if not re.fullmatch(r"actions/[\w/-]+@v\d+", action)] == []
    assert all(
        one["with"]["persist-credentials"] is False
        for one in steps(name)
        if "checkout@" in one.get("uses", "")
    )


def test_what_runs_a_pull_requests_code_may_only_read():
    found = workflow("ci.yml")
    assert found["permissions"] == {"contents": "read"} and set(found["on"]) == {
        "push",
        "pull_request",
    }
    assert not any("permissions" in job for job in found["jobs"].values())
    assert "github.token" not in (FOLDER / "ci.yml").read_text()


def test_what_may_write_runs_no_code_of_a_pull_request():
    found = workflow("comment.yml")
    (job,) = found["jobs"].values()
    assert found["permissions"] == {} and job["permissions"] == {
        "actions": "read",
        "pull-requests": "write",
    }
    assert found["on"] == {
        "workflow_run": {"workflows": [workflow("ci.yml")["name"]], "types": ["completed"]}
    }
    assert not any("uses" in step for step in job["steps"])
    assert not re.search(
        r"\b(git|make|python|earshot|eval|source)\b",
        " ".join(step["run"] for step in job["steps"]).replace(MARKER, ""),
    )
    assert job["env"]["MARKER"] == MARKER


def test_what_puts_the_page_up_takes_it_from_a_run_on_the_main_branch():
    found = workflow("page.yml")
    (job,) = found["jobs"].values()
    assert found["permissions"] == {} and job["permissions"] == {
        "actions": "read",
        "pages": "write",
        "id-token": "write",
    }
    assert found["on"]["workflow_run"]["branches"] == ["main"]
    assert "event == 'push'" in job["if"] and "checkout" not in str(job["steps"])
    built = [step for step in steps("ci.yml") if step.get("run") == "earshot page"]
    handed = [one["with"] for one in steps("ci.yml") if one.get("with", {}).get("name") == "page"]
    assert len(built) == len(handed) == 1 and handed[0]["path"] == "docs/demo"


def test_the_gate_comes_last_and_the_comment_before_it():
    names = [
        step.get("name", step.get("uses"))
        for step in workflow("ci.yml")["jobs"]["pipeline"]["steps"]
    ]
    assert names[-3:] == ["Compare with the base", "Hand over the comment", "Gate"]
    assert names.index("Save DVC's cache") < names.index("Compare with the base")


def test_the_lints_version_is_the_locks():
    asked = re.search(r'"\$\((grep [^)]+)\)"', script("ci.yml", "Lint"))[1]
    found = run(asked, ROOT).stdout.strip()
    assert (
        re.fullmatch(r"ruff==\d+\.\d+\.\d+", found)
        and f'"{found}"' in (ROOT / "pyproject.toml").read_text()
    )


# posting the comment, GitHub's answers made up


GH = """\
#!/usr/bin/env python3
import json, os, pathlib, sys
said, here = sys.argv[1:], pathlib.Path(os.environ["FAKE"])
with open(here / "calls", "a") as log:
    log.write(json.dumps(said) + "\\n")
if said[:2] == ["run", "download"]:
    folder = pathlib.Path(said[said.index("--dir") + 1])
    folder.mkdir()
    for file in (here / "artifact").iterdir():
        if file.is_symlink():
            (folder / file.name).symlink_to(file.readlink())
        else:
            (folder / file.name).write_bytes(file.read_bytes())
elif "--method" in said:
    pathlib.Path(here / "posted").write_text(pathlib.Path(said[-1]).read_text())
else:
    path = next(one for one in said if one.startswith("repos/"))
    last = path.rpartition("/")[2]
    kind = last if last in ("artifacts", "comments") else "pull"
    query = said[said.index("--jq") + 1]
    os.execvp("jq", ["jq", "--raw-output", query, str(here / f"{kind}.json")])
"""
SHA = "a" * 40
BOT = {"login": "github-actions[bot]"}


@pytest.fixture
def github(tmp_path: Path):
    """Return what runs the comment workflow against GitHub's made-up answers; it returns the calls
    and what was posted.
    """
    if not shutil.which("jq"):
        pytest.skip("jq is not installed")
    gh = tmp_path / "bin/gh"
    gh.parent.mkdir()
    gh.write_text(GH)
    gh.chmod(0o755)
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "comment.md").write_text(f'{MARKER}\n## it\'s "so" $(touch stolen) `x`\n')
    (artifact / "number").write_text("7\n")

    def post(
        comments: list[dict] = (), head: str = SHA, artifacts: tuple[str, ...] = ("comparison",)
    ):
        answers = {
            "artifacts": {"artifacts": [{"name": name, "expired": False} for name in artifacts]},
            "pull": {"head": {"sha": head}},
            "comments": list(comments),
        }
        for name, answer in answers.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(answer))
        work = tmp_path / "work"
        work.mkdir()
        path = f"{gh.parent}{os.pathsep}{os.environ['PATH']}"
        settings = {
            "GH_REPO": "a/b",
            "RUN": "1",
            "HEAD_SHA": SHA,
            "MARKER": MARKER,
            "FAKE": str(tmp_path),
        }
        text = script("comment.yml", "Post or update the comment")
        ended = run(f'export PATH="{path}"\n{text}', work, **settings)
        calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
        posted = tmp_path / "posted"
        assert not (work / "stolen").exists()
        return (
            ended,
            [call for call in calls if "--method" in call],
            json.loads(posted.read_text()) if posted.exists() else None,
        )

    post.artifact = artifact
    return post


def test_a_first_comment_is_made(github):
    stranger = {"id": 1, "user": {"login": "someone"}, "body": f"{MARKER} not ours"}
    other = {"id": 2, "user": BOT, "body": "another of the bot's"}
    ended, (call,), posted = github([stranger, other])
    assert ended.returncode == 0, ended.stderr
    assert call[2:5] == ["--method", "POST", "repos/a/b/issues/7/comments"]
    assert posted == {"body": (github.artifact / "comment.md").read_text()}


def test_the_first_of_our_comments_is_updated(github):
    ended, (call,), posted = github(
        [{"id": number, "user": BOT, "body": f"{MARKER}\nold"} for number in (3, 4)]
    )
    assert ended.returncode == 0, ended.stderr
    assert call[2:5] == ["--method", "PATCH", "repos/a/b/issues/comments/3"] and posted[
        "body"
    ].startswith(MARKER)


def test_a_commit_that_is_no_more_the_head_and_a_run_without_comparison_post_nothing(github):
    ended, calls, _ = github(head="b" * 40)
    assert ended.returncode == 0 and calls == [] and "another commit" in ended.stdout


def test_a_run_without_comparison_posts_nothing(github):
    ended, calls, _ = github(artifacts=("comparison-of-others",))
    assert ended.returncode == 0 and calls == [] and "made no comparison" in ended.stdout


@pytest.mark.parametrize(
    "number", ["", "0", "7/../8", "7\n8", "-1", "7; touch stolen", "99999999999999"]
)
def test_a_number_that_is_none_posts_nothing(github, number):
    (github.artifact / "number").write_text(number)
    ended, calls, _ = github()
    assert (ended.returncode, calls) == (1, [])


def test_a_comment_that_is_not_ours_too_long_or_a_link_posts_nothing(github, tmp_path):
    comment = github.artifact / "comment.md"
    for spoil in (
        lambda: comment.write_text("hello"),
        lambda: comment.write_text(f"{MARKER}\n{'x' * 200_001}"),
    ):
        spoil()
        ended, calls, _ = github()
        assert (ended.returncode, calls) == (1, [])
        shutil.rmtree(tmp_path / "work")
    comment.unlink()
    comment.symlink_to("/etc/hostname")
    ended, calls, _ = github()
    assert (ended.returncode, calls) == (1, [])


# the pipeline's cache, on a pipeline of two stages

DVC_YAML = """\
stages:
  make:
    cmd: python make.py
    deps: [make.py]
    outs: [made.bin]
  measure:
    cmd: python measure.py
    deps: [measure.py, made.bin]
    params: [width]
    metrics: [metrics/track/quality.json: {cache: false}]
    plots: [plots/track: {cache: false}]
"""
# what another machine would make differs by a byte
MAKE = (
    "import os; open('made.bin', 'w').write(os.environ['MACHINE']); open('log', 'a').write('make ')"
)
MEASURE = """\
import json, os, pathlib, yaml
pathlib.Path('plots/track').mkdir(parents=True, exist_ok=True)
pathlib.Path('plots/track/a.png').write_text(os.environ['MACHINE'])
pathlib.Path('metrics/track').mkdir(parents=True, exist_ok=True)
width = yaml.safe_load(open('params.yaml'))['width']
scores = {'m': {'accuracy': width, 'on': len(os.environ['MACHINE'])}}
pathlib.Path('metrics/track/quality.json').write_text(json.dumps(scores))
open('log', 'a').write('measure ')
"""


@pytest.mark.slow
def test_ci_takes_up_what_ci_made_and_runs_what_changed(tmp_path):
    author, seen = tmp_path / "author", {"MACHINE": "the author's"}
    author.mkdir()
    git(author, "init", "--quiet", "--initial-branch=main")
    assert run("dvc init --quiet", author).returncode == 0
    files = {
        "dvc.yaml": DVC_YAML,
        "make.py": MAKE,
        "measure.py": MEASURE,
        "params.yaml": "width: 1\n",
    }
    others = {"metrics/other.json": {}, "plots/other.csv": "x\n"}
    commit(author, {**files, **others, ".gitignore": "/made.bin\n/log\n/.dvc/earlier\n"})
    assert run("dvc repro --quiet", author, **seen).returncode == 0
    commit(author, {}, "results")
    cache = tmp_path / "cache"

    def pipeline(name: str) -> tuple[Path, str]:
        """Run CI's steps in a fresh clone, with what the last run saved; return the clone and the
        stages that ran.
        """
        clone = tmp_path / name
        git(tmp_path, "clone", "--quiet", str(author), str(clone))
        for saved in ("cache", "earlier"):
            if (cache / saved).exists():
                shutil.copytree(cache / saved, clone / ".dvc" / saved)
        for step in ("Take up what was made", "Run what changed", "Keep what was made"):
            ended = run(script("ci.yml", step), clone, MACHINE="CI's")
            assert ended.returncode == 0, f"{step}: {ended.stdout}{ended.stderr}"
        shutil.rmtree(cache, ignore_errors=True)
        for saved in ("cache", "earlier"):
            shutil.copytree(clone / ".dvc" / saved, cache / saved)
        log = clone / "log"
        return clone, log.read_text().strip() if log.exists() else ""

    assert (
        pipeline("first")[1] == "make measure"
    )  # nothing was saved, and the author's bytes are elsewhere
    assert pipeline("again")[1] == ""
    (author / "params.yaml").write_text("width: 2\n")
    commit(author, {}, "a change whose results its author has not made")
    clone, ran = pipeline("changed")
    assert (
        ran == "measure"
        and json.loads((clone / "metrics/track/quality.json").read_text())["m"]["accuracy"] == 2
    )
    git(author, "rm", "--quiet", "-r", "metrics/track", "plots/track")
    commit(author, {"dvc.yaml": DVC_YAML.split("  measure:")[0]}, "the track is gone")
    clone, ran = pipeline("removed")
    assert ran == "" and not (clone / "metrics/track").exists()
