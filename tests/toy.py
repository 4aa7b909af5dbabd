"""A small DVC repository with Earshot's layout: its `distill` writes what the real one writes, in a
second or less.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
RECIPE, TRACK = "listening-kd_pool", "listening"
TEMPERATURE, WEIGHT = f"recipes.{RECIPE}.terms.kd.temperature", f"recipes.{RECIPE}.terms.kd.weight"
DVC_YAML = """
stages:
  cache:
    foreach: [listening]
    do:
      cmd: PYTHONPATH=src python stages/cache.py ${item}
      deps: [stages/cache.py]
      params: [seed]
      outs:
        - data/${item}/cache/english
  distill:
    foreach: [listening-kd_pool]
    do:
      cmd: PYTHONPATH=src python stages/distill.py ${item}
      deps: [stages/distill.py, src/own, "data/listening/cache"]
      params: [seed, "recipes.${item}", "tracks.listening.student", "tracks.listening.distill"]
      outs:
        - models/listening/students/${item}
      metrics:
        - metrics/listening/validation/${item}.json: {cache: false}
      plots:
        - plots/listening/curves/${item}
"""
CACHE = """
import pathlib, sys
folder = pathlib.Path("data", sys.argv[1], "cache", "english")
folder.mkdir(parents=True, exist_ok=True)
(folder / "part").write_text("teacher " * 100)
"""
DISTILL = """
import ctypes, json, math, os, pathlib, signal, sys, time, yaml
from own import code
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # as the real stages do: it dies with its parent
key = sys.argv[1]
params = yaml.safe_load(open("params.yaml"))
recipe = params["recipes"][key]
track, kd = recipe["track"], recipe["terms"]["kd"]
if kd["weight"] < 0:
    sys.exit(f"distill@{key}: weight={kd['weight']}: at least 0")
assert (pathlib.Path("data", track, "cache/english") / "part").read_text().startswith("teacher")
best = code.FACTOR * (0.9 - 0.1 * abs(math.log2(kd["temperature"] / 4)) - 0.2 * kd["weight"])
pause = float(os.environ.get("TOY_SECONDS", 0)) / recipe["epochs"]
tables = []
for seed in range(params["tracks"][track]["distill"]["seeds"]):
    folder = pathlib.Path(f"plots/{track}/curves/{key}")
    folder.mkdir(parents=True, exist_ok=True)
    tables.append(open(folder / f"seed-{seed}.csv", "w"))
    tables[-1].write("epoch,loss,validation\\n")
for epoch in range(recipe["epochs"]):
    time.sleep(pause)
    for table in tables:
        table.write(f"{epoch + 1},1.0,{best * (epoch + 1) / recipe['epochs']}\\n")
        table.flush()
students = pathlib.Path(f"models/{track}/students/{key}")
students.mkdir(parents=True)
(students / "seed-0").write_text(f"{best}")
scores = pathlib.Path(f"metrics/{track}/validation/{key}.json")
scores.parent.mkdir(parents=True, exist_ok=True)
ends = {"accuracy_low": best - 0.02, "accuracy_high": best + 0.02}
scores.write_text(json.dumps({"accuracy": best, **ends, "items": 120}))
"""


class Toy:
    """The repository at `root`, with its pipeline run and committed; a copy of one made before, if
    there is any.
    """

    def __init__(self, root: Path, template: Path | None = None):
        self.root = root
        names = {
            f"GIT_{who}_{what}": "test@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        own = {
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(root / ".dvc/tmp/site"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("GIT_", "EARSHOT_"))
        }
        self.environment = kept | names | own | {"PATH": path, "PYTHONPATH": str(ROOT / "src")}
        if template:
            shutil.copytree(template, root, dirs_exist_ok=True)
        else:
            self._make()

    def _make(self) -> None:
        content = yaml.safe_load((ROOT / "params.yaml").read_text())
        content["recipes"][RECIPE]["epochs"] = 6
        content["tracks"][TRACK]["distill"]["seeds"] = 2
        self.write("params.yaml", "# ours\n" + yaml.safe_dump(content, sort_keys=False))
        self.section(
            "sweep", {"recipe": RECIPE, "grid": {TEMPERATURE: [2.0, 4.0], WEIGHT: [0.1, 0.3]}}
        )
        for name, text in {
            "dvc.yaml": DVC_YAML,
            "stages/cache.py": CACHE,
            "stages/distill.py": DISTILL,
        }.items():
            self.write(name, text)
        self.write("src/own/code.py", "FACTOR = 1.0\n")
        self.write(".gitignore", "/data/\n/models/\n/plots/\n/experiments/\n__pycache__/\n")
        self.run("git", "init", "--quiet", "--initial-branch", "main")
        self.run("dvc", "init", "--quiet")
        self.run("dvc", "repro", "--quiet")
        self.commit("start")

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def section(self, name: str, value: dict[str, Any]) -> None:
        """Write a section of params.yaml."""
        content = yaml.safe_load((self.root / "params.yaml").read_text()) | {name: value}
        self.write("params.yaml", "# ours\n" + yaml.safe_dump(content, sort_keys=False))

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def run(self, *words: str) -> str:
        """Run a command; return what it printed, standard error last."""
        done = subprocess.run(
            words, cwd=self.root, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def earshot(self, *words: str, code: int = 0, **environment: str) -> str:
        """Run `earshot`, which must end with `code`; return its output, standard error last."""
        command = [sys.executable, "-m", "earshot.cli", *words]
        own = self.environment | environment
        done = subprocess.run(command, cwd=self.root, env=own, capture_output=True, text=True)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def begin(self, *words: str, **environment: str) -> subprocess.Popen:
        """Start `earshot` in a process group of its own, what it prints in earshot.log of the
        repository's .dvc/tmp.
        """
        with open(self.root / ".dvc/tmp/earshot.log", "w") as log:
            command, own = (
                [sys.executable, "-m", "earshot.cli", *words],
                self.environment | environment,
            )
            return subprocess.Popen(
                command,
                cwd=self.root,
                env=own,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(
                    signal.SIGINT, signal.SIG_DFL
                ),  # a shell's background jobs ignore it
            )

    def experiments(self) -> list[str]:
        """Return the names of the DVC experiments, sorted."""
        listed = self.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
        return sorted(name.rsplit("/", 1)[1] for name in listed if "/exec/" not in name)

    def clones(self) -> list[Path]:
        """Return the clones that lie about."""
        folder = self.root / ".dvc/tmp/earshot"
        return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    def processes(self) -> list[str]:
        """Return the command lines of processes that work inside the repository."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                here = os.readlink(entry / "cwd")
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, ValueError):
                continue
            if here.startswith(str(self.root)) and words:
                found.append(words)
        return found


def make(tmp_path: Path) -> Toy:
    """Return a toy of a test's own, in `tmp_path`, copied from one that the first test makes."""
    template = tmp_path.parent / "toy"
    if not template.exists():
        template.mkdir()
        Toy(template)
    return Toy(tmp_path, template)
