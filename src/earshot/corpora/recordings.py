"""The user's recordings, in the shape that they have (`shapes`): roles dealt, parts cut out."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import soundfile

from earshot.corpora import deal
from earshot.corpora.shapes import SHAPES
from earshot.corpora.shapes.row import Row
from earshot.features import audio
from earshot.params import OwnRecordings
from earshot.runtime import parallel
from earshot.runtime.files import atomic, write_json
from earshot.tables.manifest import DEALT, Clip, CorpusError

NEARLY = 0.05  # seconds by which a whole recording may be longer than its table says
_log = logging.getLogger(__name__)


def build(params: OwnRecordings, folder: Path, seed: int) -> Iterator[Clip]:
    """Yield the recordings that have a role (`deal.roles`) in the order of their tables.

    An id is the path, relative to the root, or what the table calls it. Parts of recordings are cut
    out and written to `folder` as FLAC, and what was dealt to `dealt.json`. CorpusError names file
    and line where something is missing, twice or contradictory.
    """
    rows = read(params)
    names = ids(rows, Path(params.root))
    dealt = deal.roles(rows, names, params, seed)
    tell(rows, dealt, folder)
    kept = [(row, id, role) for row, id, role in zip(rows, names, dealt, strict=True) if role]
    parts = [(row, id) for row, id, _ in kept if _is_part(row)]
    for _ in parallel.run(partial(_cut, folder), parts, "parts of recordings", "clip", 16):
        pass
    for row, id, role in kept:
        path = _place(folder, id) if _is_part(row) else row.path
        speaker = row.speaker if params.speakers == "named" else None
        yield Clip(
            id,
            str(path),
            *audio.header(path),
            speaker=speaker or row.group or id,
            split=role,
            text=row.text,
            passage=row.group or id,
            label=row.label,
            language=row.language,
            location=row.group,
        )


def files(params: OwnRecordings) -> list[Path]:
    """Return the tables, or the folders that take their place."""
    root = Path(params.root)
    return SHAPES[params.shape].files(root) if root.exists() else []


def read(params: OwnRecordings) -> list[Row]:
    """Return all recordings in the order of their tables; CorpusError where there are none."""
    root = Path(params.root)
    if not root.exists():
        raise CorpusError(f"{root}: no such file or folder (recordings root)")
    rows = list(SHAPES[params.shape].read(root))
    if not rows:
        raise CorpusError(f"{root}: no recordings in the shape of {params.shape}")
    target = params.target or ("label" if any(row.label for row in rows) else "text")
    other = "text" if target == "label" else "label"
    return [replace(row, **{other: None}) for row in rows]


def ids(rows: Sequence[Row], root: Path) -> list[str]:
    """Return what each recording is called: its own id, or its path below the root, or else below
    the folder that holds all; CorpusError names the rows of two that are called the same.
    """
    paths = [os.path.abspath(row.path) for row in rows]
    above = os.path.abspath(root if root.is_dir() else root.parent)
    if not all(path.startswith(above + os.sep) for path in paths):
        above = os.path.commonpath([os.path.dirname(path) for path in paths])
    names, first = [], {}
    for row, path in zip(rows, paths, strict=True):
        name = row.id or Path(os.path.relpath(path, above)).as_posix()
        if row.id is None and row.begin:
            name = f"{name}@{row.begin:.3f}"
        if name in first:
            raise CorpusError(f"{row.where}: {name!r} is in {first[name]} too; keep one of the two")
        first[name] = row.where
        names.append(name)
    return names


def tell(rows: Sequence[Row], dealt: Sequence[str | None], folder: Path) -> None:
    """Log what was dealt, and write it to `folder`."""
    counts = Counter(role or "left_out" for role in dealt)
    given = Counter(row.split or "none" for row in rows)
    write_json(folder / DEALT, {"given": dict(given), "dealt": dict(counts)})
    counted = ", ".join(f"{count} {role}" for role, count in sorted(counts.items()))
    _log.info("%d recordings: %s", len(rows), counted)


def _is_part(row: Row) -> bool:
    if row.begin:
        return True
    return row.seconds is not None and row.seconds < audio.header(row.path)[0] - NEARLY


def _place(folder: Path, id: str) -> Path:
    return folder / f"{id}.flac"


def _cut(folder: Path, part: tuple[Row, str]) -> None:
    row, id = part
    try:
        with soundfile.SoundFile(row.path) as file:
            begin = round(row.begin * file.samplerate)
            length = -1 if row.seconds is None else round(row.seconds * file.samplerate)
            file.seek(min(begin, file.frames))
            samples = file.read(length, dtype="float32")
            rate, fine = file.samplerate, file.subtype != "PCM_16"
    except (soundfile.SoundFileError, OSError) as error:
        raise CorpusError(f"{row.where}: {row.path}: {error}") from None
    if not len(samples):
        raise CorpusError(f"{row.where}: begins at {row.begin} s, where {row.path} has ended")
    with atomic(_place(folder, id)) as partial_file:
        subtype = "PCM_24" if fine else "PCM_16"
        soundfile.write(partial_file, samples, rate, format="FLAC", subtype=subtype)
