"""What comes over the network, exactly, and what will lie on the disk, about."""

import json
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from earshot.corpora import archives
from earshot.corpora.partial import begun
from earshot.params import TASKS, Track, each
from earshot.teacher import hub

FRAMES = 50  # of an encoder, a second
WINDOWS = {"whisper": 30.0, "audio-spectrogram-transformer": 10.24}  # seconds, by model_type
WIDE = {"base": 768, "large": 1024}
LETTERS = ascii_lowercase  # where the alphabet follows from the texts


@dataclass(frozen=True)
class Piece:
    """A file to be had: its bytes (None: nobody says exactly, `about` then if anyone), and how many
    of them are here. `place` is where it will lie; tracks may share it.
    """

    name: str
    track: str
    place: str
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


def downloads(name: str, track: Track, checkpoints: list[Any]) -> list[Piece]:
    """Return what a track and its teachers need from the network, here already or not."""
    pieces = []
    for corpus in each(track.corpus):
        root = Path(getattr(corpus, "root", ""))
        for part in archives.plan(corpus):
            archive = archives.TABLES[corpus.name][part.name]
            here = begun((root if archive.plain else root / archives.ARCHIVES) / archive.name)
            sizes = part.bytes, here, part.there, archive.about or None
            pieces.append(Piece(part.name, name, str(root), *sizes))
    for teacher in checkpoints:
        of = getattr(teacher, "network", teacher)  # an image network has a checkpoint itself
        if getattr(of, "revision", None) and not Path(of.checkpoint).is_dir():
            at = of.checkpoint, of.revision, of.cache
            there = hub.cached(*at) is not None
            place = of.cache or ""  # the hub client's own
            pieces.append(Piece(of.checkpoint, name, place, hub.size(*at), 0, there))
    return pieces


def disk(
    name: str, track: Track, pieces: list[Piece], hours: float, answered: float, framed: float
) -> list[Room]:
    """Return what lies on the disk when it is fullest, about; the library is not counted.

    `pieces` are those that no other track counts. `hours` is the corpus' hours (NaN: unknown),
    `answered` those of which a teacher's posteriors are kept, `framed` those whose frames it keeps,
    times the width of its layers.
    """
    sizes = [piece.bytes or piece.about or 0 for piece in pieces]
    rooms = []
    if sizes:
        total = sum(sizes)
        rooms.append(Room("downloads", name, total, "published sizes, some of them rounded"))
        more = archives.GROWTH * total
        rooms.append(Room("corpus, unpacked", name, more, f"{archives.GROWTH} × archives"))
    if isnan(hours):
        unknown = "unknown before the corpus is there"
        return [*rooms, Room("what is derived from the corpus", name, None, unknown)]
    seconds = 3600 * hours
    if not archives.plan(track.corpus):
        rooms.append(Room("corpus", name, 32_000 * seconds, "16 bit, 16,000 Hz, uncompressed"))
    front, views = track.features, 1 + track.views.count
    mel = seconds * views * front.sample_rate / front.hop_length * front.n_mels * 2
    rooms.append(Room("log-mel, and its parts until merged", name, 2 * mel, "float16, 2 copies"))
    frames = 3600 * framed * FRAMES * 2
    basis = f"{FRAMES} frames a second, float16; answers are small"
    rooms.append(Room("the teacher's frames", name, frames, basis))
    said = posteriors(name, track, answered) if answered else []
    rooms += said
    kept = mel + frames + sum(room.bytes for room in said)
    rooms.append(Room("DVC's cache", name, kept, "a copy, unless the disk shares blocks"))
    return rooms


def posteriors(name: str, track: Track, answered: float) -> list[Room]:
    """Return what a teacher says frame by frame of the hours that it answers, in all views."""
    if not TASKS[track.task].ordered:
        return []
    symbols = 2 + len(track.fewshot.alphabet or LETTERS)
    each = 3600 * FRAMES * symbols * 2
    basis = f"{each / 1e6:.1f} MB an hour: {symbols} symbols, {FRAMES} frames a second, float16"
    return [Room("the teacher's posteriors", name, answered * each, basis)]


def config(teacher: Any) -> dict[str, Any]:
    """Return what a teacher's checkpoint says of itself, as far as it is here."""
    checkpoint = getattr(teacher, "checkpoint", None)
    if checkpoint is None:
        return {}
    folder = Path(checkpoint)
    if not folder.is_dir() and teacher.revision:
        folder = hub.cached(checkpoint, teacher.revision, teacher.cache) or folder
    path = folder / "config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def writes(teacher: Any) -> bool:
    """Return whether a teacher only transcribes, as far as its checkpoint is here to say so."""
    return config(teacher).get("model_type") in hub.WRITERS and not teacher.epochs


def window(teacher: Any) -> float | None:
    """Return the seconds to which a teacher fills up every clip; None where it takes them as they
    are.
    """
    return WINDOWS.get(config(teacher).get("model_type"))


def width(teacher: Any) -> int:
    """Return the width of the frames that a teacher stores, or of one that writes.

    An encoder's layers are as wide as its configuration, or else its name says; networks store
    log-mel.
    """
    checkpoint = getattr(teacher, "checkpoint", None)
    if checkpoint is None:
        return teacher.features.n_mels
    described = config(teacher)
    if described:
        return int(described.get("hidden_size") or described["d_model"])
    return next((wide for size, wide in WIDE.items() if f"-{size}" in checkpoint), WIDE["base"])
