"""Damaged sound files, teachers and students, and what the product may do with them.

A case is a good file that was changed. The product must use it rightly, as an independent reader
does (ffmpeg; without it libsndfile, NumPy, ONNX's reference), or refuse it by name; within 10
seconds and 1 GB, without a traceback.
"""

import io
import json
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import scipy.signal
import soundfile
import torch
from drill.case import HUGE, Answer, Case, Change, Outcome, changed, limited

from earshot import predict
from earshot.features import audio
from earshot.models import checkpoint
from earshot.teacher import wav2vec2

RATE = 16_000
SECONDS_OF_A_SOUND = 1.5
LOSSY = ("mp3", "ogg", "opus", "mpeg.wav")  # whose readers conceal damage, each in its way
JOINED = ("flacjoined",)  # ffmpeg loses frames where one ends, which ones by its version
UNCHECKED = ("adpcm",)  # of damage within it any reader makes noise, each its own
BLOCK, SHIFT = 0.05, 0.3  # seconds that are compared at once, and how far apart they may be
HEADER = 256  # bytes at the start of a file that are changed more often


# Good files


def _sound(rate: int = RATE, seconds: float = SECONDS_OF_A_SOUND) -> np.ndarray:
    """Return a gliding tone with noise over it `(N,)`: no two stretches of it are alike."""
    time = np.arange(int(rate * seconds)) / rate
    noise = np.random.default_rng(0).normal(0, 0.02, len(time))
    return (0.4 * np.sin(2 * np.pi * (200 + 300 * time) * time) + noise).astype(np.float32)


def _encoded(
    format: str,
    subtype: str | None = None,
    rate: int = RATE,
    channels: int = 1,
    seconds: float = SECONDS_OF_A_SOUND,
) -> bytes:
    file = io.BytesIO()
    sound = _sound(rate, seconds)
    samples = np.stack([sound * (0.5 + 0.5 * channel) for channel in range(channels)], axis=1)
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def _mpeg_in_wav(content: bytes) -> bytes:
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 4000, 1, 0, 12, 1, 2, 144, 1, 1393)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data"
    chunks += struct.pack("<I", len(content))
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + len(content)) + b"WAVE" + chunks + content


def _student() -> bytes:
    """Return a small classifier of sounds as ONNX."""
    graph = onnx.parser.parse_graph("""student (float[samples] waveform) => (float[3] logits) {
        level = Abs(waveform)
        loud = ReduceMean(level)
        mean = ReduceMean(waveform)
        both = Concat<axis=0>(loud, mean)
        logits = MatMul(both, weights)
    }""")
    weights = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    graph.initializer.append(onnx.numpy_helper.from_array(weights, "weights"))
    opset = onnx.helper.make_opsetid("", 20)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    properties = {
        "task": "classes",
        "sample_rate": str(RATE),
        "labels": json.dumps(["airport", "park", "tram"]),
        "features": json.dumps({"min_seconds": 0.2, "min_rms": 1e-6}),
    }
    onnx.helper.set_model_props(model, properties)
    return model.SerializeToString()


