"""Made-up clips with transcripts of two letters, and recognisers of them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from learning import tiny_checkpoint
from transformers import HubertForCTC, Wav2Vec2ForCTC

from earshot.tables.items import Item
from earshot.text import alphabet

SYMBOLS = alphabet.alphabet("ab")
CELL = 12  # frames of 10 ms that a symbol lasts


def spoken(role: str, number: int, text: str | None = None) -> Item:
    """A clip of one of six speakers; unlabelled in the pool."""
    text = text or drawn(np.random.default_rng([number, *role.encode()]))
    known = None if role == "pool" else text
    id, speaker = f"{role}-{number}", f"{role}-voice-{number % 6}"
    about = {"utterances": (id,), "options": SYMBOLS, "transcript": known}
    return Item(id, role, "transcript", speaker, **about)


def drawn(rng: np.random.Generator) -> str:
    """Two to four words of one to three letters."""
    words = ["".join(rng.choice(["a", "b"], rng.integers(1, 4))) for _ in range(rng.integers(2, 5))]
    return " ".join(words)


def frames(text: str, rng: np.random.Generator, bands: int = 8) -> np.ndarray:
    """Log-mel `(T, bands)` in which each letter, and each space, lights bands of its own."""
    lit = {"a": (0, 1), "b": (3, 4), " ": (6, 7)}
    rows = rng.normal(0, 0.3, (CELL * len(text), bands))
    for place, letter in enumerate(text):
        inside = slice(CELL * place + 2, CELL * place + CELL - 2)
        for band in lit[letter]:
            rows[inside, band] += 3
    return rows


def manifest(rows: Sequence[dict]) -> pd.DataFrame:
    """A manifest of clips of two seconds."""
    columns = ("path", "speaker", "passage", "wording", "label", "language", "device", "location")
    blank = dict.fromkeys(columns) | {"seconds": 2.0, "sample_rate": 16_000, "subset": None}
    made = [blank | {"path": f"{row['id']}.wav", "passage": row["id"]} | row for row in rows]
    return pd.DataFrame(made, dtype=object).astype({"seconds": float})


def recogniser(
    folder: Path, symbols: Sequence[str] = "AB", style: str = "group"
) -> torch.nn.Module:
    """Save a random encoder with a CTC head and the vocabulary of wav2vec2-base-960h, but for its
    letters; return it as transformers has it.
    """
    kinds = {"hubert": HubertForCTC}
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", *symbols]
    tiny_checkpoint(folder, style, vocab_size=len(tokens), pad_token_id=0)
    model = kinds.get(style, Wav2Vec2ForCTC).from_pretrained(folder).eval()
    torch.manual_seed(5)
    torch.nn.init.normal_(model.lm_head.weight)
    model.save_pretrained(folder)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    return model
