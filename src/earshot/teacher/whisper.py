"""The teacher that only transcribes: Whisper, which encodes a clip whole and writes it token by
token.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import (
    GenerationConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import logging

from earshot.models import accelerator
from earshot.params import Teacher as TeacherParams
from earshot.tasks.task import Task
from earshot.teacher.wav2vec2 import SAMPLE_RATE, CheckpointError, checkpoint_folder, shapes
from earshot.text import alphabet

FILES = ("config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json")
CUT = 5 * SAMPLE_RATE  # samples at the end of a window, in which a long clip is cut
QUIET = SAMPLE_RATE // 50  # samples over which loudness is measured to find where
BROKEN = "\ufffd"  # what a token of half a character reads as


class Hypothesis(NamedTuple):
    """What is written of a clip; `confidence` is the mean log-probability of its tokens, that of
    the end among them, and `ended` whether that one came.

    `languages` are the probabilities of those that a network tells apart, of the clip's first
    window, whatever language it was given; none where it knows but one.
    """

    text: str
    confidence: float
    ended: bool
    languages: dict[str, float] = {}


class Whisper(nn.Module):
    """A checkpoint as it is: samples → text. It has neither frames nor layers to learn from.

    It writes numbers and signs as words where the task's alphabet has no characters for them: their
    tokens are never chosen. Nothing is tuned, so `scratch` changes nothing. CheckpointError says in
    a line what cannot be had or does not fit.
    """

    output = "text"
    tuned_layers = 0

    def __init__(self, params: TeacherParams, task: Task | None, scratch: int | None = None):
        super().__init__()
        named = f"teacher.checkpoint={params.checkpoint!r}"
        for key, fixed in {"auxiliary": False, "control": False}.items():
            if getattr(params, key) != fixed:
                raise CheckpointError(
                    f"{named} only transcribes with teacher.epochs=0: teacher."
                    f"{key}={getattr(params, key)!r} must be {fixed!r}"
                )
        folder = checkpoint_folder(params.checkpoint, params.revision, params.cache)
        try:
            self.network, self.extractor, self.tokenizer = _load(folder)
            self.prompt = _prompt(self.network.generation_config, params.language)
        except CheckpointError as error:
            raise CheckpointError(f"{named}: {error}") from None
        if task:
            _spell(self.network.generation_config, self.tokenizer, task.labels)
        self.network.requires_grad_(False)
        self.auxiliary = nn.ModuleList()
        self.width = self.network.config.d_model
        self.sample_rate, self.language = SAMPLE_RATE, params.language
        self.source = {"checkpoint": params.checkpoint, "revision": params.revision or ""}
        self.source["language"] = params.language or ""

    def frozen_hash(self) -> str:
        """Return the SHA-256 of all weights, and of how they are used."""
        settings = self.network.generation_config.to_json_string()
        digest = hashlib.sha256(settings.encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def tuned_state(self) -> dict[str, torch.Tensor]:
        """Return nothing: what is saved of it is its identity."""
        return {}

    def transcribe(
        self, clips: Sequence[np.ndarray], pace: float | None = None
    ) -> list[Hypothesis]:
        """Return what is written of clips of 16 kHz samples `(N,)`, all windows at once.

        A clip longer than a window is cut where it is quiet. With `pace` exactly so many tokens a
        second are written, whatever is heard: that costs what speech does.
        """
        windows = [_windows(samples, self.extractor.n_samples) for samples in clips]
        flat = [one for of_clip in windows for one in of_clip]
        outputs = iter(self._generate(flat, pace))
        return [_joined([next(outputs) for _ in of_clip]) for of_clip in windows]

    @torch.inference_mode()
    def _generate(
        self, windows: Sequence[np.ndarray], pace: float | None
    ) -> list[tuple[str, list[float], dict[str, float]]]:
        """Return of each window its text, the log-probabilities of its tokens, and the
        probabilities of languages; the last token is the end, or NaN where there was none.
        """
        mel = self.extractor(windows, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        mel = accelerator.put(mel.input_features, accelerator.where(self))  # (B, bands, T)
        encoded = self.network.get_encoder()(mel)  # frames (B, T, D)
        tokens = {}
        if pace is not None:
            count = max(1, round(pace * max(map(len, windows)) / SAMPLE_RATE))
            tokens = {"min_new_tokens": count, "max_new_tokens": count}
        made = self.network.generate(
            encoder_outputs=encoded,
            **self.prompt,
            **tokens,
            return_timestamps=False,
            num_beams=1,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
        )
        sequences = made.sequences[:, -len(made.scores) :]  # (B, L), without what is prompted
        steps = zip(made.scores, sequences.T, strict=True)  # scores (B, V), tokens (B,)
        chosen = [score.log_softmax(-1).gather(1, ids[:, None]) for score, ids in steps]
        logs = torch.cat(chosen, 1).double().tolist()  # (B, L)
        read = [self._read(ids, of_window) for ids, of_window in zip(sequences, logs, strict=True)]
        spoken = self._languages(encoded)
        return [(*of_window, shares) for of_window, shares in zip(read, spoken, strict=True)]

    def _languages(self, encoded: BaseModelOutput) -> list[dict[str, float]]:
        """Return the probabilities of languages, of each window: those of the first token."""
        batch, settings = len(encoded[0]), self.network.generation_config
        known = _known(settings)
        if not known:
            return [{}] * batch
        start = torch.full((batch, 1), settings.decoder_start_token_id, device=encoded[0].device)
        logits = self.network(encoder_outputs=encoded, decoder_input_ids=start).logits[:, 0]
        shares = logits[:, list(known.values())].softmax(-1).tolist()  # (B, languages)
        return [dict(zip(known, row, strict=True)) for row in shares]

    def _read(self, ids: torch.Tensor, logs: list[float]) -> tuple[str, list[float]]:
        ends = (ids == self.network.generation_config.eos_token_id).nonzero()
        text = self.tokenizer.decode(ids, skip_special_tokens=True).strip()
        return text, logs[: ends[0].item() + 1] if len(ends) else [*logs, float("nan")]


def _joined(windows: Sequence[tuple[str, list[float], dict[str, float]]]) -> Hypothesis:
    """Return what the windows of a clip say together."""
    texts, logs, languages = zip(*windows, strict=True)
    logs = np.concatenate(logs)
    ended = bool(np.isfinite(logs).all())
    return Hypothesis(" ".join(filter(None, texts)), float(np.nanmean(logs)), ended, languages[0])


def _windows(samples: np.ndarray, longest: int) -> list[np.ndarray]:
    """Return samples `(N,)` in windows of at most `longest`, cut where they are quietest."""
    return list(_cut(np.ascontiguousarray(samples, np.float32), longest))


def _cut(samples: np.ndarray, longest: int) -> Iterator[np.ndarray]:
    while len(samples) > longest:
        begin = longest - min(CUT, longest // 2)
        blocks = samples[begin:longest][: (longest - begin) // QUIET * QUIET].reshape(-1, QUIET)
        place = begin + int(np.square(blocks).sum(1).argmin()) * QUIET + QUIET // 2
        yield samples[:place]
        samples = samples[place:]
    yield samples


def _load(
    folder: Path,
) -> tuple[WhisperForConditionalGeneration, WhisperFeatureExtractor, WhisperTokenizer]:
    """Return a checkpoint's network, features and tokenizer; CheckpointError says what is amiss."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for name in FILES:
        if not (folder / name).is_file():
            raise CheckpointError(f"no {name} in it")
    try:
        shapes(folder)  # pickled and damaged weights are named
        extractor = WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True)
        tokenizer = WhisperTokenizer.from_pretrained(folder, local_files_only=True)
        network, found = WhisperForConditionalGeneration.from_pretrained(
            folder,
            use_safetensors=True,
            dtype=torch.float32,  # in less, a clip beside others would be written otherwise
            output_loading_info=True,
            local_files_only=True,
        )
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file ends in any of transformers' errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(reason) from None
    _inspect(network, found, extractor, tokenizer)
    return network.eval(), extractor, tokenizer