@cache
def _teacher() -> dict[str, bytes]:
    """Return the files of a tiny wav2vec 2.0."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"intermediate_size": 24, "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16}
    model = Wav2Vec2Model(Wav2Vec2Config(**shape, num_conv_pos_embedding_groups=2))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        Wav2Vec2FeatureExtractor().save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@cache
def seeds() -> dict[str, tuple[str, bytes]]:
    """Return good files by name: a suffix and their bytes."""
    torch.set_num_threads(1)  # before any fork
    mp3 = _encoded("MP3")
    plain = mp3[mp3.index(mp3[:2], 2) :]  # without the frame that says how many follow
    ogg, flac, wav = _encoded("OGG", "VORBIS"), _encoded("FLAC"), _encoded("WAV")
    files = {
        "pcm16": ("wav", wav),
        "pcm24": ("wav", _encoded("WAV", "PCM_24", 44_100, 2)),
        "pcmu8": ("wav", _encoded("WAV", "PCM_U8")),
        "float": ("wav", _encoded("WAV", "FLOAT")),
        "double": ("wav", _encoded("WAV", "DOUBLE")),
        "ulaw": ("wav", _encoded("WAV", "ULAW", 8000)),
        "adpcm": ("wav", _encoded("WAV", "IMA_ADPCM")),
        "wavex": ("wav", _encoded("WAVEX", "PCM_16", channels=2)),
        "rf64": ("wav", _encoded("RF64")),
        "aiff": ("aiff", _encoded("AIFF")),
        "w64": ("w64", _encoded("W64")),
        "caf": ("caf", _encoded("CAF")),
        "au": ("au", _encoded("AU")),
        "flac16": ("flac", flac),
        "flac24": ("flac", _encoded("FLAC", "PCM_24", 44_100, 2)),
        "flacpipe": ("flac", flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]),
        "flacjoined": ("flac", flac + _encoded("FLAC", seconds=1)),
        "mp3": ("mp3", mp3),
        "mp3stereo": ("mp3", _encoded("MP3", None, 44_100, 2)),
        "mp3plain": ("mp3", plain),
        "mp3joined": ("mp3", mp3 + mp3),
        "mp3wav": ("mpeg.wav", _mpeg_in_wav(plain)),
        "vorbis": ("ogg", ogg),
        "vorbis44": ("ogg", _encoded("OGG", "VORBIS", 44_100, 2)),
        "chain": ("ogg", ogg + ogg),
        "opus": ("opus", _encoded("OGG", "OPUS")),
        "student": ("onnx", _student()),
        "weights": ("safetensors", _teacher()["model.safetensors"]),
    }
    return files | {name: (name, _teacher()[name]) for name in _teacher() if "json" in name}


# How files are changed: (bytes, generator) → bytes


def _place(size: int, rng: np.random.Generator) -> int:
    """Return where to change a file: one time in two within its header."""
    return int(rng.integers(min(size, HEADER) if rng.random() < 0.5 else size))


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        changed[_place(len(changed), rng)] ^= 1 << rng.integers(8)
    return bytes(changed)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content))]


def _hole(content: bytes, rng: np.random.Generator) -> bytes:
    start = _place(len(content), rng)
    return content[:start] + content[start + int(rng.integers(1, len(content) // 4)) :]


def _blank(content: bytes, rng: np.random.Generator) -> bytes:
    start, count = _place(len(content), rng), int(rng.integers(1, len(content) // 4))
    return content[:start] + bytes(len(content[start : start + count])) + content[start + count :]


def _splice(content: bytes, rng: np.random.Generator) -> bytes:
    """Put a piece of any good file somewhere."""
    other = list(seeds().values())[rng.integers(len(seeds()))][1]
    start, place = int(rng.integers(len(other))), _place(len(content), rng)
    return content[:place] + other[start : start + int(rng.integers(1, 4096))] + content[place:]


def _swap(content: bytes, rng: np.random.Generator) -> bytes:
    """Change the order of two pieces."""
    a, b, c = sorted(_place(len(content), rng) for _ in range(3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def _count(content: bytes, rng: np.random.Generator) -> bytes:
    """Put a huge number or none where a header may have a count."""
    order = "<>"[rng.integers(2)]
    number = struct.pack(f"{order}I", HUGE[rng.integers(len(HUGE))])
    place = int(rng.integers(min(len(content), HEADER)))
    return content[:place] + number + content[place + 4 :]


def _digits(content: bytes, rng: np.random.Generator) -> bytes:
    """Put other digits for a number in a text."""
    places = [place for place, byte in enumerate(content[:4096]) if 48 <= byte <= 57]
    if not places:
        return _flip(content, rng)
    place = places[rng.integers(len(places))]
    return content[:place] + (b"9999999999", b"-1", b"0", b"7")[rng.integers(4)] + content[place:]


def _append(content: bytes, rng: np.random.Generator) -> bytes:
    return content + rng.bytes(rng.integers(1, 4096))


def _twice(content: bytes, rng: np.random.Generator) -> bytes:
    return content + content


CHANGES: dict[str, Change] = {
    "flip": _flip,
    "cut": _cut,
    "hole": _hole,
    "blank": _blank,
    "splice": _splice,
    "swap": _swap,
    "count": _count,
    "digits": _digits,
    "append": _append,
    "twice": _twice,
}


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield `count` cases, the same for a seed; the first are the good files as they are."""
    return changed(seeds(), CHANGES, seed, count)


# What the product does with a file, and what an independent reader finds in it


def check(case: Case, folder: Path) -> Outcome:
    """Hand a case to the product, in `folder`, and hold what it does against the readers."""
    if case.suffix == "onnx":
        return _check_student(case, folder)
    if case.suffix == "safetensors" or "json" in case.suffix:
        return _check_teacher(case, folder)
    return _check_sound(case, folder)


