"""Damaged tables, transcripts, YAML files and archives, and what the product may do with them.

A case is a good file that was changed. The product must use it rightly, as an independent reader
does (the csv module, pandas, ruamel.yaml, tarfile, zipfile), or refuse it by name; within 10
seconds and 1 GB, without a traceback.
"""

import csv
import io
import os
import shutil
import struct
import sys
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import soundfile
from drill.case import HUGE, Case, Change, Outcome, changed, limited
from ruamel.yaml import YAML

from earshot.corpora import common_voice, csv_table, librispeech, tau2022, unpack
from earshot.items.authored import authored
from earshot.params import TAU2022, CommonVoice, LibriSpeech, Manifest, parse

ROOT = Path(__file__).parents[2]
KNOWN = (ValueError, KeyError, FloatingPointError, OSError)  # what a stage turns into one line
SPLITS = ("teacher", "pool", "fewshot", "validation", "test")
DEVICES = ("a", "b", "s1")


# Good files


def _words(number: int) -> str:
    return f"the quiet river number {number} runs north"


def _rows() -> list[list[str]]:
    rows = [["path", "speaker", "split", "text"]]
    for number in range(10):
        split = SPLITS[number % 5]
        rows.append([f"clip-{number}.wav", f"{split}-{number}", split, _words(number)])
    return rows


def _table(rows: list[list[str]], separator: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _transcripts() -> bytes:
    return "".join(f"1-2-{n:04d} {_words(n).upper()}\n" for n in range(10)).encode()


def _common_voice() -> bytes:
    rows = [["client_id", "path", "sentence", "locale"]]
    rows += [[f"voice{n}", f"clip-{n}.wav", _words(n).capitalize() + ".", "en"] for n in range(10)]
    return _table(rows, "\t")


def _scenes() -> bytes:
    rows = [["filename", "scene_label", "identifier", "source_label"]]
    for number in range(12):
        place, device = f"city-{number // 3}", DEVICES[number % 3]
        label = ("park", "tram")[number // 3 % 2]
        name = f"audio/{label}-{place}-0-{number}-{device}.wav"
        rows.append([name, label, place, device])
    return _table(rows, "\t")


def _questions() -> bytes:
    entry = """- id: q{0}
  skill: detail
  utterances: [clip-{0}, clip-{1}]
  question: "Which word is mentioned?"
  options: [harbour {0}, lantern, kettle]
  answer: {2}
  role: fewshot
"""
    return "".join(entry.format(n, n + 1, n % 3) for n in range(5)).encode()


def _parquet() -> bytes:
    head, *rows = _rows()
    file = io.BytesIO()
    pd.DataFrame(rows, columns=head).to_parquet(file)
    return file.getvalue()


def _files() -> dict[str, bytes]:
    return {f"corpus/{n}/part-{n}.txt": _words(n).encode() * (n + 1) for n in range(4)}


def _tar(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{mode}") as archive:
        for name, content in _files().items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _files().items():
            archive.writestr(name, content)
    return file.getvalue()


@cache
def seeds() -> dict[str, tuple[str, bytes]]:
    """Return good files by name: a suffix and their bytes."""
    return {
        "transcripts": ("txt", _transcripts()),
        "table": ("csv", _table(_rows(), ",")),
        "parquet": ("parquet", _parquet()),
        "commonvoice": ("tsv", _common_voice()),
        "scenes": ("tau.csv", _scenes()),
        "questions": ("questions.yaml", _questions()),
        "params": ("params.yaml", (ROOT / "params.yaml").read_bytes()),
        "tar": ("tar", _tar("")),
        "targz": ("tar.gz", _tar("gz")),
        "zip": ("zip", _zip()),
    }


# How files are changed: (bytes, generator) → bytes


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        changed[rng.integers(len(changed))] ^= 1 << rng.integers(8)
    return bytes(changed)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content))]


def _hole(content: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(len(content)))
    return content[:start] + content[start + int(rng.integers(1, 40)) :]


def _splice(content: bytes, rng: np.random.Generator) -> bytes:
    """Put a piece of any good file somewhere."""
    other = list(seeds().values())[rng.integers(len(seeds()))][1]
    start, place = int(rng.integers(len(other))), int(rng.integers(len(content)))
    return content[:place] + other[start : start + int(rng.integers(1, 200))] + content[place:]


def _count(content: bytes, rng: np.random.Generator) -> bytes:
    """Put a huge number or none where an archive or Parquet may have a count."""
    number = struct.pack("<I", HUGE[rng.integers(len(HUGE))])
    place = int(rng.integers(len(content)))
    return content[:place] + number + content[place + 4 :]


def _digits(content: bytes, rng: np.random.Generator) -> bytes:
    """Put other digits for a number in a text."""
    places = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
    if not places:
        return _flip(content, rng)
    place = places[rng.integers(len(places))]
    number = (b"99999999999999999999", b"-1", b"0", b"1e400", b".nan")[rng.integers(5)]
    return content[:place] + number + content[place + 1 :]