def _inspect(
    network: WhisperForConditionalGeneration,
    found: dict,
    extractor: WhisperFeatureExtractor,
    tokenizer: WhisperTokenizer,
) -> None:
    """Raise CheckpointError for weights that are missing, left over or not finite, and for
    features or a tokenizer of another network.
    """
    config = network.config
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found[kind]:
            first = sorted(map(str, found[kind]))[0]
            which = f"{kind.replace('_keys', '')} weights, {first} first"
            raise CheckpointError(f"config.json does not describe it: {len(found[kind])} {which}")
    for name, weight in network.state_dict().items():
        if not weight.isfinite().all():
            raise CheckpointError(f"its weight {name} is not finite")
    wanted = {
        "feature_size": config.num_mel_bins,
        "sampling_rate": SAMPLE_RATE,
        "nb_max_frames": 2 * config.max_source_positions,
    }
    for name, value in wanted.items():
        if getattr(extractor, name) != value:
            raise CheckpointError(
                f"{name} is {getattr(extractor, name)} by preprocessor_config.json; the network "
                f"takes {value}"
            )
    if len(tokenizer) > config.vocab_size:
        raise CheckpointError(
            f"tokenizer.json has {len(tokenizer)} tokens, the network {config.vocab_size}"
        )


def _prompt(settings: GenerationConfig, language: str | None) -> dict[str, str | None]:
    """Return what a checkpoint of many languages is prompted with for a tag, such as de or de-CH;
    nothing where it has but one.
    """
    known = _known(settings)
    if not known:
        return {}
    tag = language and language.partition("-")[0]
    if tag not in (None, *known):
        raise CheckpointError(
            f"teacher.language={language!r} must be one of {', '.join(sorted(known))}, or null: it "
            "then finds out, clip by clip"
        )
    return {"language": tag, "task": "transcribe"}


def _spell(settings: GenerationConfig, tokenizer: WhisperTokenizer, symbols: Sequence[str]) -> None:
    """Let a checkpoint write words for what an alphabet has no characters for, such as digits."""
    texts = map(tokenizer.decode, ([token] for token in range(settings.eos_token_id)))
    unread = [
        token
        for token, text in enumerate(texts)
        if BROKEN not in text and alphabet.unread(text, symbols)
    ]
    settings.suppress_tokens = sorted({*(settings.suppress_tokens or ()), *unread})


def _known(settings: GenerationConfig) -> dict[str, int]:
    """Return the token of each language, none where a checkpoint is of but one."""
    tokens = getattr(settings, "lang_to_id", None) or {}
    many = getattr(settings, "is_multilingual", bool(tokens))
    return {name.strip("<|>"): token for name, token in tokens.items()} if many else {}