def _verdict(answer: Answer, path: Path) -> Outcome | None:
    """Return what became of a case that was not used."""
    if answer.state == "fault":
        return Outcome("fault", answer.value)
    if answer.state == "refused":
        fits = str(path) in answer.value and "\n" not in answer.value
        text = answer.value.replace(str(path), path.name)
        return Outcome("refused", text) if fits else Outcome("fault", f"not by name: {text}")
    return None


def _check_sound(case: Case, folder: Path) -> Outcome:
    path = folder / f"{case.name}.{case.suffix}"
    path.write_bytes(case.content)
    rate, expected = _independent(path)
    answer = limited(partial(_read, path, rate), (audio.AudioError,))
    outcome = _verdict(answer, path)
    path.unlink()
    if outcome is not None:
        return outcome
    seconds, samples = answer.value
    if case.change == "none" and abs(len(samples) / rate - seconds) > 0.001:
        return Outcome("fault", f"header says {seconds} s of {len(samples) / rate} s")
    return _compare(case, samples, expected, rate)


def _read(path: Path, rate: int) -> tuple[float, np.ndarray]:
    seconds, _ = audio.header(path)  # never an error
    return seconds, audio.decode(path, rate)


def _independent(path: Path) -> tuple[int, np.ndarray | None]:
    """Return a file's rate and its samples, channels averaged, as another program reads them; None
    where it reads none.
    """
    if shutil.which("ffmpeg") is None:
        try:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, ValueError, MemoryError, OSError):
            return RATE, None
        return rate, _mono(samples)
    raw = path.with_suffix(".decoded.wav")
    command = ["ffmpeg", "-v", "quiet", "-y", "-i", path, "-map", "0:a:0", "-t", "60"]
    command += ["-c:a", "pcm_f32le", "-f", "wav", raw]
    try:
        subprocess.run(command, timeout=60, stdin=subprocess.DEVNULL)
        samples, rate = soundfile.read(raw, dtype="float32", always_2d=True)
    except (subprocess.TimeoutExpired, soundfile.SoundFileError, OSError):
        return RATE, None
    finally:
        raw.unlink(missing_ok=True)
    return (rate, _mono(samples)) if len(samples) else (RATE, None)


