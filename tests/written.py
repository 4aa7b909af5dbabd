"""A tiny recogniser that writes token by token, as transformers saves one."""

import json
from pathlib import Path

import torch
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
SPACE = TOKENS["Ġ"]
BANDS, WINDOW, LONGEST = 8, 2, 24  # seconds of a window, tokens


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
