"""Kaldi's data folders: `wav.scp`, `text`, `utt2spk`, `segments`; one, or one a split.

https://kaldi-asr.org/doc/data_prep.html
"""

from collections.abc import Iterator
from pathlib import Path

from earshot.corpora.shapes.row import Row, lines, located_above, named_split, seconds
from earshot.tables.manifest import CorpusError

NAMES = ("wav.scp", "text", "utt2spk", "segments")


def read(root: Path) -> Iterator[Row]:
    """Yield the utterances in the order of `segments`, or else of `wav.scp`.

    CorpusError, with file and line, for a command in the place of a path, an utterance of no
    recording or twice, and a segment without its seconds.
    """
    for folder in _folders(root):
        yield from _utterances(folder)


def files(root: Path) -> list[Path]:
    """Return the tables."""
    listed = [folder / name for folder in _folders(root) for name in NAMES]
    return [path for path in listed if path.is_file()]


def _folders(root: Path) -> list[Path]:
    return sorted(path.parent for path in [*root.glob("wav.scp"), *root.glob("*/wav.scp")])


def _utterances(folder: Path) -> Iterator[Row]:
    recordings = {
        name: _path(given, where, folder)
        for name, (where, given) in _table(folder, "wav.scp").items()
    }
    texts, speakers = _table(folder, "text"), _table(folder, "utt2spk")
    segments = _table(folder, "segments")
    if not texts:
        raise CorpusError(f"{folder / 'text'}: no such file, or nothing in it")
    for name, (where, given) in (segments or _table(folder, "wav.scp")).items():
        recording, begin, length = _segment(given, where) if segments else (name, 0.0, None)
        if recording not in recordings:
            raise CorpusError(f"{where}: recording {recording!r} is not in wav.scp")
        yield Row(
            recordings[recording],
            where,
            id=name,
            text=texts.get(name, ("", ""))[1] or None,
            speaker=speakers.get(name, ("", ""))[1] or None,
            group=recording if segments else None,
            split=named_split(folder.name),
            begin=begin,
            seconds=length,
        )


def _table(folder: Path, name: str) -> dict[str, tuple[str, str]]:
    """Return what follows each first word of a file, with its place; CorpusError for one twice."""
    found: dict[str, tuple[str, str]] = {}
    for where, line in lines(folder / name) if (folder / name).is_file() else ():
        key, _, rest = line.strip().partition(" ")
        key, _, more = key.partition("\t")  # as some write
        if key in found:
            raise CorpusError(f"{where}: {key!r} stands there twice; keep one of the two")
        found[key] = where, f"{more} {rest}".strip()
    return found


def _path(given: str, where: str, folder: Path) -> Path:
    if given.endswith("|") or given.startswith("|"):
        raise CorpusError(
            f"{where}: a pipe, which is not run: {given!r}; write files and name them"
        )
    if ".ark:" in given:
        raise CorpusError(f"{where}: a place in an archive, {given!r}; write files and name them")
    return located_above(given, where, folder)


def _segment(given: str, where: str) -> tuple[str, float, float | None]:
    fields = given.split()
    if len(fields) != 3:
        raise CorpusError(
            f"{where}: {len(fields) + 1} fields; UTTERANCE RECORDING BEGIN END wanted"
        )
    ends = dict(zip(("begin", "end"), fields[1:], strict=True))
    if fields[2] == "-1":  # to the end
        return fields[0], seconds(ends, "begin", where), None
    begin, end = (seconds(ends, name, where) for name in ends)
    if end <= begin:
        raise CorpusError(f"{where}: ends at {end} s, before it begins")
    return fields[0], begin, end - begin
