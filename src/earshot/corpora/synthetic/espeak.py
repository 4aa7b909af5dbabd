"""espeak-ng as a deterministic voice: text in, 16 kHz samples out.

espeak-ng keeps state between utterances and seeds its noise from the clock. One forked process per
utterance with a fixed seed gives the same samples whatever was spoken before. Fork before torch is
loaded: its threads do not survive.
"""

import ctypes
import os
from dataclasses import dataclass

import espeakng_loader
import numpy as np
import soxr

SAMPLE_RATE = 16_000
_SYNCHRONOUS, _UTF8, _RATE, _PITCH = 2, 1, 1, 3
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True)
class Voice:
    """An espeak-ng voice (`en-us+f3`), its rate in words per minute and its pitch (0–99)."""

    name: str
    rate: int = 170
    pitch: int = 50


def _synthesize(text: str, voice: Voice, seed: int) -> bytes:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    native_rate = library.espeak_Initialize(
        _SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0
    )
    pieces: list[np.ndarray] = []

    @_CALLBACK
    def collect(samples, count, _events):
        if samples and count:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(collect)
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise ValueError(f"espeak-ng has no voice {voice.name!r}")
    library.espeak_SetParameter(_RATE, voice.rate, 0)
    library.espeak_SetParameter(_PITCH, voice.pitch, 0)
    library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    encoded = text.encode()
    library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None)
    native = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    samples = soxr.resample(
        native.astype(np.float32), native_rate, SAMPLE_RATE
    )  # soxr's own int16 differs by process
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16).tobytes()


def speak(text: str, voice: Voice, seed: int = 1) -> np.ndarray:
    """Return `text` spoken by `voice` as int16 samples `(N,)` at 16 kHz; the same arguments give
    the same samples.

    Raises ValueError when espeak-ng knows no such voice.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(_synthesize(text, voice, seed))
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        samples = pipe.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise ValueError(f"espeak-ng could not speak with voice {voice.name!r}")
    return np.frombuffer(samples, np.int16)
