"""Where the sound lies in a file, and how much: counted, as headers estimate or say nothing.

libsndfile stops after the number of frames in a header. So each sound of a file is counted here
(MPEG frames, FLAC's last frame, Ogg pages, a chunk's bytes), and where its header says otherwise a
corrected one stands before it. Joined files hold several sounds.
"""

import io
from pathlib import Path

from earshot.features.audio import chunks, flac, mpeg, ogg
from earshot.features.audio.part import Part, at


def parts(path: str | Path, check: bool = True) -> list[Part]:
    """Return the sounds of a file in their order; one of all its bytes where it is as it should be,
    or where nothing is known of its container.

    Without `check`, bytes are not compared with their checksums. Raises ContainerError for a file
    that lacks a part of its sound.
    """
    with open(path, "rb") as file:
        size = file.seek(0, io.SEEK_END)
        start = mpeg.after_id3(file, 0)
        magic = at(file, start, 16)
        if magic[:4] == b"fLaC":
            return flac.parts(file, start, size)
        if magic[:4] == b"OggS":
            return ogg.parts(file, size, check)
        if magic[:4] == b".snd":
            return chunks.au_parts(file, size)
        if magic[:4] in chunks.LAYOUTS and magic[8:12] in chunks.LAYOUTS[magic[:4]].forms:
            return chunks.parts(file, 0, size)
        if magic[:1] == b"\xff" or start:
            return mpeg.parts(file, start, size)
        return [Part(0, size)]
