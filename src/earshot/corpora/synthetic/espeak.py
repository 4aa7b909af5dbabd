"""espeak-ng as a deterministic voice: text in, 16 kHz samples out.

espeak-ng keeps state between utterances and seeds its noise from the clock. The library is loaded
anew for every utterance, with a fixed seed, and C's own random numbers, of which breathy voices are
made, begin anew: it gives the same samples whatever was spoken before.
"""

import _ctypes
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
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


_C = ctypes.CDLL(None)


@contextmanager
def _loaded() -> Iterator[tuple[ctypes.CDLL, int]]:
    """Give the library as it is before anything was spoken, and its sampling rate."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    _C.srand(1)  # as in a process that has drawn none
    try:
        data = espeakng_loader.get_data_path().encode()
        yield library, library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
        library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)


def speak(text: str, voice: Voice, seed: int = 1) -> np.ndarray:
    """Return `text` spoken by `voice` as int16 samples `(N,)` at 16 kHz; the same arguments give
    the same samples.

    Raises ValueError when espeak-ng knows no such voice.
    """
    pieces: list[np.ndarray] = []

    @_CALLBACK
    def collect(samples, count, _events):
        if samples and count:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    with _loaded() as (library, native_rate):
        library.espeak_SetSynthCallback(collect)
        if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice.name!r}")
        library.espeak_SetParameter(_RATE, voice.rate, 0)
        library.espeak_SetParameter(_PITCH, voice.pitch, 0)
        library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        encoded = text.encode()
        library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None)
    native = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    # soxr's own int16 differs by process
    samples = soxr.resample(native.astype(np.float32), native_rate, SAMPLE_RATE)
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
