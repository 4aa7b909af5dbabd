"""A tiny recogniser that writes token by token, as transformers saves one."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

WRITES = ["a", "b", "Ġ", "1"]  # Ġ is a space
SPECIAL = ["endoftext", "startoftranscript", "en", "de", "transcribe", "translate", "notimestamps"]
TOKENS = {token: place for place, token in enumerate([*WRITES, *(f"<|{s}|>" for s in SPECIAL)])}
END, START, EN, DE, TRANSCRIBE, TRANSLATE, PLAIN = range(len(WRITES), len(TOKENS))
SPACE, ONE = TOKENS["Ġ"], TOKENS["1"]
BANDS, WINDOW, LONGEST = 8, 3, 24  # mel bands, seconds of a window, tokens
STEPS, BATCH, RATE = 350, 32, 5e-3  # of training


def writer(folder: Path, many: bool = True, seed: int = 3) -> WhisperForConditionalGeneration:
    """Save a random network, its features and its tokenizer; return the network. With `many` it is
    of two languages.
    """
    special = {"bos_token_id": END, "eos_token_id": END, "pad_token_id": END}
    special["decoder_start_token_id"] = START
    sides = {"layers": 1, "attention_heads": 2, "ffn_dim": 48}
    config = WhisperConfig(
        vocab_size=len(TOKENS),
        num_mel_bins=BANDS,
        d_model=32,
        max_source_positions=50 * WINDOW,
        max_target_positions=LONGEST,
        begin_suppress_tokens=None,
        suppress_tokens=None,
        **{f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in sides.items()},
        **special,
    )
    torch.manual_seed(seed)
    network = WhisperForConditionalGeneration(config).eval()
    for name, weight in network.named_parameters():  # far from where every clip is the same
        size = 1.0 if "decoder.embed_positions" in name else 0.3
        weight.data += size * torch.randn_like(weight)
    languages = {"lang_to_id": {"<|en|>": EN, "<|de|>": DE}}
    tasks = {"task_to_id": {"transcribe": TRANSCRIBE, "translate": TRANSLATE}}
    network.generation_config = GenerationConfig(
        is_multilingual=many,
        no_timestamps_token_id=PLAIN,
        max_length=LONGEST,
        suppress_tokens=list(range(START, PLAIN + 1)),
        begin_suppress_tokens=[SPACE, END],
        **special,
        **(languages | tasks if many else {}),
    )
    network.save_pretrained(folder)
    tokenizer = WhisperTokenizer(vocab=TOKENS, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": list(TOKENS)[END:]})
    tokenizer.save_pretrained(folder)
    features = WhisperFeatureExtractor(feature_size=BANDS, chunk_length=WINDOW)
    features.save_pretrained(folder)
    return network


def configured(folder: Path, name: str = "config", **more) -> None:
    """Change keys of one of a checkpoint's JSON files."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def taught(folder: Path, clips: Sequence[np.ndarray], texts: Sequence[str]) -> None:
    """Save a network that has learned these clips, 16 kHz samples, by heart."""
    network = writer(folder)
    settings = network.generation_config
    torch.manual_seed(0)
    network = WhisperForConditionalGeneration(network.config).train()
    features = WhisperFeatureExtractor.from_pretrained(folder)
    mel = features(clips, sampling_rate=16_000, return_tensors="pt").input_features
    rows = [[TOKENS[one] for one in text.replace(" ", "Ġ")] + [END] for text in texts]
    wanted = pad_sequence([torch.tensor(row) for row in rows], True, -100)  # (N, L)
    prompt = torch.tensor([[START, EN, TRANSCRIBE, PLAIN]]).expand(BATCH, -1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    for step in range(STEPS):
        some = torch.randperm(len(texts))[:BATCH]
        before = torch.cat([prompt, wanted[some, :-1].clamp(min=0)], 1)
        logits = network(mel[some], decoder_input_ids=before).logits[:, prompt.shape[1] - 1 :]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted[some].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 30) * (1 - step / STEPS)
        optimizer.step()
    network.generation_config = settings
    network.save_pretrained(folder)
