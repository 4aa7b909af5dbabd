"""Audio files in, samples out: any format libsndfile reads, to its end."""

from earshot.features.audio.files import (
    AudioError,
    audible,
    check,
    decode,
    header,
    quietest,
    stream,
)

__all__ = ["AudioError", "audible", "check", "decode", "header", "quietest", "stream"]
