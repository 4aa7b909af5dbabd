"""A release of Mozilla Common Voice: `clips/*.mp3` and the tables `validated.tsv`, `train.tsv`,
`dev.tsv`, `test.tsv`.

Ardila et al., "Common Voice: a massively-multilingual speech corpus" (2020). Releases are behind a
login; what is read is the folder or the tarball (`cv-corpus-VERSION/LANGUAGE/…`) that the user
obtained.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from earshot.corpora import delimited
from earshot.corpora.librispeech import deal
from earshot.corpora.unpack import unpack
from earshot.features import audio
from earshot.params import CommonVoice
from earshot.tables.manifest import Clip, CorpusError
from earshot.text.sentences import compared

COLUMNS = ("client_id", "path", "sentence")
# A clip that several tables list belongs to the first of these; the held-out splits also keep their
# speakers and sentences to themselves.
PRIORITY = ("test", "validation", "fewshot", "teacher", "auto", "pool")
HELD_OUT = ("test", "validation")
MISSING = 0.02  # of the clips may have no file, as where a release was unpacked in parts
_log = logging.getLogger(__name__)


def build(params: CommonVoice, folder: Path, seed: int) -> Iterator[Clip]:
    """Yield the clips of the tables that `params.splits` names, test first, sorted by id within a
    split.

    A clip is its own passage. Clips of other splits by a speaker of the test or of validation, or
    with a sentence of theirs, are left out; how many is logged. Speakers of tables under `auto` are
    dealt to splits, by `seed`, in the shares of `params.auto`. Rows without a sentence, and clips
    without a file, are left out and logged. Nothing is written to `folder`; a tarball is unpacked
    beside itself. Raises CorpusError naming the table, column or row that is missing, or a clip
    where more than MISSING of them are.
    """
    release = _release(Path(params.root), params.language)
    tables = [
        _read(release / f"{name}.tsv", params.language).assign(split=split, table=f"{name}.tsv")
        for name, split in params.splits.items()
    ]
    listed = pd.concat(tables)
    _agree(listed, release)
    if params.speakers == "clip":
        listed = listed.assign(client_id=listed["path"])
    clips = listed.sort_values("split", key=lambda split: split.map(PRIORITY.index), kind="stable")
    clips = _dealt(clips.drop_duplicates("path"), params.auto, seed)
    clips = _apart(clips, release)
    clips = _with_files(clips, release)
    for row in clips.sort_values(["order", "path"]).itertuples():
        path = release / "clips" / row.path
        yield Clip(
            path.stem,
            str(path),
            *audio.header(path),
            speaker=row.client_id,
            split=row.split,
            text=row.sentence,
            passage=path.stem,
            language=params.language,
        )


def files(params: CommonVoice) -> list[Path]:
    """Return the tarball, if it is one, and the tables of the splits."""
    root = Path(params.root)
    archive = [root] if root.is_file() else []
    folder = root.with_name(root.name.removesuffix(".tar.gz")) if archive else root
    places = _places(folder, params.language)
    return archive + [place / f"{name}.tsv" for place in places for name in params.splits]


def _places(root: Path, language: str) -> list[Path]:
    return [root, root / language, *sorted(root.glob(f"cv-corpus-*/{language}"))]


def _release(root: Path, language: str) -> Path:
    """Return the folder in which the language's `clips` lie, the tarball unpacked."""
    if root.name.endswith(".tar.gz") and root.is_file():
        folder = root.with_name(root.name.removesuffix(".tar.gz"))
        unpack(root, folder)
        root = folder
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder or .tar.gz (common_voice root)")
    for place in _places(root, language):
        if (place / "clips").is_dir():
            return place
    raise CorpusError(
        f"{root}: no folder clips in it, in {language} or in cv-corpus-*/{language} (common_voice)"
    )


def _read(path: Path, language: str) -> pd.DataFrame:
    """Return a table's COLUMNS; quotation marks are part of the sentences."""
    table = delimited.read(path, COLUMNS, ("locale",), maybe_blank=("sentence",))
    empty = table["sentence"] == ""
    if empty.any():
        first = f"line {table.index[empty][0]}"
        _log.warning("%s: left out, no sentence: %d row(s), %s first", path, empty.sum(), first)
        table = table[~empty]
    for other in set(table.get("locale", ())) - {language}:
        raise CorpusError(f"{path}: locale {other!r} is not language={language!r}")
    paths = table["path"]  # the first releases leave .mp3 out
    paths = paths.where(paths.str.contains(r"\.\w+$"), paths + ".mp3")
    return delimited.once(path, table[list(COLUMNS)].assign(path=paths), "path")


def _agree(clips: pd.DataFrame, release: Path) -> None:
    """Raise CorpusError naming two rows, of two tables, that say different things of one clip."""
    distinct = clips.drop_duplicates(list(COLUMNS))
    differing = distinct[distinct["path"].duplicated(keep=False)]
    for path, rows in differing.groupby("path"):
        one, other = (f"{row.table}: line {row.Index}" for row in rows.head(2).itertuples())
        differs = f"{path!r} has another speaker or sentence than in {one}"
        raise CorpusError(f"{release / other}: {differs}; keep one of the two")


def _dealt(clips: pd.DataFrame, shares: dict[str, float], seed: int) -> pd.DataFrame:
    """Return the clips with those of split `auto` dealt to splits, speaker by speaker."""
    auto = clips["split"] == "auto"
    dealt = deal(set(clips["client_id"][auto]), shares, seed)
    return clips.assign(split=clips["split"].mask(auto, clips["client_id"].map(dealt)))


def _apart(clips: pd.DataFrame, release: Path) -> pd.DataFrame:
    """Return the clips without those that would carry a held-out split's speaker or sentence into
    another one.
    """
    order = clips["split"].map(PRIORITY.index)
    sentences = clips["sentence"].map(compared)
    clips = clips.assign(order=order, normal=sentences).reset_index(drop=True)
    kept = pd.Series(True, clips.index)
    for place, name in enumerate(HELD_OUT):
        held_out = clips[kept & (clips["split"] == name)]
        same_speaker = clips["client_id"].isin(held_out["client_id"])
        same_sentence = clips["normal"].isin(held_out["normal"].dropna())
        kept &= ~((same_speaker | same_sentence) & (clips["order"] > place))
    if not kept.all():
        lost = clips[~kept]["split"].value_counts()
        counts = ", ".join(f"{count} of {split}" for split, count in lost.items())
        _log.warning(
            "%s: left out for a speaker or sentence of test or validation: %s", release, counts
        )
    return clips[kept]


def _with_files(clips: pd.DataFrame, release: Path) -> pd.DataFrame:
    """Return the clips that have a file; CorpusError names one where too many have none."""
    present = {entry.name for entry in os.scandir(release / "clips")}
    there = clips["path"].isin(present)
    absent = clips["path"][~there].tolist()
    if absent:
        first = release / "clips" / absent[0]
        count = f"{len(absent)} of {len(clips)} clips are missing"
        if len(absent) > MISSING * len(clips):
            raise CorpusError(f"{first}: no such file ({count})")
        _log.warning("%s: no such file; left out: %s", first, count)
    return clips[there]
