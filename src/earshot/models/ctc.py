"""The head of a recogniser, a symbol at every frame, and the one that a checkpoint brings."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from safetensors import safe_open
from torch import nn

from earshot.text.alphabet import BLANK, SPACE, alphabet

if TYPE_CHECKING:
    from earshot.models.heads import Encoded
    from earshot.tasks.transcript import Transcript

LEAST_SHARE = 1e-4  # of a symbol that no probable language writes
VOCABULARY = "vocab.json"
_HEAD = ("lm_head.weight", "lm_head.bias")  # as transformers names it


class VocabularyError(ValueError):
    """A checkpoint's own head that cannot write the track's transcripts; the message says why."""


class CTCHead(nn.Linear):
    """One output per symbol of an alphabet: logits `(B, T, V)` of frames `(B, T, D)`."""

    of_width: ClassVar[dict[str, int]] = {"weight": 1}

    def symbols(self, encoded: "Encoded") -> torch.Tensor:
        """Return the logits of symbols `(N, T, V)` of encoded passages."""
        return self(encoded.layers[-1])[encoded.passage]


class MultilingualHead(CTCHead):
    """The same, and which of K languages it is: logits `(B, K)` of pooled frames `(B, D)`.

    `conditioning` says what language the input frames hold, as `student.language`; `letters`
    `(K, V)` is 1 where a language writes a symbol, else 0.
    """

    of_width: ClassVar[dict[str, int]] = {"weight": 1, "language.weight": 1}

    def __init__(
        self,
        width: int,
        letters: torch.Tensor,
        languages: Sequence[str],
        conditioning: str | None = None,
    ):
        super().__init__(width, letters.shape[1])
        self.register_buffer("letters", letters)
        self.languages, self.conditioning = tuple(languages), conditioning
        self.language = nn.Linear(width, len(self.languages))

    def log_prior(self, shares: torch.Tensor) -> torch.Tensor:
        """Return log Σ_k p_k [k writes v] `(N, V)`, for probabilities p of languages `(N, K)`: what
        is added to the logits of symbols v.

        Teachers of one language each say nothing about letters that theirs lacks, so nothing else
        keeps a student from writing Latin letters for Russian sounds.
        """
        return (shares @ self.letters).clamp(min=LEAST_SHARE).log()

    def symbols(self, encoded: "Encoded") -> torch.Tensor:
        """Return the logits of symbols `(N, T, V)`, those of a clip's languages."""
        return super().symbols(encoded) + self.log_prior(encoded.shares)[:, None]

    def one_hot(self, languages: Sequence[str | None]) -> torch.Tensor:
        """Return the languages of B clips one-hot, `(B, K)`, zeros where one is not known."""
        rows = torch.zeros(len(languages), len(self.languages))
        for row, language in zip(rows, languages, strict=True):
            if language in self.languages:
                row[self.languages.index(language)] = 1
        return rows


def ctc_head(
    task: "Transcript", width: int, languages: Sequence[str] | None, conditioning: str | None
) -> nn.Module:
    """Return a task's head on frames of a width, one that classifies languages too where there are
    any.
    """
    if not languages:
        return task.head(width)
    return MultilingualHead(width, task.letters(languages), languages, conditioning)


def language_embedding(
    languages: Sequence[str] | None, conditioning: str | None, width: int
) -> nn.Module | None:
    """Return what turns probabilities of languages `(B, K)` into the vector `(B, width)` that is
    added to input frames; None for a student without conditioning.
    """
    if not languages or not conditioning:
        return None
    return nn.Linear(len(languages), width, bias=False)


@torch.no_grad()
def adopt(head: nn.Module, labels: Sequence[str], folder: Path, blank: int | None) -> bool:
    """Give `head` the weights of a checkpoint's CTC head, output by output; return whether there
    are such weights, and a head for them.

    `labels` is the track's alphabet, `blank` the checkpoint's blank, its config's `pad_token_id`.
    Outputs for which the alphabet has no symbol, as `<unk>`, are left out. VocabularyError where
    the checkpoint's letters are not those of the alphabet.
    """
    if not isinstance(head, CTCHead):
        return False
    weights = _tensors(folder)
    if len(weights) < len(_HEAD):
        return False
    weight, bias = (weights[name].float() for name in _HEAD)
    rows = _rows(_vocabulary(folder), labels, blank)
    if max(rows) >= len(weight) or weight.shape[1] != head.in_features:
        raise VocabularyError(f"{VOCABULARY} is not that of its CTC head, {tuple(weight.shape)}")
    head.weight.copy_(weight[rows])
    head.bias.copy_(bias[rows])
    return True


def letters(folder: Path) -> tuple[str, ...] | None:
    """Return the alphabet of a checkpoint's own CTC head, None where it has none; VocabularyError
    where it does not say which.
    """
    if len(_tensors(folder)) < len(_HEAD):
        return None
    vocabulary = _vocabulary(folder)
    blank = json.loads((folder / "config.json").read_bytes()).get("pad_token_id")
    return alphabet(_written(vocabulary, _space(vocabulary), blank))


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint's CTC head, by name, as far as there are any."""
    index = folder / "model.safetensors.index.json"
    files = {"model.safetensors"}
    if not (folder / "model.safetensors").is_file():
        places = json.loads(index.read_text())["weight_map"] if index.is_file() else {}
        files = {places[name] for name in _HEAD if name in places}
    found = {}
    for file in files:
        with safe_open(folder / file, "pt") as weights:
            there = set(weights.keys())
            found |= {name: weights.get_tensor(name) for name in _HEAD if name in there}
    return found


def _vocabulary(folder: Path) -> dict[str, int]:
    """Return the outputs of a checkpoint's CTC head by what they write."""
    path = folder / VOCABULARY
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise VocabularyError(
            f"it has a CTC head, but no {VOCABULARY} that says what its outputs write"
        ) from None
    except (OSError, ValueError) as error:
        raise VocabularyError(f"{VOCABULARY} is not readable ({type(error).__name__})") from None
    whole = isinstance(content, dict) and all(type(one) is int for one in content.values())
    if not whole:
        raise VocabularyError(f"{VOCABULARY} is no table of symbols and their outputs")
    return content


def _rows(vocabulary: dict[str, int], labels: Sequence[str], blank: int | None) -> list[int]:
    """Return the output of each label."""
    space = _space(vocabulary)
    if blank is None or space not in vocabulary:
        missing = "pad_token_id in config.json" if blank is None else f"{SPACE} in {VOCABULARY}"
        raise VocabularyError(f"it has a CTC head, but no {missing}")
    written = _written(vocabulary, space, blank)
    characters = set(labels) - {BLANK, SPACE}
    if characters != written.keys():
        odd = " ".join(sorted(characters ^ written.keys()))
        letters = "".join(sorted(written))
        raise VocabularyError(
            f"its letters are not those of the transcripts, which differ in {odd}; write "
            f"fewshot.alphabet: {json.dumps(letters, ensure_ascii=False)}"
        )
    known = written | {BLANK: blank, SPACE: vocabulary[space]}
    return [known[label] for label in labels]


def _space(vocabulary: dict[str, int]) -> str:
    return SPACE if SPACE in vocabulary else " "


def _written(vocabulary: dict[str, int], space: str, blank: int | None) -> dict[str, int]:
    """Return the output of each letter, in lower case."""
    single = [one for one in vocabulary if len(one) == 1 and one != space]
    written = {one.lower(): vocabulary[one] for one in single if vocabulary[one] != blank}
    if len(written) < len(single):
        raise VocabularyError(
            f"{VOCABULARY} has capital letters beside small ones, which is not served"
        )
    return written
