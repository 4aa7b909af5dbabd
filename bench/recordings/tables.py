"""Tables of recordings, as a user writes one for `corpus: {name: manifest}`.

LibriSpeech's excerpts have 251 clips of train-clean-100 by as many speakers, without transcripts;
`train-clean-100.pseudo.tsv` is what a small recogniser wrote of them. The 79 clips of six other
speakers have LibriSpeech's own.
"""

import csv
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from earshot.corpora import transcripts
from earshot.runtime.files import atomic

PSEUDO = "train-clean-100.pseudo.tsv"
SHARES = (25, 50, 100)  # percent of the pool


class Line(NamedTuple):
    """A recording in a role."""

    id: str
    path: Path
    speaker: str
    split: str
    text: str  # in the pool nobody reads it


def write(librispeech: Path, folder: Path) -> None:
    """Write every table below `folder`."""
    pool, written = _pool(librispeech), _written(librispeech)
    _table(folder / "listening.csv", listening(pool, written))
    for share in SHARES:
        _table(folder / f"asr-{share}.csv", recogniser(pool, written, share))


def listening(pool: list[Line], written: list[Line]) -> Iterator[Line]:
    """Ten few-shot clips and twenty for validation out of the pool, whose transcripts are a
    recogniser's; all others teach the teacher, and are the student's pool. The test are all clips
    with transcripts of LibriSpeech's own.
    """
    for place, line in enumerate(sorted(pool, key=_order)):
        if place < 10:
            yield line._replace(split="fewshot")
        elif place < 30:
            yield line._replace(split="validation")
        else:
            yield line._replace(split="teacher")
            yield line._replace(id=f"{line.id}-pool", split="pool")
    yield from (line._replace(split="test") for line in written)


def recogniser(pool: list[Line], written: list[Line], share: int) -> Iterator[Line]:
    """Three minutes of one speaker labelled, validation on another, the test on four more; the pool
    is a share of its clips. They also teach a teacher's head, by what the recogniser wrote.
    """
    chosen = sorted(pool, key=_order)[: round(len(pool) * share / 100)]
    for line in chosen:
        yield line._replace(id=f"{line.id}-teacher", split="teacher")
        yield line
    others = sorted({line.speaker for line in written if "dev-clean" not in line.path.parts})
    roles = dict.fromkeys(others, "test") | {others[0]: "validation"}
    for line in written:
        yield line._replace(split=roles.get(line.speaker, "fewshot"))


def _pool(librispeech: Path) -> list[Line]:
    with open(librispeech / PSEUDO, encoding="utf-8", newline="") as file:
        texts = {row["id"]: row["text"] for row in csv.DictReader(file, delimiter="\t")}
    paths = sorted((librispeech / "train-clean-100").rglob("*.flac"))
    return [Line(p.stem, p, p.parts[-3], "pool", texts[p.stem]) for p in paths if p.stem in texts]


def _written(librispeech: Path) -> list[Line]:
    lines = []
    for file in sorted(librispeech.rglob(f"*{transcripts.SUFFIX}")):
        for id, text in transcripts.read(file).items():
            lines.append(Line(id, file.parent / f"{id}.flac", file.parts[-3], "test", text))
    return [line for line in lines if line.path.is_file()]


def _order(line: Line) -> str:
    return sha256(line.id.encode()).hexdigest()


def _table(path: Path, lines: Iterable[Line]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*Line._fields, "passage"])
        rows.writerows([*line, line.id] for line in lines)