def _fields(content: bytes, rng: np.random.Generator) -> bytes:
    """Swap two pieces between separators."""
    lines = content.split(b"\n")
    line = int(rng.integers(len(lines)))
    separator = (b",", b"\t", b" ", b":")[rng.integers(4)]
    parts = lines[line].split(separator)
    a, b = rng.integers(len(parts)), rng.integers(len(parts))
    parts[a], parts[b] = parts[b], parts[a]
    lines[line] = separator.join(parts)
    return b"\n".join(lines)


def _lines(content: bytes, rng: np.random.Generator) -> bytes:
    """Say a line twice, or leave it out."""
    lines = content.split(b"\n")
    line = int(rng.integers(len(lines)))
    return b"\n".join(
        [*lines[:line], *lines[line : line + 1] * (rng.integers(2) * 2), *lines[line + 1 :]]
    )


def _marks(content: bytes, rng: np.random.Generator) -> bytes:
    """Put a character that means something to a reader anywhere."""
    marks = (
        b'"',
        b"'",
        b"\t",
        b",",
        b";",
        b"\0",
        b"\r",
        b"\xef\xbb\xbf",
        b"\xff",
        b"#",
        b"{",
        b"&a ",
        b"*a",
    )
    place = int(rng.integers(len(content)))
    return content[:place] + marks[rng.integers(len(marks))] + content[place:]


def _encoding(content: bytes, rng: np.random.Generator) -> bytes:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return _flip(content, rng)
    text = text.replace("river", "rivière")
    return text.encode(("utf-8-sig", "utf-16", "latin-1", "utf-8")[rng.integers(4)])


