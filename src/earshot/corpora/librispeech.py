"""LibriSpeech's own layout: `subset/speaker/chapter/*.flac`, with or without
`speaker-chapter.trans.txt`.

Panayotov et al., "LibriSpeech: an ASR corpus based on public domain audio books" (2015).
"""

import hashlib
import logging
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from earshot.corpora import archives
from earshot.corpora import transcripts as chapters
from earshot.features import audio
from earshot.params import LibriSpeech
from earshot.runtime.inputs import cover
from earshot.tables.manifest import Clip, CorpusError

_log = logging.getLogger(__name__)


def build(params: LibriSpeech, folder: Path, seed: int) -> Iterator[Clip]:
    """Yield the utterances under the prefixes of `params.splits`, sorted by path; nothing is
    written to `folder`.

    The parts of `params.download` are brought to the root first. Speakers under `auto` are dealt to
    splits, by `seed`, in the shares of `params.auto`. An utterance of several subsets, as all of
    Mini LibriSpeech's train-clean-5 are of train-clean-100 too, is used once, under the prefix that
    stands first, which is logged. An utterance without a transcript has no text; of a chapter with
    transcripts that is logged, and so are texts without a file. Raises CorpusError when the folder
    is missing, or a prefix matches nothing, and what `archives.provide` and `transcripts.read`
    raise.
    """
    if params.download:
        archives.provide(params)
    root = Path(params.root)
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder (librispeech root)")
    prefixes = {PurePosixPath(prefix).parts: split for prefix, split in params.splits.items()}
    files = sorted(root.glob("*/*/*/*.flac"))
    inside = [file.relative_to(root).parts for file in files]
    for prefix in prefixes:
        if not any(parts[: len(prefix)] == prefix for parts in inside):
            raise CorpusError(
                f"{root}: no .flac file under {'/'.join(prefix)!r} (librispeech splits)"
            )
    chosen = [_split(parts, prefixes) for parts in inside]
    dealt = deal(
        {parts[1] for parts, split in zip(inside, chosen, strict=True) if split == "auto"},
        params.auto,
        seed,
    )
    again = _again(files, root, prefixes)
    transcripts: dict[Path, dict[str, str]] = {}
    for file, (_, speaker, chapter, _), split in zip(files, inside, chosen, strict=True):
        if split is None or file in again:
            continue
        if file.parent not in transcripts:
            path = file.parent / f"{speaker}-{chapter}{chapters.SUFFIX}"
            transcripts[file.parent] = chapters.read(path)
            _compare(path, transcripts[file.parent])
        text = transcripts[file.parent].get(unicodedata.normalize("NFC", file.stem))
        yield Clip(
            file.stem,
            str(file),
            *audio.header(file),
            speaker=speaker,
            split=dealt[speaker] if split == "auto" else split,
            text=text or None,
            passage=f"{speaker}-{chapter}",
        )


def files(params: LibriSpeech) -> list[Path]:
    """Return what holds the transcripts and the list of recordings: the root, or file by file where
    most of it is something else.
    """
    root = Path(params.root)
    prefixes = {PurePosixPath(prefix).parts: prefix for prefix in params.splits}
    inside = [file for suffix in ("flac", "txt") for file in root.glob(f"*/*/*/*.{suffix}")]
    chosen = [file for file in inside if _split(file.relative_to(root).parts, prefixes)]
    table = [Path(params.download.table)] if params.download and params.download.table else []
    return cover(chosen) + table


def deal(speakers: set[str], shares: dict[str, float], seed: int) -> dict[str, str]:
    """Deal speakers to splits: in the order of a seeded hash, each split takes its share (of
    whatever sum).
    """
    order = sorted(
        speakers, key=lambda speaker: hashlib.sha256(f"{seed}|{speaker}".encode()).digest()
    )
    bounds, total = [], 0.0
    for split, share in sorted(shares.items()):
        total += share
        bounds.append((total, split))
    places = ((place + 0.5) / len(order) * total for place in range(len(order)))
    return {
        speaker: next(split for bound, split in bounds if place < bound)
        for speaker, place in zip(order, places, strict=True)
    }


def _split(parts: tuple[str, ...], prefixes: dict[tuple[str, ...], str]) -> str | None:
    """Return the split of the longest prefix of whole path components."""
    return prefixes.get(_prefix(parts, prefixes))


def _prefix(parts: tuple[str, ...], prefixes: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    matching = [prefix for prefix in prefixes if parts[: len(prefix)] == prefix]
    return max(matching, key=len, default=None)


def _again(files: Sequence[Path], root: Path, prefixes: dict[tuple[str, ...], str]) -> set[Path]:
    """Return the files of utterances that lie in another subset too, under an earlier prefix."""
    order = list(prefixes)
    found: dict[str, list[tuple[int, Path]]] = {}
    for file in files:
        prefix = _prefix(file.relative_to(root).parts, prefixes)
        if prefix is not None:
            found.setdefault(file.stem, []).append((order.index(prefix), file))
    again = {file for places in found.values() for _, file in sorted(places)[1:]}
    if again:
        _log.warning("%s: %d utterance(s) lie in several subsets, used once", root, len(again))
    return again


def _compare(path: Path, texts: dict[str, str]) -> None:
    """Log which utterances of a transcribed chapter have no text, and which texts no utterance."""
    spoken = {unicodedata.normalize("NFC", file.stem) for file in path.parent.glob("*.flac")}
    written = {id for id, text in texts.items() if text}
    for ids, what in ((spoken - written, "no text of"), (written - spoken, "no recording of")):
        if texts and ids:
            first = ", ".join(sorted(ids)[:3])
            _log.warning("%s: %s %d utterance(s): %s", path, what, len(ids), first)
