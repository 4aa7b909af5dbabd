"""A copy of the repository in which tests run its pipeline, shrunk."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml
from conftest import ROOT

ABSENT = object()  # a row that is taken out
SHRUNK = {
    "tracks.listening.corpus.passages": {
        "teacher": 60,
        "pool": 60,
        "fewshot": 10,
        "validation": 20,
        "test": 60,
    },
    "tracks.listening.corpus.fewshot_retellings": 4,
    "tracks.listening.fewshot.teacher_rounds": 1,
    "teachers.listening.epochs": 2,
    "tracks.listening.cache.part": 8,
    "tracks.listening.student.hidden": 32,
    "tracks.listening.distill.seeds": 2,
    "tracks.listening.quantize.agreement_items": 6,
    "tracks.listening.evaluate.resamples": 200,
    "tracks.listening.evaluate.latency_clips": 2,
    "tracks.listening.evaluate.robustness_passages": 8,
    "recipes.listening-hard.epochs": 2,
    "recipes.listening-kd.epochs": 2,
    "recipes.listening-kd_pool.epochs": 3,
    "tracks.scenes.corpus.segments": {"train": 4, "test": 2},
    "tracks.scenes.corpus.clips": {"train": 3, "test": 1},
    "tracks.scenes.corpus.validation_share": 0.25,
    "tracks.scenes.fewshot.share": 50,
    "teachers.scenes.epochs": 2,
    "tracks.scenes.cache.part": 8,
    "tracks.scenes.distill.seeds": 1,
    "tracks.scenes.quantize.agreement_items": 6,
    "tracks.scenes.evaluate.recipes": ["hard", "kd", "layered"],
    "tracks.scenes.evaluate.gains": ["kd_vs_hard", "layered_vs_kd", "layered_vs_teacher"],
    "tracks.scenes.evaluate.resamples": 200,
    "tracks.scenes.evaluate.latency_clips": 2,
    "tracks.scenes.evaluate.robustness_passages": 8,
    "recipes.scenes-hard.epochs": 2,
    "recipes.scenes-hard.devices": {"steps": 2},
    "recipes.scenes-kd.epochs": 2,
    "recipes.scenes-layered.epochs": 3,
    "recipes.scenes-layered.terms.front.alone": 1,
    "recipes.scenes-layered.qat.epochs": 2,
    "recipes.scenes-layered_plain": ABSENT,
    "tracks.transcripts.corpus.clips": {"fewshot": 16, "pool": 16, "validation": 8, "test": 24},
    "teachers.transcripts.epochs": 3,
    "tracks.transcripts.cache.part": 8,
    "tracks.transcripts.student": {  # of the other kind than that of languages
        "name": "bilstm",
        "hidden": 16,
        "layers": 2,
        "stack": 2,
        "dropout": 0.0,
    },
    "tracks.transcripts.distill.seeds": 1,
    "tracks.transcripts.quantize.agreement_items": 6,
    "tracks.transcripts.evaluate.recipes": ["hard", "kd_pool", "pseudo"],
    "tracks.transcripts.evaluate.gains": ["kd_pool_vs_hard", "kd_pool_vs_teacher"],
    "tracks.transcripts.evaluate.resamples": 200,
    "tracks.transcripts.evaluate.latency_clips": 2,
    "tracks.transcripts.evaluate.robustness_passages": 8,
    "recipes.transcripts-hard.epochs": 2,
    "recipes.transcripts-kd": ABSENT,
    "recipes.transcripts-kd_pool.epochs": 2,
    "recipes.transcripts-kd_pool.prune": {"share": 0.5, "epochs": 1},
    "recipes.transcripts-pseudo.epochs": 2,
    "recipes.transcripts-pseudo.terms.pseudo.confidence": 0.0,
    "tracks.languages.corpus.languages": ["de", "ru"],
    "tracks.languages.corpus.clips": {"fewshot": 10, "pool": 4, "validation": 3, "test": 6},
    "tracks.languages.cache.part": 8,
    "tracks.languages.student.width": 16,
    "tracks.languages.student.languages": ["de", "ru"],
    "tracks.languages.distill.seeds": 1,
    "tracks.languages.quantize.agreement_items": 6,
    "tracks.languages.evaluate.recipes": ["hard", "kd"],
    "tracks.languages.evaluate.gains": ["kd_vs_hard"],
    "tracks.languages.evaluate.resamples": 200,
    "tracks.languages.evaluate.latency_clips": 2,
    "tracks.languages.evaluate.robustness_passages": 8,
    **{f"teachers.languages-{language}": ABSENT for language in ("en", "es")},
    **{f"teachers.languages-{language}.epochs": 2 for language in ("de", "ru")},
    **{f"recipes.languages-{recipe}": ABSENT for recipe in ("kd_pool", "adapt_off", "balanced")},
    "recipes.languages-hard.epochs": 2,
    "recipes.languages-kd.teachers": ["languages-de", "languages-ru"],
    "recipes.languages-kd.epochs": 1,
    "recipes.languages-kd.adapt.epochs": 1,
}


def environment(root: Path) -> dict[str, str]:
    """Return the variables of commands in a copy at `root`: nothing of the user's Git or DVC."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(root / ".dvc/tmp/site"),
        "EARSHOT_WORKERS": "1",  # tests run side by side already
        "PATH": path,
        "PYTHONDONTWRITEBYTECODE": "",  # or each of a hundred stages compiles the library again
        "PYTHONPATH": "src",
    }
    for who in ("AUTHOR", "COMMITTER"):
        settings |= {f"GIT_{who}_{what}": "test@example.org" for what in ("NAME", "EMAIL")}
    return {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | settings


def copy(root: Path, *only: str) -> None:
    """Copy the repository's own files, or those that begin with one of `only`, to `root`."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.check_output(command, cwd=ROOT, text=True).split("\0")
    for name in listed:
        made = name.startswith(("data/", "models/"))  # by DVC
        if (ROOT / name).is_file() and not made and name.startswith(only or ""):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)


class Project:
    """A copy of the repository, committed, with some parameters changed."""

    def __init__(self, root: Path, parameters: dict[str, object]):
        self.root, self.environment = root, environment(root)
        copy(root)
        # DVC reads and writes the whole lock at every stage that has run, for seconds.
        self.unlock(lambda stage: not stage.startswith("pretrain@"))
        self.change(parameters)
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "start")

    def run(self, *command: str) -> str:
        """Run a command; return what it printed on both streams."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
        return done.stdout

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def dvc(self, *arguments: str) -> str:
        return self.run("dvc", *arguments)

    def earshot(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "earshot.cli", *arguments)

    def json(self, *arguments: str) -> dict:
        """Return what a dvc command prints as JSON, warnings left out."""
        return json.loads(
            subprocess.check_output(["dvc", *arguments], cwd=self.root, env=self.environment)
        )

    def load(self, name: str) -> dict:
        """Return what a JSON file holds."""
        return json.loads((self.root / name).read_text())

    def set(self, key: str, value: object) -> None:
        """Change a parameter in params.yaml."""
        self.change({key: value})

    def change(self, parameters: dict[str, object]) -> None:
        """Change parameters in params.yaml; a row `ABSENT` goes, with what the lock says of it."""
        content = yaml.safe_load((self.root / "params.yaml").read_text())
        for key, value in parameters.items():
            *path, last = key.split(".")
            part = content
            for name in path:
                part = part[name]
            part.pop(last) if value is ABSENT else part.update({last: value})
        (self.root / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        absent = {key.split(".")[-1] for key, value in parameters.items() if value is ABSENT}
        if absent:
            self.unlock(lambda stage: stage.split("@")[1] in absent)

    def unlock(self, out: Callable[[str], bool]) -> None:
        """Take stages out of the lock: DVC leaves there what is no stage any more."""
        lock = yaml.load((self.root / "dvc.lock").read_text(), yaml.CSafeLoader)
        lock["stages"] = {stage: entry for stage, entry in lock["stages"].items() if not out(stage)}
        text = yaml.dump(lock, sort_keys=False, Dumper=yaml.CSafeDumper)
        (self.root / "dvc.lock").write_text(text)

    def restore(self) -> None:
        """Go back to what is committed."""
        self.git("reset", "--quiet", "--hard")
        self.dvc("checkout", "--quiet", "--force")

    def quality(self, track: str = "listening") -> bytes:
        return (self.root / f"metrics/{track}/quality.json").read_bytes()


def ran(output: str) -> set[str]:
    """Return the stages that `dvc repro` says it ran (or would run)."""
    return {
        line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")
    }
