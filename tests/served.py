"""Corpora made up, packed as the real ones are published: a file a part, to be served."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import soundfile
import yaml

from earshot.tables.manifest import Clip

TAU_NAME = "TAU-urban-acoustic-scenes-2022-mobile-development"
Part = tuple[str, bytes]  # a file's name and content


def tree(root: Path, clips: list[Clip], subsets: dict[str, set[str]]) -> None:
    """Lay spoken clips out as LibriSpeech does: FLAC by subset, speaker and chapter, with those
    transcripts that are known. A subset holds some splits; a split may lie in several.
    """
    speakers = sorted({clip.speaker for clip in clips})
    chapters = sorted({clip.passage for clip in clips})
    counts: dict[str, int] = {}
    for clip in clips:
        speaker = str(100 + speakers.index(clip.speaker))
        chapter = str(9000 + chapters.index(clip.passage))
        name = f"{speaker}-{chapter}"
        id = f"{name}-{counts.setdefault(name, 0):04d}"
        counts[name] += 1
        for subset in (one for one, splits in subsets.items() if clip.split in splits):
            folder = root / subset / speaker / chapter
            folder.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / f"{id}.flac", *soundfile.read(clip.path, dtype="int16"))
            if clip.text:
                with open(folder / f"{name}.trans.txt", "a") as transcripts:
                    transcripts.write(f"{id} {clip.text.upper()}\n")


def _tarball(folder: Path, prefix: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(folder, prefix)
    return packed.getvalue()


def _zipped(root: Path, files: list[Path]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"{TAU_NAME}/{file.relative_to(root)}")
    return packed.getvalue()


def speech_parts(root: Path) -> dict[str, Part]:
    """Return a tarball for each subset of a tree like LibriSpeech's."""
    subsets = sorted(folder.name for folder in root.iterdir())
    return {
        name: (f"{name}.tar.gz", _tarball(root / name, f"LibriSpeech/{name}")) for name in subsets
    }


def scene_parts(root: Path) -> dict[str, Part]:
    """Return the zips and lists of a folder like TAU's."""
    clips = sorted((root / "audio").iterdir())
    meta = [root / "meta.csv", *(root / "evaluation_setup").iterdir()]
    zips = {"meta": meta} | {f"audio.{number + 1}": clips[number::16] for number in range(16)}
    if (root / "README.md").exists():
        zips["doc"] = [root / "README.md"]
    parts = {part: (f"{TAU_NAME}.{part}.zip", _zipped(root, own)) for part, own in zips.items()}
    lists = [path for path in root.glob("*.csv") if path.name != "meta.csv"]
    return parts | {path.name: (path.name, path.read_bytes()) for path in lists}


def checksums(path: Path, parts: dict[str, Part]) -> str:
    """Write the MD5 and size of what is served."""
    entries = {
        part: {"md5": hashlib.md5(body).hexdigest(), "bytes": len(body)}
        for part, (_, body) in parts.items()
    }
    path.write_text(yaml.safe_dump(entries))
    return str(path)
