"""The alphabet of a teacher of one language: of its checkpoint's CTC head, or the letters of
its clips.
"""

import json
import logging
from collections.abc import Sequence

from safetensors import SafetensorError

from earshot.models import ctc
from earshot.params import AnyTeacher as TeacherParams
from earshot.params import Teacher
from earshot.tables.items import Item, ItemError
from earshot.tasks.task import Task
from earshot.teacher.wav2vec2 import CheckpointError, checkpoint_folder
from earshot.text import alphabet

_log = logging.getLogger(__name__)


def alphabet_of(params: TeacherParams, items: Sequence[Item]) -> tuple[str, ...]:
    """Return the symbols that a teacher writes, part of those of the items, which are in its
    language.

    CheckpointError where its head has letters that the track lacks.
    """
    symbols = items[0].options
    letters = _letters_of_head(params) if isinstance(params, Teacher) else None
    if letters is None:
        used = {one for item in items for one in item.transcript or ""} - {" "}
        letters = tuple(one for one in symbols if one in used | {alphabet.BLANK, alphabet.SPACE})
    unknown = sorted(set(letters) - set(symbols))
    if unknown:
        union = "".join(sorted({*letters, *symbols} - {alphabet.BLANK, alphabet.SPACE}))
        line = f"fewshot.alphabet: {json.dumps(union, ensure_ascii=False)}"
        raise CheckpointError(
            f"teacher.checkpoint={params.checkpoint!r}: it writes {' '.join(unknown)}, which the "
            f"track's alphabet lacks; write {line}"
        )
    return letters


def _letters_of_head(params: Teacher) -> tuple[str, ...] | None:
    folder = checkpoint_folder(params.checkpoint, params.revision, params.cache)
    try:
        return ctc.letters(folder)
    except SafetensorError:  # named where the checkpoint is loaded
        return None
    except ctc.VocabularyError as error:
        raise CheckpointError(f"teacher.checkpoint={params.checkpoint!r}: {error}") from None


def writable(items: Sequence[Item], task: Task) -> list[Item]:
    """Return the items whose transcripts a teacher can write; the others are named in the log.

    ItemError where none is left.
    """
    foreign = {item.id: alphabet.foreign(item.transcript, task.labels) for item in items}
    for id, letters in foreign.items():
        if letters:
            _log.warning("clip %s: the teacher cannot write %s; left out", id, " ".join(letters))
    kept = [item for item in items if not foreign[item.id]]
    if items and not kept:
        raise ItemError(f"no transcript of {len(items)} can be written with {''.join(task.labels)}")
    return kept
