"""LibriSpeech's own layout: `subset/speaker/chapter/*.flac`, with or without
`speaker-chapter.trans.txt`.

Panayotov et al., "LibriSpeech: an ASR corpus based on public domain audio books" (2015).
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from earshot.corpora import archives
from earshot.features import audio
from earshot.params import LibriSpeech
from earshot.runtime.inputs import cover
from earshot.tables.manifest import Clip, CorpusError


def build(params: LibriSpeech, folder: Path, seed: int) -> Iterator[Clip]:
    """Yield the utterances under the prefixes of `params.splits`, sorted by path; nothing is
    written to `folder`.

    The parts of `params.download` are brought to the root first. Speakers under `auto` are dealt to
    splits, by `seed`, in the shares of `params.auto`. An utterance without a transcript has no
    text. Raises CorpusError when the folder is missing, or a prefix matches nothing, and what
    `archives.provide` raises.
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
    transcripts: dict[Path, dict[str, str]] = {}
    for file, (_, speaker, chapter, _), split in zip(files, inside, chosen, strict=True):
        if split is None:
            continue
        if file.parent not in transcripts:
            transcripts[file.parent] = _transcripts(file.parent / f"{speaker}-{chapter}.trans.txt")
        yield Clip(
            file.stem,
            str(file),
            *audio.header(file),
            speaker=speaker,
            split=dealt[speaker] if split == "auto" else split,
            text=transcripts[file.parent].get(file.stem),
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
    matching = [prefix for prefix in prefixes if parts[: len(prefix)] == prefix]
    return prefixes[max(matching, key=len)] if matching else None


def _transcripts(path: Path) -> dict[str, str]:
    """Read lines `id TEXT`, lower-cased; no file, no transcripts."""
    if not path.exists():
        return {}
    lines = (line.partition(" ") for line in path.read_text(encoding="utf-8").splitlines())
    return {id: text.strip().lower() for id, _, text in lines if text.strip()}
