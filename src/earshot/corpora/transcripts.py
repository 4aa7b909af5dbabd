"""LibriSpeech's transcripts: a file a chapter, lines of an utterance's id and its text."""

import re
import unicodedata
from pathlib import Path

from earshot.runtime.files import TextError, read_text
from earshot.tables.manifest import CorpusError
from earshot.tables.rows import TwiceError, once

SUFFIX = ".trans.txt"


def read(path: Path) -> dict[str, str]:
    """Return a chapter's texts by utterance, in lower case; none where there is no file.

    The id is followed by spaces or a tab. Raises CorpusError naming file and line for an id that is
    not of the chapter or has two texts, and for bytes that are no text.
    """
    if not path.exists():
        return {}
    try:
        lines = read_text(path).split("\n")
    except TextError as error:
        raise CorpusError(str(error)) from None
    chapter = unicodedata.normalize("NFC", path.name.removesuffix(SUFFIX))
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        id, *text = line.split(maxsplit=1)
        id = unicodedata.normalize("NFC", id)
        if not re.fullmatch(rf"{re.escape(chapter)}-[\w.-]+", id):
            wanted = f"write {chapter}-NUMBER, a space and the text"
            raise CorpusError(f"{path}: line {number}: {id!r} is no id of the chapter; {wanted}")
        rows.append((f"line {number}", id, " ".join(text).strip().lower()))
    try:
        return once(path, rows)
    except TwiceError as error:
        raise CorpusError(str(error)) from None
