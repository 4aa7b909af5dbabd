"""What teachers of each family cost at base size: random weights, one thread, a process each.

`python -m bench.families [FAMILY …]` prints a table: processor seconds of the frozen part for a
second of speech, in clips of 3 and of 10 s, and the peak of memory. Processor seconds, as other
processes may be at work.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import (
    ASTFeatureExtractor,
    AutoConfig,
    AutoModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from earshot.params import Teacher as TeacherParams
from earshot.tasks.classes import Classes
from earshot.teacher.wav2vec2 import Teacher

BIG = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
WHISPER = {"d_model": 512}
for part in ("encoder", "decoder"):
    WHISPER |= {f"{part}_layers": 6, f"{part}_attention_heads": 8, f"{part}_ffn_dim": 2048}
MADE: Mapping[str, tuple[dict[str, Any], Any]] = {  # model_type: what differs from its defaults
    "wav2vec2": ({}, Wav2Vec2FeatureExtractor),
    "hubert": ({}, Wav2Vec2FeatureExtractor),
    "wavlm": ({}, Wav2Vec2FeatureExtractor),
    "data2vec-audio": ({}, Wav2Vec2FeatureExtractor),
    "wav2vec2-conformer": (BIG | {"intermediate_size": 4096}, Wav2Vec2FeatureExtractor),
    "wav2vec2-bert": ({}, SeamlessM4TFeatureExtractor),
    "whisper": (WHISPER, WhisperFeatureExtractor),
    "audio-spectrogram-transformer": ({}, ASTFeatureExtractor),
}
SECONDS, ROUNDS = (3, 10), 3


def save(family: str, folder: str) -> None:
    """Save a random checkpoint."""
    changes, extractor = MADE[family]
    AutoModel.from_config(AutoConfig.for_model(family, **changes)).save_pretrained(folder)
    extractor().save_pretrained(folder)


def measure(folder: str) -> dict[str, float]:
    """Return millions of parameters, processor seconds a second by length of clips, and MB."""
    torch.set_num_threads(1)
    params = TeacherParams(track="any", checkpoint=folder, epochs=1, tuned_layers=0)
    teacher = Teacher(params, Classes(None, ("a", "b"))).eval()
    found = {"parameters": sum(one.numel() for one in teacher.backbone.parameters()) / 1e6}
    rng = np.random.default_rng(0)
    for seconds in SECONDS:
        clip = rng.normal(0, 0.1, 16_000 * seconds).astype(np.float32)
        teacher.lower(clip)  # the first one fills caches
        begin = time.process_time()
        for _ in range(ROUNDS):
            teacher.lower(clip)
        found[f"{seconds} s"] = (time.process_time() - begin) / ROUNDS / seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found | {"megabytes": peak}


def _alone(call: str) -> str:
    """Return the last line that a call prints in a process of its own."""
    code = f"import json; from bench.families import measure, save; {call}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return "".join(done.stdout.splitlines()[-1:])


def main(families: list[str]) -> None:
    """Print a row a family, each measured in a process of its own."""
    heads = " | ".join(f"processor s a second, clips of {seconds} s" for seconds in SECONDS)
    print(f"| family | parameters | {heads} | peak |\n|---|---|{'---|' * len(SECONDS)}---|")
    for family in families or MADE:
        with TemporaryDirectory() as folder:
            _alone(f"save({family!r}, {folder!r})")
            found = json.loads(_alone(f"print(json.dumps(measure({folder!r})))"))
        times = " | ".join(f"{found[f'{seconds} s']:.3f}" for seconds in SECONDS)
        size, peak = f"{found['parameters']:.0f} M", f"{found['megabytes'] / 1000:.1f} GB"
        print(f"| `{family}` | {size} | {times} | {peak} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
