"""What comes over the network, exactly, and what will lie on the disk, about."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earshot.corpora import archives
from earshot.models import hub
from earshot.params import HubertPretrain, Recipe, SyntheticScenes, SyntheticSpeech, Track
from earshot.workbench.plan.work import Work

FLAC = 0.5  # of 16-bit samples: what the embedded speech keeps
FRAMES = 50  # of an encoder, a second
MAPS = 12 * 12  # of an attention map
WIDE = {"base": 768, "large": 1024}


@dataclass(frozen=True)
class Piece:
    """A file to be had: its bytes (None: nobody says exactly, `about` then if anyone), and how many
    of them are here.
    """

    name: str
    track: str
    bytes: int | None
    here: int
    there: bool
    about: int | None = None

    @property
    def left(self) -> int | None:
        """Bytes still to come."""
        return 0 if self.there else self.bytes and max(0, self.bytes - self.here)


@dataclass(frozen=True)
class Room:
    """Something on the disk: how many bytes (None: unknown), and how that is reckoned."""

    what: str
    track: str
    bytes: float | None
    basis: str


def downloads(name: str, track: Track) -> list[Piece]:
    """Return what a track needs from the network; what is here already is listed too."""
    corpus, root = track.corpus, Path(getattr(track.corpus, "root", ""))
    pieces = []
    for part in archives.plan(corpus):
        archive = archives.TABLES[corpus.name][part.name]
        here = _here(root if archive.plain else root / archives.ARCHIVES, archive.name)
        pieces.append(Piece(part.name, name, part.bytes, here, part.there, archive.about or None))
    teacher = track.teacher
    if teacher.revision and not Path(teacher.checkpoint).is_dir():
        there = hub.cached(teacher.checkpoint, teacher.revision, teacher.cache) is not None
        size = hub.size(teacher.checkpoint, teacher.revision, teacher.cache)
        pieces.append(Piece(teacher.checkpoint, name, size, 0, there))
    return pieces


def pretraining(name: str, track: Track) -> Piece | None:
    """Return the checkpoint that `make pretrain` would start from, if it is one of the hub's."""
    settings = track.pretrain
    if (
        not isinstance(settings, HubertPretrain)
        or not settings.start
        or Path(settings.start).is_dir()
    ):
        return None
    there = bool(
        settings.revision and hub.cached(settings.start, settings.revision, settings.cache)
    )
    size = (
        hub.size(settings.start, settings.revision, settings.cache) if settings.revision else None
    )
    return Piece(settings.start, name, size, 0, there)


def _here(folder: Path, name: str) -> int:
    """Return the bytes of an unfinished download."""
    partial = folder / f".{name}.partial"
    return partial.stat().st_size if partial.is_file() else 0


def disk(
    name: str,
    track: Track,
    recipes: Mapping[str, Recipe],
    work: Work | None,
    speeds: Mapping[str, Any],
) -> list[Room]:
    """Return what lies on the disk when it is fullest, figure by figure; the library is not
    counted.
    """
    pieces = downloads(name, track)
    rooms = []
    if getattr(track.corpus, "download", None):
        parts = archives.TABLES[track.corpus.name]
        sizes = [parts[piece.name].size for piece in pieces if piece.name in parts]
        rounded = any(piece.bytes is None for piece in pieces if piece.name in parts)
        basis = "published sizes" + (", some of them rounded" if rounded else "")
        kept = track.corpus.download.keep_archives
        rooms.append(
            Room("archives" if kept else "archives, until unpacked", name, sum(sizes), basis)
        )
        rooms.append(
            Room(
                "corpus, unpacked",
                name,
                archives.GROWTH * sum(sizes),
                f"{archives.GROWTH} × archives",
            )
        )
    rooms += [
        Room(piece.name, name, piece.bytes, "the hub's size")
        for piece in pieces
        if "/" in piece.name
    ]
    if work is None:
        return [
            *rooms,
            Room(
                "what is derived from the corpus", name, None, "unknown before the corpus is there"
            ),
        ]
    corpus, heard = work.corpus, work.of("fewshot", "pool")
    if isinstance(track.corpus, (SyntheticSpeech, SyntheticScenes)):
        spoken = isinstance(track.corpus, SyntheticSpeech)
        rate = getattr(track.corpus, "sample_rate", 16_000)
        basis = f"16 bit, {rate:,} Hz" + (f", FLAC {FLAC:.0%}" if spoken else "")
        rooms.append(
            Room("corpus, made", name, corpus.seconds * rate * 2 * (FLAC if spoken else 1), basis)
        )
    front, width = track.features, _width(track)
    mel = corpus.heard * front.sample_rate / front.hop_length * front.n_mels * 2
    rooms.append(Room("log-mel, and its parts until merged", name, 2 * mel, "float16, 2 copies"))
    trained = work.of(track.teacher.data)
    frozen = (
        FRAMES
        * width
        * 2
        * (trained.heard + work.of("validation").seconds)
        * (2 if track.teacher.control else 1)
    )
    basis = f"{FRAMES} frames a second of {width}, float16"
    rooms.append(Room("frozen states, while the teacher is tuned", name, frozen, basis))
    answers = heard.items * heard.views * (len(track.cache.layers) * width * 2 + 64)
    basis = "a vector of each kept layer an item"
    if track.cache.layered:
        basis += ", front ends"
        answers += heard.heard * FRAMES * width * 2 + heard.items * heard.views * 12 * (
            2 * MAPS + 40
        )
    rooms.append(Room("teacher's answers", name, answers, basis))
    if size := sum(speeds.get("bytes", {}).values()):
        students = len(recipes) * track.distill.seeds
        written = students * (2.3 * speeds["bytes"]["float"] + size)
        rooms.append(Room("students and their files", name, written, "measured files"))
    kept = mel + answers + sum(room.bytes or 0 for room in rooms if room.what == "corpus, made")
    rooms.append(
        Room("DVC's cache", name, kept, "a copy of outputs, unless the disk shares blocks")
    )
    return rooms


def _width(track: Track) -> int:
    """Return the width of the teacher's layers: its checkpoint's, or as its name says."""
    config = Path(track.teacher.checkpoint, "config.json")
    if config.is_file():
        return int(json.loads(config.read_text())["hidden_size"])
    return next(
        (wide for size, wide in WIDE.items() if f"-{size}" in track.teacher.checkpoint),
        WIDE["base"],
    )
