"""What the documents say is true: links lead somewhere, examples run, tables are those of the
metrics.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import ROOT
from dvc.utils.hydra import apply_overrides
from repository import copy, environment

from earshot import cli
from earshot.params import parse

MARKDOWN = subprocess.check_output(
    ["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, text=True
).split()
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)


def anchors(text: str) -> set[str]:
    """Return the names that GitHub gives to headings."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads}


def dead(file: Path) -> list[str]:
    """Return the links of a document that lead nowhere in the repository."""
    text = re.sub(r"^```.*?^```", "", file.read_text(), flags=re.M | re.S)
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = file.parent / name if name else file
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            found.append(link)
    return found


@pytest.mark.parametrize("name", MARKDOWN)
def test_links_lead_somewhere(name: str):
    assert dead(ROOT / name) == []


def test_a_dead_link_is_caught(tmp_path: Path):
    page = tmp_path / "a.md"
    page.write_text(
        "# Two Words\n[a](#two-words) [b](a.md#gone) [c](b.md) [d](https://example.org/x)\n"
        "```\n[e](x)\n```\n"
    )
    assert dead(page) == ["a.md#gone", "b.md"]


def test_named_commands_and_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    parsers = argparse.ArgumentParser().add_subparsers()
    for command in cli.COMMANDS:
        command.add(parsers)
    commands = set(parsers.choices)
    for name in MARKDOWN:
        text = (ROOT / name).read_text()
        assert set(re.findall(r"(?:^|`|\$ )make ([a-z-]+)", text, re.M)) <= targets, name
        assert set(re.findall(r"(?:^|`|\$ )earshot ([a-z]+)", text, re.M)) <= commands, name


# the examples of docs/extending.md


class Copy:
    """A copy of the repository's files, without results."""

    def __init__(self, root: Path):
        self.root, self.environment = root, environment(root)
        copy(root, "src/", "stages/", ".dvc/", "dvc.yaml", "params.yaml")
        (root / "data").mkdir()
        self.run("git init --quiet")

    def run(self, command: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            command,
            shell=True,
            input=stdin,
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def follow(self, section: str) -> str:
        """Do what a section says, block by block; return what its commands printed."""
        printed = ""
        for language, info, content in BLOCK.findall(section):
            if info.startswith(" file="):
                (self.root / info.removeprefix(" file=")).write_text(content)
            elif language == "diff":
                self.run("git apply --recount --unidiff-zero -", content)
            elif language == "console":
                printed += "".join(
                    self.run(line[2:]) for line in content.splitlines() if line.startswith("$ ")
                )
            else:
                assert (language, info) == ("python", " run")
                printed += self.run(f"{sys.executable} -", content)
        return printed


def section(name: str) -> str:
    text = (ROOT / "docs/extending.md").read_text()
    (found,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return found


@pytest.mark.slow
def test_a_corpus_and_its_track_are_added_as_described(tmp_path: Path):
    own = Copy(tmp_path)
    rng = np.random.default_rng(0)
    for label in ("street", "office"):
        for place in ("bonn", "rome", "oslo", "york"):
            (tmp_path / "recordings" / label / place).mkdir(parents=True)
            for number in range(4):
                path = tmp_path / "recordings" / label / place / f"{number:04}.wav"
                soundfile.write(path, rng.normal(0, 0.1, 16_000), 16_000)
    own.follow(section("A corpus"))
    printed = own.follow(section("A track"))
    assert "Running stage 'fewshot@office'" in printed and "quantize@office\n" in printed
    assert (tmp_path / "data/office/items.parquet").is_file()


@pytest.mark.slow
def test_a_loss_term_is_added_as_described(tmp_path: Path):
    own = Copy(tmp_path)
    own.follow(section("A loss term"))
    used = """
from types import SimpleNamespace as Some
import torch
from torch import nn
from earshot.distillation.terms import TERMS, Setting
signals = {"hidden": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}
batch = Some(signals=signals)
term = TERMS["cosine"](None, Setting(None, Some(width=2), batch, [2], None, 0))
term.project = nn.Identity()
print(term(Some(pooled=torch.tensor([[5.0, 0.0], [2.0, 0.0]])), batch).item())
"""
    assert float(own.run(f"{sys.executable} -", used)) == pytest.approx(0.5)


def test_two_networks_are_added_as_teachers_as_described(tmp_path: Path):
    own = Copy(tmp_path)
    listed = own.follow(section("A teacher")).split()
    content = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert parse(content).teachers["finer"].features.n_mels == 128
    stages = ("teacher@finer", "cache@wide", "distill@scenes-kd_two")
    assert set(stages) <= {one.split(":")[-1] for one in listed}


# the ablations of README and of docs/experiments.md

PAGES = ("README.md", "README.zh-CN.md", "docs/experiments.md", "docs/experiments.zh-CN.md")
OVERRIDE = re.compile(r"(?:`|-S '?)((?:recipes\.|tracks\.|….)[\w.\-]+=[^`'\s]+)")


def overrides(page: str) -> list[str]:
    """Return what a page says to hand to `dvc exp run -S`; "…." stands for the recipe before."""
    found: list[str] = []
    for one in OVERRIDE.findall((ROOT / page).read_text()):
        if one.startswith("…."):
            recipe = ".".join(found[-1].split(".")[:2])
            one = f"{recipe}.{one.removeprefix('….')}"
        found.append(one)
    return found


@pytest.mark.slow
def test_ablations_run_as_written(tmp_path: Path):
    english, chinese = (overrides(page) for page in PAGES[2:])
    found = {one for page in PAGES for one in overrides(page)}
    assert english == chinese and set(english) == found
    assert "recipes.scenes-layered.terms.layered.layers=[4,5,6]" in found and len(found) >= 6
    each = [one for one in sorted(found) if not re.search(r"=\d+,", one)]  # not those of a queue
    own, first = Copy(tmp_path), (ROOT / "params.yaml").read_text()
    for override in each:
        (tmp_path / "params.yaml").write_text(first)
        apply_overrides(tmp_path / "params.yaml", [override])
        changed = yaml.safe_load((tmp_path / "params.yaml").read_text())
        assert parse(changed) != parse(yaml.safe_load(first)), override
    (tmp_path / "params.yaml").write_text(first)
    own.run("git add --all")
    own.run("git commit --quiet -m start")
    given = " ".join(f"-S '{one}'" for one in each)
    printed = own.run(f"dvc exp run --dry --single-item --force {given} distill@scenes-layered")
    assert "Running stage 'distill@scenes-layered'" in printed


def test_pre_commit_uses_the_locked_ruff():
    (hooks,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert f"ruff=={hooks['rev'].removeprefix('v')}\n" in (ROOT / "requirements.lock").read_text()
