"""A small wav2vec 2.0 from scratch, trained with CTC on letters: what the embedded default uses for
a checkpoint.

wav2vec2-base-960h was trained with CTC too, after self-supervision on 960 hours. That first phase
is left out here: a model this small and two cores do not get off chance level with it in an hour.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from earshot.models import checkpoint
from earshot.params import CTCPretrain
from earshot.pretraining.optimizers import OPTIMIZERS
from earshot.pretraining.small import size
from earshot.runtime.progress import track

LETTERS = "|'abcdefghijklmnopqrstuvwxyz"  # "|" separates words; index 0 is the CTC blank
CHECKPOINT_EVERY = 100
Clip = tuple[np.ndarray, str]  # int16 samples at 16 kHz, text
Report = Callable[[int, float], None]  # step, loss


def config(params: CTCPretrain, letters: str = LETTERS) -> Wav2Vec2Config:
    """Return wav2vec 2.0 with narrow early convolutions: the same strides, 50 frames a second."""
    return Wav2Vec2Config(
        vocab_size=len(letters) + 1,
        **size(params.hidden, params.layers, params.heads),
        feat_extract_activation="relu",
        feat_extract_norm="layer",
        mask_time_prob=0.06,
        mask_time_length=5,
        mask_feature_prob=0.05,
        mask_feature_length=16,
        ctc_loss_reduction="mean",
        ctc_zero_infinity=True,
        attn_implementation="eager",  # on CPUs, faster backwards
        pad_token_id=0,
    )


def encode_letters(text: str, letters: str = LETTERS) -> list[int]:
    """Return the CTC labels of `text`; what is no letter separates words."""
    words = "".join(c if c in letters else " " for c in text.lower()).split()
    return [letters.index(c) + 1 for c in "|".join(words)]


def decode_letters(ids: torch.Tensor, letters: str = LETTERS) -> str:
    """Return the text of a best CTC path `(T,)`: repeats merged, blanks dropped."""
    return "".join(letters[i - 1] for i in torch.unique_consecutive(ids).tolist() if i).replace(
        "|", " "
    )


def _collate(
    clips: list[Clip], letters: str = LETTERS
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pad to waveforms `(B, N)` of zero mean and unit variance, their mask `(B, N)` and labels `(B,
    L)`.
    """
    longest = max(len(samples) for samples, _ in clips)
    waves, mask = (
        torch.zeros(len(clips), longest),
        torch.zeros(len(clips), longest, dtype=torch.long),
    )
    said = [encode_letters(text, letters) for _, text in clips]
    labels = torch.full((len(clips), max(map(len, said))), -100)
    for row, ((samples, _), ids) in enumerate(zip(clips, said, strict=True)):
        wave = torch.from_numpy(samples.astype(np.float32))
        waves[row, : len(wave)] = (wave - wave.mean()) / (wave.std() + 1e-5)
        mask[row, : len(wave)] = 1
        labels[row, : len(ids)] = torch.tensor(ids)
    return waves, mask, labels


def _batches(clips: list[Clip], size: int, seed: int) -> Iterator[list[Clip]]:
    """Yield batches for ever: shuffled, with clips of similar length together."""
    for epoch in range(2**31):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(clips))
        chunks = [
            sorted(order[i : i + 8 * size], key=lambda j: len(clips[j][0]))
            for i in range(0, len(order), 8 * size)
        ]
        rows = [chunk[i : i + size] for chunk in chunks for i in range(0, len(chunk), size)]
        for row in rng.permutation(len(rows)):
            yield [clips[j] for j in rows[row]]


def pretrain(
    clips: list[Clip],
    params: CTCPretrain,
    seed: int,
    scratch: Path,
    report: Report,
    letters: str = LETTERS,
) -> Wav2Vec2ForCTC:
    """Train a small wav2vec 2.0 on spoken `clips` with CTC on letters; `report` gets step and loss.

    Interrupted runs continue from `scratch` and end in the same weights.
    """
    torch.manual_seed(seed)
    recogniser = Wav2Vec2ForCTC(config(params, letters)).train()
    optimizer = OPTIMIZERS[params.optimizer](recogniser, params.learning_rate)
    saved = checkpoint.load(scratch / "last.safetensors", recogniser, optimizer) or {"step": 0}
    batches = _batches(clips, params.batch_clips, seed)
    for step in track(range(params.steps), "pretrain", unit="step"):
        batch = next(batches)
        if step < saved["step"]:
            continue
        torch.manual_seed(seed + step)
        np.random.seed(seed + step)  # transformers draws its SpecAugment masks from NumPy's state
        rise, fall = (step + 1) / (0.1 * params.steps), (params.steps - step) / (0.9 * params.steps)
        optimizer.param_groups[0]["lr"] = params.learning_rate * min(rise, fall)
        waves, mask, labels = _collate(batch, letters)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = recogniser(waves, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(recogniser.parameters(), 1.0)
        optimizer.step()
        report(step, loss.item())
        if (step + 1) % CHECKPOINT_EVERY == 0:
            checkpoint.save(scratch / "last.safetensors", recogniser, optimizer, {"step": step + 1})
    return recogniser.eval()


def save(recogniser: Wav2Vec2ForCTC, folder: Path) -> None:
    """Write the encoder and its preprocessor as a checkpoint folder: float16 safetensors, as
    transformers reads it.
    """
    recogniser.wav2vec2.half().save_pretrained(folder)
    recogniser.wav2vec2.float()
    Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=True).save_pretrained(folder)


@torch.inference_mode()
def letter_error_rate(
    recogniser: Wav2Vec2ForCTC, clips: list[Clip], letters: str = LETTERS
) -> float:
    """Return letter errors per reference letter over `clips`, decoded greedily (a fraction)."""
    from torchaudio.functional import edit_distance

    errors = spoken = 0
    for clip in clips:
        waves, mask, labels = _collate([clip], letters)
        path = recogniser(waves, attention_mask=mask).logits[0].argmax(-1)
        heard, said = decode_letters(path, letters), decode_letters(labels[0], letters)
        errors, spoken = errors + edit_distance(heard, said), spoken + len(said)
    return errors / spoken
