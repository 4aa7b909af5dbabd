"""The manifest: whatever the corpus, a row per clip in one Parquet table."""

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from earshot.runtime.files import atomic

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("seconds", pa.float64()),
        ("sample_rate", pa.int32()),
        ("speaker", pa.string()),
        ("split", pa.string()),
        ("text", pa.string()),
        ("passage", pa.string()),
        ("wording", pa.string()),
        ("label", pa.string()),
        ("language", pa.string()),
        ("device", pa.string()),
        ("location", pa.string()),
        ("subset", pa.int32()),
    ]
)

DEALT = "dealt.json"  # in a corpus' folder, where it has one


class CorpusError(ValueError):
    """A corpus that cannot be used; the message is one line and names what is wrong."""


@dataclass(frozen=True)
class Clip:
    """A row of the manifest. `seconds` and `sample_rate` (Hz) are 0 where the file's header cannot
    be read.

    `passage` names what consecutive utterances belong to; `wording` is 'seen' or 'unseen' where a
    corpus knows. `subset` is the smallest labelled share (percent) of the training clips that holds
    the clip.
    """

    id: str
    path: str
    seconds: float
    sample_rate: int
    speaker: str
    split: str
    text: str | None
    passage: str
    wording: str | None = None
    label: str | None = None
    language: str | None = None
    device: str | None = None
    location: str | None = None
    subset: int | None = None


def write_manifest(clips: Iterable[Clip], path: str | Path) -> int:
    """Write clips as one atomic Parquet file and return their number; CorpusError when none, or an
    id twice.

    Texts are written in Unicode's composed form, so that equal ids, labels and names are equal;
    paths stay as they are on disk.
    """
    rows: dict[str, dict[str, Any]] = {}
    for clip in clips:
        row = {name: _composed(name, value) for name, value in asdict(clip).items()}
        if row["id"] in rows:
            other = f"{rows[row['id']]['path']} and {clip.path}"
            raise CorpusError(f"duplicate id {row['id']!r}: {other}")
        rows[row["id"]] = row
    if not rows:
        raise CorpusError("the corpus is empty: no clip was found")
    with atomic(path) as partial_file:
        pq.write_table(pa.Table.from_pylist(list(rows.values()), schema=SCHEMA), partial_file)
    return len(rows)


def read_dealt(folder: Path) -> dict[str, dict[str, int]]:
    """Return how many recordings of a corpus have which role, nothing where none was dealt."""
    path = folder / DEALT
    return json.loads(path.read_text()) if path.is_file() else {}


def _composed(name: str, value: Any) -> Any:
    is_text = isinstance(value, str) and name != "path"
    return unicodedata.normalize("NFC", value) if is_text else value


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read a manifest, one row per clip; what is absent is None. CorpusError when the file is no
    manifest.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorpusError(f"{path}: not a readable manifest ({type(error).__name__})") from None
    if not table.schema.equals(SCHEMA):
        raise CorpusError(f"{path}: not a manifest; its columns must be {', '.join(SCHEMA.names)}")
    types = {"seconds": "float64", "sample_rate": "int32"}
    return pd.DataFrame(
        {
            name: pd.Series(table[name].to_pylist(), dtype=types.get(name, object))
            for name in SCHEMA.names
        }
    )
