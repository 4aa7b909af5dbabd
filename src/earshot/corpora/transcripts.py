"""LibriSpeech's transcripts: a file a chapter, lines of an utterance's id and its text."""

import re
import unicodedata
from pathlib import Path

from earshot.runtime.files import TextError, read_text
from earshot.tables.manifest import CorpusError

SUFFIX = ".trans.txt"


def read(path: Path) -> dict[str, str]:
    """Return a chapter's texts by utterance, in lower case; none where there is no file.

    The id is followed by spaces or a tab. Raises CorpusError naming file and line for an id that is
    not of the chapter or stands twice, and for bytes that are no text.
    """
    if not path.exists():
        return {}
    try:
        lines = read_text(path).split("\n")
    except TextError as error:
        raise CorpusError(str(error)) from None
    chapter = unicodedata.normalize("NFC", path.name.removesuffix(SUFFIX))
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        id, *text = line.split(maxsplit=1)
        id = unicodedata.normalize("NFC", id)
        if not re.fullmatch(rf"{re.escape(chapter)}-[\w.-]+", id):
            wanted = f"write {chapter}-NUMBER, a space and the text"
            raise CorpusError(f"{path}: line {number}: {id!r} is no id of the chapter; {wanted}")
        if id in texts:
            raise CorpusError(f"{path}: line {number}: {id} stands there twice; keep one")
        texts[id] = " ".join(text).strip().lower()
    return texts