CHANGES: dict[str, Change] = {
    "flip": _flip,
    "cut": _cut,
    "hole": _hole,
    "splice": _splice,
    "count": _count,
    "digits": _digits,
    "fields": _fields,
    "lines": _lines,
    "marks": _marks,
    "encoding": _encoding,
}


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield `count` cases, the same for a seed; the first are the good files as they are."""
    return changed(seeds(), CHANGES, seed, count)


# What the product does with a file, and what an independent reader finds in it


def check(case: Case, folder: Path) -> Outcome:
    """Hand a case to the product, in `folder`, and hold what it does against another reader."""
    place = folder / case.name
    place.mkdir()
    try:
        path, use, expect = _PRODUCT[case.seed](place)
        path.write_bytes(case.content)
        answer = limited(use, KNOWN)
        if answer.state == "fault":
            return Outcome("fault", answer.value)
        if answer.state == "refused":
            fits = (
                path.name in answer.value or str(place) in answer.value
            ) and "\n" not in answer.value
            text = answer.value.replace(str(place), "")
            return Outcome("refused", text) if fits else Outcome("fault", f"not by name: {text}")
        try:
            expected = expect(case.content)
        except Exception as error:  # whatever another reader makes of it
            return Outcome("fault", f"used, but another reader says {error!r}: {answer.value!r}")
        if answer.value != expected:
            return Outcome("fault", f"used as {answer.value!r}, another reader finds {expected!r}")
        return Outcome("used", f"{len(expected)} entries")
    finally:
        shutil.rmtree(place)


Product = tuple[Path, Callable[[], Any], Callable[[bytes], Any]]


def _sounds(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(_sound(), target)


@cache
def _sound() -> str:
    path = Path(tempfile.mkdtemp(prefix="earshot-drill-")) / "sound.wav"
    soundfile.write(path, 0.2 * np.sin(np.arange(4000) / 10), 16_000)
    return str(path)


def _plain(text: Any) -> str:
    """Return a text in one form of its characters, without space around it."""
    return unicodedata.normalize("NFC", str(text)).strip()


def _clips(build: Callable, params: Any, folder: Path) -> list[tuple[str, ...]]:
    clips = list(build(params, folder, 1))
    return sorted((Path(c.path).name, c.speaker, c.split, _plain(c.text or "")) for c in clips)


def _own(place: Path, suffix: str, expect: Callable) -> Product:
    _sounds(place, [row[0] for row in _rows()[1:]])
    path = place / f"table.{suffix}"
    return (
        path,
        partial(_clips, csv_table.build, Manifest(name="manifest", path=str(path)), place),
        expect,
    )


def _decoded(content: bytes) -> str:
    for mark, name in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if content.startswith(mark):
            return content.decode(name)
    return content.decode("utf-8")


def _expect_rows(rows: list[dict]) -> list[tuple[str, ...]]:
    cells = ("path", "speaker", "split", "text")
    found = [tuple(_plain(row.get(cell) or "") for cell in cells) for row in rows]
    return sorted({(Path(path).name, *rest) for path, *rest in found})


def _expect_csv(content: bytes) -> list[tuple[str, ...]]:
    return _expect_rows(list(csv.DictReader(io.StringIO(_decoded(content), newline=""))))


def _expect_parquet(content: bytes) -> list[tuple[str, ...]]:
    return _expect_rows(pq.read_table(io.BytesIO(content)).to_pylist())


def _librispeech(place: Path) -> Product:
    chapter = place / "root/dev-clean/1/2"
    _sounds(chapter, [f"1-2-{n:04d}.flac" for n in range(10)])
    params = LibriSpeech(name="librispeech", root=str(place / "root"), splits={"dev-clean": "test"})
    return chapter / "1-2.trans.txt", partial(_texts, params, place), _expect_transcripts


def _texts(params: LibriSpeech, folder: Path) -> dict[str, str]:
    return {clip.id: _plain(clip.text or "") for clip in librispeech.build(params, folder, 1)}


def _expect_transcripts(content: bytes) -> dict[str, str]:
    found = {f"1-2-{number:04d}": "" for number in range(10)}
    for line in _decoded(content).splitlines():
        words = line.split(maxsplit=1)
        if len(words) == 2 and words[0] in found:
            found[words[0]] = _plain(words[1].lower())
    return found


def _voices(place: Path) -> Product:
    _sounds(place / "clips", [f"clip-{n}.wav" for n in range(10)])
    params = CommonVoice(
        name="common_voice", root=str(place), language="en", splits={"test": "test"}
    )
    return place / "test.tsv", partial(_clips, common_voice.build, params, place), _expect_voices


def _expect_voices(content: bytes) -> list[tuple[str, ...]]:
    lines = csv.DictReader(
        io.StringIO(_decoded(content), newline=""), delimiter="\t", quoting=csv.QUOTE_NONE
    )
    return sorted(
        {(_plain(r["path"]), _plain(r["client_id"]), "test", _plain(r["sentence"])) for r in lines}
    )


def _scene_clips(place: Path) -> Product:
    lines = _scenes().decode().splitlines()[1:]
    _sounds(place, [line.split("\t")[0] for line in lines])
    params = TAU2022(name="tau2022", root=str(place), validation_share=0.0, test_share=0.5)
    return place / "meta.csv", partial(_labels, params, place), _expect_scenes


def _labels(params: TAU2022, folder: Path) -> list[tuple[str, ...]]:
    clips = tau2022.build(params, folder, 1)
    return sorted((Path(c.path).name, c.label, c.location, c.device) for c in clips)


def _expect_scenes(content: bytes) -> list[tuple[str, ...]]:
    lines = csv.DictReader(io.StringIO(_decoded(content), newline=""), delimiter="\t")
    cells = ("scene_label", "identifier", "source_label")
    return sorted({(Path(r["filename"]).name, *(_plain(r[cell]) for cell in cells)) for r in lines})


def _authored(place: Path) -> Product:
    path = place / "questions.yaml"
    return path, partial(_asked, path), _expect_questions


def _asked(path: Path) -> list[tuple]:
    items = authored(path)
    return [
        (i.id, i.question, tuple(map(_plain, i.options)), i.utterances, i.answer, i.role)
        for i in items
    ]


def _expect_questions(content: bytes) -> list[tuple]:
    entries = YAML(typ="base", pure=True).load(_decoded(content))
    found = [
        (
            e["id"],
            e["question"],
            tuple(map(_plain, e["options"])),
            tuple(e["utterances"]),
            int(e["answer"]),
            e.get("role", "fewshot"),
        )
        for e in entries
    ]
    return list(dict.fromkeys(found))


def _parameters(place: Path) -> Product:
    return place / "params.yaml", partial(_declared, place), _expect_parameters


def _declared(place: Path) -> dict:
    os.chdir(place)
    sys.path.insert(0, str(ROOT / "stages"))
    import declared

    return declared._params().model_dump()


def _expect_parameters(content: bytes) -> dict:
    return parse(YAML(typ="safe", pure=True).load(_decoded(content))).model_dump()


def _archive(suffix: str, place: Path) -> Product:
    path = place / f"archive.{suffix}"
    expect = _expect_zip if suffix == "zip" else _expect_tar
    return path, partial(_unpacked, path, place), expect


def _unpacked(path: Path, place: Path) -> dict[str, bytes]:
    folder = place / "unpacked"
    unpack.unpack(path, folder)
    files = [file for file in folder.rglob("*") if file.is_file()]
    found = {str(file.relative_to(folder)): file.read_bytes() for file in files}
    outside = {f.name for f in place.iterdir()} - {path.name, "unpacked"}
    if outside:
        raise RuntimeError(f"written outside of its folder: {outside}")
    return {name: content for name, content in found.items() if not name.startswith(".unpacked/")}


def _expect_tar(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
        return {_path(m.name): archive.extractfile(m).read() for m in files}


def _expect_zip(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {_path(m.filename): archive.read(m) for m in archive.infolist() if not m.is_dir()}


def _path(name: str) -> str:
    return os.path.normpath(name)


_PRODUCT: dict[str, Callable[[Path], Product]] = {
    "transcripts": _librispeech,
    "table": partial(_own, suffix="csv", expect=_expect_csv),
    "parquet": partial(_own, suffix="parquet", expect=_expect_parquet),
    "commonvoice": _voices,
    "scenes": _scene_clips,
    "questions": _authored,
    "params": _parameters,
    "tar": partial(_archive, "tar"),
    "targz": partial(_archive, "tar.gz"),
    "zip": partial(_archive, "zip"),
}
