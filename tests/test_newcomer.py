"""What a newcomer's machine lacks: Git, the environment on PATH."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPT = "import sys, pandas; print(sys.argv[1:], sys.executable, sys.path[1])"
BARE = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}


def make(folder: Path) -> None:
    (folder / "stages").mkdir()
    shutil.copy(ROOT / "stages/run", folder / "stages/run")
    (folder / "stages/one.py").write_text(SCRIPT)


def ask(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=folder, env=BARE | environment, capture_output=True, text=True
    )


def test_a_stage_finds_the_python_of_dvc_without_path(tmp_path):
    make(tmp_path)
    like_dvc = "import subprocess; subprocess.run('sh stages/run one key; true', shell=True)"
    python = Path(sys.prefix) / "bin/python"
    done = ask(tmp_path, str(python), "-c", like_dvc)
    assert done.stdout.split()[:2] == ["['key']", str(python)], done.stderr
    assert done.stdout.split()[2].endswith("/src")


def test_a_stage_finds_the_environment_of_the_folder(tmp_path):
    make(tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    done = ask(tmp_path, "sh", "stages/run", "one", "key")
    assert done.stdout.startswith("['key'] "), done.stderr


def test_without_any_environment_one_line_says_what_to_type(tmp_path):
    make(tmp_path)
    between = "sh -c 'sh stages/run one k; exit $?'; exit $?"  # neither shell's parent is Python
    done = ask(tmp_path, "sh", "-c", between)
    assert done.returncode == 1 and done.stderr.startswith("one@k: no Python here has Earshot's")
    assert done.stderr.count("\n") == 1 and "make repro" in done.stderr


@pytest.mark.slow
def test_make_has_dvc_run_without_git(tmp_path):
    for name in (".dvc", "Makefile", "params.yaml", "src"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    shutil.rmtree(tmp_path / ".dvc/tmp", ignore_errors=True)
    shutil.rmtree(tmp_path / ".dvc/cache", ignore_errors=True)
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: echo one}}\n")
    path = f"{sys.prefix}/bin{os.pathsep}/usr/bin{os.pathsep}/bin"
    site = str(tmp_path / "site")
    own = {"PATH": path, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": site}
    for _ in range(2):
        done = ask(tmp_path, "make", "-o", ".venv/ready", ".dvc/ready", **own)
        assert done.returncode == 0, done.stderr
        done = ask(tmp_path, "dvc", "repro", **own)
        assert done.returncode == 0, done.stderr
    (tmp_path / ".git").mkdir()  # by and by there is Git
    ask(tmp_path, "make", "-o", ".venv/ready", ".dvc/ready", **own)
    assert "no_scm" not in (tmp_path / ".dvc/config.local").read_text()
