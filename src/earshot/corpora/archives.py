"""Where the public corpora are, how to know that they arrived whole, and how they come to lie where
the loaders look.

LibriSpeech is OpenSLR 12, Mini LibriSpeech OpenSLR 31, TAU Urban Acoustic Scenes 2022 Mobile record
6337421 of Zenodo, its subset lists a release of the DCASE 2024 baseline, LibriSQA (Part II) a data
set of the Hugging Face hub.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from earshot.corpora import transcripts
from earshot.corpora.fetch import Remote, fetch
from earshot.corpora.unpack import unpack
from earshot.params import TAU2022, LibriSpeech
from earshot.runtime import yaml_file
from earshot.runtime.yaml_file import YamlError
from earshot.tables.manifest import CorpusError

ARCHIVES = "archives"  # the folder in a corpus' root where archives wait to be unpacked
OPENSLR = ("https://www.openslr.org", "https://openslr.elda.org", "https://openslr.trmal.net")
ZENODO = "https://zenodo.org/records/6337421/files"
DCASE = "https://github.com/CPJKU/dcase2024_task1_baseline/releases/download/files"
LIBRISQA = (
    "https://huggingface.co/datasets/ZihanZhao/LibriSQA/resolve/"
    "75a39e781262d3e5e59af904892427e0f0618240"
)
# Bytes unpacked for each byte of an archive: gzip gains nothing on FLAC, and TAU's 230,350 clips of
# 132,344 bytes are 1.11 times their zips.
GROWTH = 1.12
NULLS = ("", "~", "null")  # a checksum that is not known


@dataclass(frozen=True)
class Archive:
    """A file to be had: an archive, whose arrival `holds` tells (a pattern in the corpus' root), or
    a plain file.

    `md5` and `bytes` are None where they are not published; `about` then stands in for the bytes
    when disk is asked for. `count` is the number of utterances in a folder, or of rows in a list.
    """

    name: str
    urls: tuple[str, ...]
    holds: str
    md5: str | None = None
    bytes: int | None = None
    about: int = 0
    count: int | None = None

    @property
    def plain(self) -> bool:
        """Whether the file is used as it is."""
        return self.holds == self.name

    @property
    def size(self) -> int:
        """Bytes, exact or about."""
        return self.about if self.bytes is None else self.bytes


@dataclass(frozen=True)
class Planned:
    """A part of a corpus: its bytes where they are known, and whether it is there, so that nothing
    would be fetched.
    """

    name: str
    bytes: int | None
    there: bool


def _slr(number: int, part: str, md5: str, **known: Any) -> tuple[str, Archive]:
    name = f"{part}.tar.gz"
    return part, Archive(
        name, tuple(f"{host}/resources/{number}/{name}" for host in OPENSLR), part, md5, **known
    )


def _librisqa(part: str, about: int) -> tuple[str, Archive]:
    name = f"LibriSQA-PartII-{part}.json"
    return f"librisqa-{part}", Archive(
        name, (f"{LIBRISQA}/LibriSQA-PartII/{name}",), name, about=about
    )


def _tau(part: str, md5: str, bytes: int, holds: str = "audio") -> tuple[str, Archive]:
    name = f"TAU-urban-acoustic-scenes-2022-mobile-development.{part}.zip"
    return part, Archive(name, (f"{ZENODO}/{name}?download=1",), holds, md5, bytes)


def _dcase(name: str, rows: int) -> tuple[str, Archive]:
    return name, Archive(name, (f"{DCASE}/{name}",), name, about=70 * rows, count=rows)


# Where `about` stands, the sites give rounded sizes only.
LIBRISPEECH_PARTS: dict[str, Archive] = dict(
    [
        _slr(
            12,
            "train-clean-100",
            "2a93770f6d5c6c964bc36631d331a522",
            bytes=6_387_309_499,
            count=28_539,
        ),
        _slr(12, "train-clean-360", "c0e676e450a7ff2f54aeade5171606fa", about=23_000_000_000),
        _slr(12, "train-other-500", "d1a0fd59409feb2c614ce4d30c387708", about=30_000_000_000),
        _slr(12, "dev-clean", "42e2234ba48799c1f50f24a7926300a1", bytes=337_926_286, count=2_703),
        _slr(12, "dev-other", "c8d0bcc9cca99d4f8b62fcc847357931", about=320_000_000, count=2_864),
        _slr(12, "test-clean", "32fa31d27d2e1cad72775fee3f4849a9", bytes=346_663_984, count=2_620),
        _slr(12, "test-other", "fb5a50374b501bb3bac4815ee91d3135", about=330_000_000, count=2_939),
        _slr(31, "train-clean-5", "5df7d4e78065366204ca6845bb08f490", about=332_000_000),
        _slr(31, "dev-clean-2", "6d7ab67ac6a1d2c993d050e16d61080d", about=126_000_000),
        _librisqa("train", 150_000_000),
        _librisqa("test", 2_600_000),
    ]
)
TAU2022_PARTS: dict[str, Archive] = dict(
    [
        _tau("doc", "9c4f610bdb5d3e3e72a17d393a26452a", 16_819, "README*"),
        _tau("meta", "419b6ff6570f1030730352dc80cd8d15", 1_538_781, "meta.csv"),
        _tau("audio.1", "8be14bdbd844481dce059ab31fbd2239", 1_736_050_960),
        _tau("audio.2", "e821abda49b069248bb75eab39df7575", 1_791_821_989),
        _tau("audio.3", "9c7897f78bb42ca0008936daddf3f8f3", 1_878_561_499),
        _tau("audio.4", "53ec3e37c0fc0be75f53c5abbc5300b8", 1_887_825_128),
        _tau("audio.5", "528422c33c5d10263203d2c61cb1f3be", 1_832_871_840),
        _tau("audio.6", "4759a9465c903e13e57d5e82e791fc28", 1_836_165_296),
        _tau("audio.7", "6d545fc83a55a17856a9ccc1ac9aff6b", 1_737_838_582),
        _tau("audio.8", "3a2916a9b5d3f43cc7a22a62b180b0d9", 1_758_317_867),
        _tau("audio.9", "071f664c86639ad730f7be4e3c39d886", 1_790_044_829),
        _tau("audio.10", "e0839d019e9b77ecbcbb0eff85965530", 1_736_836_871),
        _tau("audio.11", "fc60f1c83726be3963ae14fbcb95eeb4", 1_754_618_148),
        _tau("audio.12", "02246547f86c0a814dc63ec65d7033bb", 1_748_795_940),
        _tau("audio.13", "88ae9ef884665140d1572d8061725e00", 1_844_234_922),
        _tau("audio.14", "c3f400d74ae90e5190dc518cde43de47", 1_854_884_822),
        _tau("audio.15", "85594c6fe4f91c10aa2a410f748103b8", 1_877_789_093),
        _tau("audio.16", "6e2df8438c69f6789414aeba8cbad9d8", 435_379_083),
        _dcase("split5.csv", 6_980),
        _dcase("split10.csv", 13_960),
        _dcase("split25.csv", 34_900),
        _dcase("split50.csv", 69_800),
        _dcase("split100.csv", 139_620),
        _dcase("test.csv", 29_680),
    ]
)
TABLES = {"librispeech": LIBRISPEECH_PARTS, "tau2022": TAU2022_PARTS}
GROUPS = {
    "audio": [f"audio.{number}" for number in range(1, 17)],
    "subsets": [name for name in TAU2022_PARTS if name.endswith(".csv")],
}


def plan(corpus: Any) -> list[Planned]:
    """Return the parts that `corpus.download` names, any corpus' section given; nothing is fetched
    or written.

    Raises CorpusError where what lies in the corpus' root is not what its name says.
    """
    root = Path(getattr(corpus, "root", ""))
    return [
        Planned(
            part,
            archive.bytes,
            _in_place(archive, root) or (root / ARCHIVES / archive.name).is_file(),
        )
        for part, archive in _chosen(corpus).items()
    ]


def provide(corpus: LibriSpeech | TAU2022) -> None:
    """Bring the parts that `corpus.download` names to the corpus' root: archives unpacked, plain
    files as they are.

    What lies there already is checked as far as can be and used. Raises CorpusError naming what is
    incomplete or wrongly described, and what `fetch` and `unpack` raise.
    """
    root = Path(corpus.root)
    chosen = _chosen(corpus)
    wanted = {part: archive for part, archive in chosen.items() if not _in_place(archive, root)}
    packed = [archive for archive in wanted.values() if not archive.plain]
    for archive in packed:
        _marker(root, archive).unlink(missing_ok=True)  # of a folder that was taken away
    for folder, group in {
        root: [archive for archive in wanted.values() if archive.plain],
        root / ARCHIVES: packed,
    }.items():
        if group:
            fetch(
                [_remote(one, corpus) for one in group],
                folder,
                corpus.download.parallel,
                _need(group, corpus),
            )
    for archive in chosen.values():
        kept = (
            not archive.plain and (root / ARCHIVES / archive.name).is_file()
        )  # before, and maybe no longer
        if archive in packed or kept:
            unpack(
                root / ARCHIVES / archive.name, root, strip=1, keep=corpus.download.keep_archives
            )
    for part, archive in wanted.items():
        if not _in_place(archive, root):
            raise CorpusError(
                f"{archive.name}: brought no {archive.holds!r} to {root} (download part {part!r})"
            )


def _chosen(corpus: Any) -> dict[str, Archive]:
    """Return what is known of each part that the corpus' section names."""
    download = getattr(corpus, "download", None)
    if download is None:
        return {}
    table = _table(TABLES[corpus.name], download.table)
    return {one: table[one] for part in download.parts for one in GROUPS.get(part, [part])}


def _table(built_in: Mapping[str, Archive], path: str | None) -> dict[str, Archive]:
    """Return the table with the entries of a YAML file in place of its own; CorpusError naming file
    and entry.
    """
    table = dict(built_in)
    if path is None:
        return table
    try:
        # As text: a checksum of digits, or like 12e34…, is no number.
        entries = yaml_file.read(path, as_text=True)
    except YamlError as error:
        raise CorpusError(str(error)) from None
    except OSError as error:
        raise CorpusError(f"{path}: {error}") from None
    if not isinstance(entries, dict):
        raise CorpusError(f"{path}: expected {{part: {{md5, bytes}}}}")
    for part, entry in entries.items():
        if part not in table:
            raise CorpusError(f"{path}: {part!r} is not one of {', '.join(table)}")
        if not isinstance(entry, dict) or set(entry) - {"md5", "bytes"}:
            raise CorpusError(f"{path}: {part}: may have md5 and bytes, nothing else")
        given = {key: value for key, value in entry.items() if value not in NULLS}
        md5, size = given.get("md5"), given.get("bytes")
        if md5 is not None and not (isinstance(md5, str) and re.fullmatch("[0-9a-f]{32}", md5)):
            raise CorpusError(f"{path}: {part}: md5={md5!r} is not 32 hexadecimal digits")
        if size is not None and not (isinstance(size, str) and re.fullmatch("[0-9]+", size)):
            raise CorpusError(f"{path}: {part}: bytes={size!r} is no number of bytes")
        table[part] = replace(table[part], md5=md5, bytes=size and int(size), count=None)
    return table


def _remote(archive: Archive, corpus: LibriSpeech | TAU2022) -> Remote:
    mirrors = tuple(f"{base.rstrip('/')}/{archive.name}" for base in corpus.download.mirrors)
    return Remote(archive.name, mirrors or archive.urls, archive.bytes, archive.md5)


def _need(group: list[Archive], corpus: LibriSpeech | TAU2022) -> int:
    """Return the bytes wanted beside those known to come: files of about known size, and what
    unpacking adds at its worst.

    An archive grows by GROWTH; unless archives are kept, each goes before the next one's turn.
    """
    unknown = sum(archive.about for archive in group if archive.bytes is None)
    sizes = [archive.size for archive in group if not archive.plain]
    unpacked = [int(GROWTH * size) for size in sizes]
    if corpus.download.keep_archives:
        return unknown + sum(unpacked)
    return unknown + max(unpacked, default=0) + sum(unpacked) - sum(sizes)


def _marker(root: Path, archive: Archive) -> Path:
    return root / ".unpacked" / f"{archive.name}.json"


def _in_place(archive: Archive, root: Path) -> bool:
    """Whether what an archive holds lies in `root`, unpacked here or put there by the user;
    CorpusError if not whole.
    """
    if archive.plain:
        places = (root / archive.name, root / "evaluation_setup" / archive.name)
        return any(_check_rows(place, archive) for place in places if place.is_file())
    if not any(root.glob(archive.holds)):
        return False
    if _marker(root, archive).is_file():
        return True
    if (root / ARCHIVES / archive.name).is_file():
        return False  # unpacking was interrupted
    return (
        _lists_all(root)
        if archive.holds == "audio"
        else _check_utterances(root / archive.holds, archive)
    )


def _check_rows(path: Path, archive: Archive) -> bool:
    if archive.count is not None:
        rows = sum(bool(line.strip()) for line in path.read_bytes().splitlines()) - 1
        if rows != archive.count:
            raise CorpusError(
                f"{path}: {rows} rows, not {archive.count}; remove it to have it fetched"
            )
    return True


def _lists_all(root: Path) -> bool:
    """Whether each clip of TAU's meta.csv is in its folder: which archive a clip came from cannot
    be told.
    """
    try:
        names = pd.read_csv(root / "meta.csv", sep="\t", usecols=["filename"])["filename"]
    except (OSError, ValueError):
        return False
    return set(names) <= {f"audio/{file.name}" for file in (root / "audio").iterdir()}


def _check_utterances(folder: Path, archive: Archive) -> bool:
    """Return True for what is no folder of LibriSpeech; CorpusError where one lacks utterances."""
    found = {file.stem for file in folder.glob("*/*/*.flac")}
    listed: set[str] = set()
    for path in folder.glob(f"*/*/*{transcripts.SUFFIX}"):
        listed |= set(transcripts.read(path))
    remedy = "remove the folder to have it fetched, or take"
    remedy += f" {folder.name!r} out of download.parts to use it as it is"
    if absent := sorted(listed - found):
        count = f"{len(absent)} of {len(listed)} such"
        raise CorpusError(f"{folder}: {absent[0]}.flac is missing ({count}); {remedy}")
    if folder.is_dir() and archive.count not in (None, len(found)):
        raise CorpusError(f"{folder}: {len(found)} utterances, not {archive.count}; {remedy}")
    return True
