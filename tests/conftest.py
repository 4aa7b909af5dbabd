"""What many tests share: Python on the library, and made-up corpora of texts alone."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from earshot.corpora.synthetic import speech
from earshot.items.passages import Passage, passages
from earshot.params import FewShot

ROOT = Path(__file__).parents[1]
SIZES = {"teacher": 150, "pool": 40, "fewshot": 10, "validation": 60, "test": 150}


def python(
    *arguments: str | Path, folder: Path = ROOT, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run Python on the library in a process of its own; return how that ended."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"} | settings
    settings = {"cwd": folder, "env": environment, "timeout": 120}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, **settings)


def parameters() -> dict:
    """Return what the repository's params.yaml says; in C, as hundreds of tests ask for it."""
    return yaml.load((ROOT / "params.yaml").read_text(), yaml.CSafeLoader)


@pytest.fixture
def content() -> dict:
    """What the repository's params.yaml says, to be spoilt."""
    return parameters()


@pytest.fixture(scope="session")
def fewshot_params() -> FewShot:
    return FewShot(**parameters()["tracks"]["listening"]["fewshot"])


def _vocabulary(first: str, size: int, rng: np.random.Generator) -> list[str]:
    """Return made-up words of 3 to 11 letters, all beginning with `first`, their length unrelated
    to their rank.
    """
    words: list[str] = []
    while len(words) < size:
        syllables = (
            "bdfgklmnprst"[rng.integers(12)] + "aeiou"[rng.integers(5)]
            for _ in range(rng.integers(1, 6))
        )
        word = first + "".join(syllables)
        words += [word] if word not in words else []
    return words


@pytest.fixture(scope="session")
def zipf() -> Callable[..., list[Passage]]:
    """Return a maker of passages whose words follow Zipf's law; words of two values of `first` have
    nothing in common.
    """

    def make(
        split: str, number: int, first: str = "w", seed: int = 0, sentences: int = 3
    ) -> list[Passage]:
        rng = np.random.default_rng([seed, *split.encode()])
        vocabulary = _vocabulary(first, 600, np.random.default_rng(ord(first)))
        share = 1 / np.arange(1, 601)

        def say() -> str:
            chosen = rng.choice(vocabulary, size=rng.integers(5, 12), p=share / share.sum())
            return f"{' '.join(chosen).capitalize()}."

        return [
            Passage(
                id=f"{split}-{i}",
                split=split,
                speaker=f"{split}-voice-{i % 5}",
                wording="seen",
                utterances=tuple(f"{split}-{i}-{n}" for n in range(sentences)),
                texts=tuple(say() for _ in range(sentences)),
                next=say(),
            )
            for i in range(number)
        ]

    return make


@pytest.fixture(scope="session")
def manifest() -> pd.DataFrame:
    """The manifest of a small embedded corpus, as if it had been spoken."""
    lines = [
        line
        for split, size in SIZES.items()
        for line in speech.script(split, size, 12 if split == "fewshot" else 1, seed=5)
    ]
    table = pd.DataFrame([{**vars(line), "seconds": 0.06 * len(line.text)} for line in lines])
    return table.drop(columns="voice")


@pytest.fixture(scope="session")
def told(manifest) -> Callable[[str], list[Passage]]:
    """Return the passages of a split of the small embedded corpus."""
    cut = passages(manifest, manifest["id"], 60.0)
    return lambda split: [passage for passage in cut if passage.split == split]
