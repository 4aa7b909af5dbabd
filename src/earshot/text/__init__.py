"""Texts: one form for the same characters, and questions and options as hashed token ids."""

from earshot.text.encoding import (
    PADDING,
    VERSIONS,
    alike,
    canonical,
    encode,
    encode_item,
    folded,
    groups,
    pad,
    pad_options,
    reading,
    same,
    words,
)

__all__ = [
    "PADDING",
    "VERSIONS",
    "alike",
    "canonical",
    "encode",
    "encode_item",
    "folded",
    "groups",
    "pad",
    "pad_options",
    "reading",
    "same",
    "words",
]