def _mono(samples: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        return samples.mean(axis=1)


def _compare(case: Case, samples: np.ndarray, expected: np.ndarray | None, rate: int) -> Outcome:
    """Say whether samples are what another reader finds, and no silent part of the good file."""
    if not len(samples) or not np.isfinite(samples).all() or np.abs(samples).max() > 1:
        return Outcome("fault", "samples that are none")
    lossy = case.suffix in LOSSY or case.seed in JOINED or expected is None
    if expected is None:  # as ffmpeg of AIFF, W64 and CAF whose length is unknown
        expected = _good(case.seed, rate)
    slack = int(0.2 * rate) if lossy else 0
    lacking = expected[len(samples) + slack :]
    if len(lacking) and np.abs(lacking).max() > 1e-3:
        return Outcome("fault", f"{len(samples)} samples, another reader finds {len(expected)}")
    if case.change == "cut" and len(samples) < SECONDS_OF_A_SOUND * rate and not _is_plain(case):
        return Outcome("fault", f"{len(samples)} samples of a file that was cut")
    if lossy:
        shift = len(samples) if case.seed in JOINED else int(SHIFT * rate)
        wrong = _unlike(expected, samples, rate, shift)
        if shutil.which("ffmpeg"):  # libsndfile reads the first only of joined sounds
            wrong = max(wrong, _unlike(samples, expected, rate, shift))
    else:
        common = min(len(samples), len(expected))
        error = _rms(samples[:common] - expected[:common], rate)
        wrong = (error > np.maximum(0.2 * _rms(expected[:common], rate), 2e-4)).mean()
    if wrong > (0.5 if lossy else 0) and case.seed not in UNCHECKED:
        return Outcome("fault", f"{wrong:.0%} of it differs from what another reader finds")
    return Outcome("used", f"{len(samples)} samples, another reader finds {len(expected)}")


@cache
def _good(seed: str, rate: int) -> np.ndarray:
    """Return the samples of a good file."""
    suffix, content = seeds()[seed]
    with tempfile.NamedTemporaryFile(suffix=f".{suffix}") as file:
        Path(file.name).write_bytes(content)
        return audio.decode(file.name, rate)


def _is_plain(case: Case) -> bool:
    """Return whether a cut cannot be seen: between MPEG frames whose number nothing gives."""
    return case.seed in ("mp3plain", "mp3wav")


def _unlike(samples: np.ndarray, others: np.ndarray, rate: int, shift: int) -> float:
    """Return the share of blocks of `samples` that `others` have nowhere within `shift` samples."""
    size = int(BLOCK * rate)
    starts = range(0, len(samples) - size + 1, size)
    unlike = 0
    for start in starts:
        block = samples[start : start + size].astype(np.float64)
        near = others[max(0, start - shift) : start + size + shift].astype(np.float64)
        if len(near) < size:
            unlike += 1
            continue
        products = scipy.signal.correlate(near, block, "valid", "fft")
        energy = scipy.signal.correlate(np.square(near), np.ones(size), "valid", "fft")
        errors = block @ block - 2 * products + energy
        unlike += errors.min() > max(0.04 * (block @ block), 4e-8 * size)
    return unlike / max(1, len(starts))


def _rms(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return the level of each block."""
    size = max(1, min(len(samples), int(BLOCK * rate)))
    whole = samples[: len(samples) // size * size].astype(np.float64)
    return np.sqrt(np.square(whole.reshape(-1, size)).mean(axis=1))


def _check_teacher(case: Case, folder: Path) -> Outcome:
    place = folder / case.name
    place.mkdir()
    changed = "model.safetensors" if case.suffix == "safetensors" else case.suffix
    for name, content in (_teacher() | {changed: case.content}).items():
        (place / name).write_bytes(content)
    try:
        load = partial(_weights_of_a_teacher, place)
        answer = limited(load, (wav2vec2.CheckpointError,))
        weights = place / "model.safetensors"
        plain = limited(partial(_weights, weights), (checkpoint.WeightsError,))
    finally:
        shutil.rmtree(place)
    outcome = _verdict(plain, weights)
    if outcome is not None and outcome.state == "fault":
        return outcome
    outcome = _verdict(answer, place)
    if outcome is not None:
        return outcome
    tensors = _safetensors(case.content if changed == weights.name else _teacher()[weights.name])
    for name, tensor in answer.value.items():
        if name in tensors and not np.array_equal(tensor, tensors[name]):
            return Outcome("fault", f"{name} is not what the file holds")
    return Outcome("used", f"{len(answer.value)} weights")


def _weights_of_a_teacher(place: Path) -> dict[str, np.ndarray]:
    backbone, _ = wav2vec2.load_backbone(str(place), None)
    return {name: tensor.numpy() for name, tensor in backbone.state_dict().items()}


def _weights(path: Path) -> int:
    return len(checkpoint.load_weights(path))


def _safetensors(content: bytes) -> dict[str, np.ndarray]:
    """Read float32 tensors with nothing but JSON and NumPy."""
    length = int.from_bytes(content[:8], "little")
    described = json.loads(content[8 : 8 + length])
    tensors = {}
    for name, entry in described.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            values = np.frombuffer(content[8 + length + start : 8 + length + end], "<f4")
            tensors[name] = values.reshape(entry["shape"])
    return tensors


def _check_student(case: Case, folder: Path) -> Outcome:
    path = folder / f"{case.name}.onnx"
    path.write_bytes(case.content)
    answer = limited(partial(_classify, path), (predict.PredictError,))
    outcome = _verdict(answer, path)
    path.unlink()
    if outcome is not None:
        return outcome
    probabilities = answer.value
    if not np.isfinite(probabilities).all() or abs(probabilities.sum() - 1) > 1e-6:
        return Outcome("fault", f"probabilities {probabilities}")
    expected = limited(partial(_reference, case.content), ())
    if expected.state == "used" and len(expected.value) != len(probabilities):
        return Outcome("fault", f"{len(probabilities)} classes of {len(expected.value)}")
    if expected.state == "used" and np.abs(expected.value - probabilities).max() > 1e-3:
        return Outcome("fault", f"{probabilities}, ONNX's reference finds {expected.value}")
    return Outcome("used", "as ONNX's reference does")


def _classify(path: Path) -> np.ndarray:
    model = predict.load(path)
    if not isinstance(model, predict.Classifier):
        raise predict.PredictError(f"{path}: another task")
    return model.classify(_sound(seconds=1)).pooled


def _reference(content: bytes) -> np.ndarray:
    session = onnx.reference.ReferenceEvaluator(onnx.load_from_string(content))
    return predict.softmax(session.run(None, {"waveform": _sound(seconds=1)})[0])
