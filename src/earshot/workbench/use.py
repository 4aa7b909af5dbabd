"""What a folder of recordings is, what is wrong with it, and which lines of params.yaml use it."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from earshot.corpora import CORPORA, deal, recordings
from earshot.corpora import transcripts as chapters
from earshot.corpora.shapes import (
    SHAPES,
    audiofolder,
    folders,
    kaldi,
    lhotse,
    ljspeech,
    nemo,
    table,
)
from earshot.corpora.shapes.row import json_lines, named_split
from earshot.corpora.tau2022 import COLUMNS as TAU
from earshot.corpora.tau2022 import SUBSETS
from earshot.params import OwnRecordings, Params, parse
from earshot.runtime.files import read_text
from earshot.tables.manifest import Clip, CorpusError
from earshot.text import alphabet

Section = dict[str, Any]
ONE_READER = (
    "each clip counts as a speaker's own (speakers: clip): what is measured says nothing of "
    "voices that were never heard"
)
NEEDED = {  # roles that a task cannot do without
    "classes": {"pool", "validation", "test"},
    "transcript": {"fewshot", "validation", "test"},
    "choice": {"teacher", "pool", "fewshot", "validation", "test"},
}
TASKS = {"label": ("classes",), "text": ("transcript", "choice")}  # that learn it, the usual first


class Look(NamedTuple):
    """What was found: in words, the parameters by dotted key, recordings by role, and what to know
    of them.
    """

    what: str
    changes: dict[str, Any]
    counts: dict[str, int]
    notes: list[str]


class _Found(NamedTuple):
    what: str
    corpus: Section
    target: str  # label or text


def look(root: Path, content: Mapping[str, Any], track: str | None = None) -> Look:
    """Return what lies at `root`, and how a track of `content`, of params.yaml, would use it.

    The track is the first whose task fits, where none is named. CorpusError names what is wrong,
    ValueError a track that does not fit.
    """
    params = parse(dict(content))
    found = _found(root, track, params)
    name = track or _fitting(params, found.target)
    if params.tracks[name].task not in TASKS[found.target]:
        task, learned = params.tracks[name].task, found.target
        raise ValueError(f"--track {name}: its task is {task!r}, and {root} has a {learned} a clip")
    corpus, clips, notes = _tried(found, params, params.tracks[name].task)
    changes = {f"tracks.{name}.corpus": corpus} | _more(name, params, corpus, clips)
    parse(_with(content, changes))
    lacking = _lacking(params.tracks[name].task, clips)
    if lacking:
        raise CorpusError(
            f"{root}: {found.what}, with nothing for {', '.join(lacking)}: too few recordings or "
            f"speakers are labelled for a track of task {params.tracks[name].task}"
        )
    counts = Counter(clip.split for clip in clips)
    return Look(found.what, changes, dict(counts), [*notes, *_notes(clips), *_unread(root, corpus)])


def _found(root: Path, track: str | None, params: Params) -> _Found:
    """Return which shape the files at a place have; CorpusError where it is none that is known."""
    if not root.exists():
        raise CorpusError(f"{root}: no such file or folder")
    for known in (_tau, _common_voice, _librispeech, _shaped):
        found = known(root, params.tracks[track].task if track else None)
        if found:
            return found
    raise CorpusError(
        f"{root}: nothing that is known: no table with a path and a label or text, nothing in the "
        f"shape of {', '.join(SHAPES)}, LibriSpeech, Common Voice or TAU"
    )


def _tau(root: Path, task: str | None) -> _Found | None:
    if not _has_columns(root / "meta.csv", TAU):
        return None
    return _Found("TAU Urban Acoustic Scenes", {"name": "tau2022", "root": str(root)}, "label")


def _common_voice(root: Path, task: str | None) -> _Found | None:
    releases = [folder for folder in (root, *_folders(root)) if (folder / "clips").is_dir()]
    releases = [folder for folder in releases if (folder / "validated.tsv").is_file()]
    if not releases:
        return None
    corpora = {
        folder.name: {"name": "common_voice", "root": str(folder), "language": folder.name}
        for folder in releases
    }
    languages = ", ".join(corpora)
    one = next(iter(corpora.values()))
    corpus = one if len(corpora) == 1 else {"name": "languages", "corpora": corpora}
    return _Found(f"Common Voice ({languages})", corpus, "text")


def _librispeech(root: Path, task: str | None) -> _Found | None:
    subsets = {folder.name: folder for folder in _folders(root) if any(folder.glob("*/*/*.flac"))}
    if not subsets:
        return None
    written = {
        name for name, folder in subsets.items() if any(folder.glob(f"*/*/*{chapters.SUFFIX}"))
    }
    if not written:
        return None
    splits, auto = _librispeech_splits(list(subsets), written, task)
    corpus = {"name": "librispeech", "root": str(root), "splits": splits} | auto
    return _Found(f"LibriSpeech's layout ({', '.join(subsets)})", corpus, "text")


def _librispeech_splits(
    subsets: Sequence[str], written: set[str], task: str | None
) -> tuple[dict[str, str], Section]:
    """Return the role of each subset, and the shares of those that are dealt; what is not written
    down is the pool.
    """
    named = {name: named_split(name) or "train" for name in subsets if name in written}
    splits = {name: "pool" for name in subsets if name not in written}
    there = set(named.values())
    training = (
        {"teacher": 0.4, "pool": 0.4, "fewshot": 0.1}
        if task == "choice"
        else {"pool": 0.7, "fewshot": 0.2}
    )
    if "train" in there and {"validation", "test"} <= there:
        return splits | {
            name: "auto" if role == "train" else role for name, role in named.items()
        }, {"auto": training}
    if "train" in there and len(there) == 2:  # one held-out set is the test
        dealt = training | {"validation": 0.1}
        return splits | {
            name: "auto" if role == "train" else "test" for name, role in named.items()
        }, {"auto": dealt}
    if there == {"validation", "test"}:
        given = {
            name: "fewshot" if role == "validation" else "auto" for name, role in named.items()
        }
        return splits | given, {"auto": {"validation": 0.25, "test": 0.75}}
    dealt = training | {"validation": 0.1, "test": 0.2}
    return splits | dict.fromkeys(named, "auto"), {"auto": dealt}


def _shaped(root: Path, task: str | None) -> _Found | None:
    shape = next((name for name, test in _SHAPES.items() if test(root)), None)
    if shape is None:
        return None
    corpus = {"name": "recordings", "root": str(root), "shape": shape}
    rows = list(SHAPES[shape].read(root))
    labels, written = {row.label for row in rows if row.label}, any(row.text for row in rows)
    if len(labels) == 1 and not written:
        raise CorpusError(f"{root}: {_WHAT[shape]}, all of one class, {labels.pop()!r}")
    labelled = len(labels) > 1
    target = "label" if labelled else "text"
    if labelled and written:
        target = "label" if task in (None, *TASKS["label"]) else "text"
        corpus["target"] = target
    return _Found(_WHAT[shape], corpus, target)


def _has_columns(path: Path, columns: Sequence[str]) -> bool:
    if not path.is_file():
        return False
    header = next(csv.reader(_head(path), delimiter="\t"), [])
    return set(columns) <= set(header)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*/") if path.is_dir())


def _is_nemo(root: Path) -> bool:
    return any(_first(path).keys() & {"audio_filepath"} for path in _files(root, nemo))


def _is_lhotse(root: Path) -> bool:
    return "cuts" in root.name if root.is_file() else bool(lhotse.files(root))


def _files(root: Path, shape: Any) -> list[Path]:
    found = shape.files(root)
    return [path for path in found if path.suffix in (".json", ".jsonl")]


def _first(path: Path) -> Mapping[str, Any]:
    """Return the first object of JSON lines, an empty one where there is none."""
    try:
        return next(fields for _, fields in json_lines(path))
    except (CorpusError, StopIteration):
        return {}


def _is_ljspeech(root: Path) -> bool:
    return any(ljspeech.SEPARATOR in line for path in ljspeech.files(root) for line in _head(path))


def _head(path: Path) -> list[str]:
    """Return a table's first line, if it has one."""
    return read_text(path).splitlines()[:1]


def _is_table(root: Path) -> bool:
    return root.suffix.lower() in table.ENDS if root.is_file() else bool(list(_tables(root)))


def _tables(root: Path) -> Iterator[Path]:
    for end in table.ENDS:
        yield from [*root.glob(f"*{end}"), *root.glob(f"*/*{end}")]


_SHAPES = {  # how each is known, the surest first
    "kaldi": lambda root: root.is_dir() and any(kaldi.files(root)),
    "lhotse": _is_lhotse,
    "nemo": _is_nemo,
    "ljspeech": _is_ljspeech,
    "audiofolder": lambda root: root.is_dir() and any(audiofolder.files(root)),
    "table": _is_table,
    "folders": lambda root: root.is_dir() and bool(folders.files(root)),
}
_WHAT = {
    "kaldi": "Kaldi's data folders",
    "lhotse": "Lhotse's cuts",
    "nemo": "NeMo's manifests",
    "ljspeech": "LJ Speech's layout",
    "audiofolder": "Hugging Face's audiofolder",
    "table": "a table of recordings",
    "folders": "a folder a class",
}


def _tried(found: _Found, params: Params, task: str) -> tuple[Section, list[Clip], list[str]]:
    """Return the section of a corpus, its clips, and what was needed to deal their roles."""
    corpus, read = found.corpus, _dealt if found.corpus["name"] == "recordings" else _listed
    if corpus["name"] == "recordings" and task == "choice":
        corpus = corpus | {"teacher": 0.4}
    try:
        clips = read(corpus, params)
        if not _lacking(task, clips):
            return corpus, clips, []
    except CorpusError:
        if corpus == _clip_by_clip(corpus):
            raise
    corpus = _clip_by_clip(corpus)
    return corpus, read(corpus, params), [ONE_READER] if corpus != found.corpus else []


def _lacking(task: str, clips: Sequence[Clip]) -> list[str]:
    """Return the roles that a task needs and nothing has."""
    return sorted(NEEDED[task] - {clip.split for clip in clips})


def _clip_by_clip(corpus: Section) -> Section:
    """Return a corpus' section in which no clip has the speaker of another, where it can say so."""
    if corpus["name"] == "languages":
        parts = corpus["corpora"].items()
        return corpus | {"corpora": {name: _clip_by_clip(part) for name, part in parts}}
    able = corpus["name"] in ("recordings", "common_voice")
    return corpus | {"speakers": "clip"} if able else corpus


def _listed(corpus: Section, params: Params) -> list[Clip]:
    """Return the clips of a corpus with a layout of its own."""
    section = _section(corpus, params)
    with TemporaryDirectory() as unused:
        return list(CORPORA[section.name](section, Path(unused), params.seed))


def _dealt(corpus: Section, params: Params) -> list[Clip]:
    """Return the recordings that have a role; their lengths are not looked at."""
    section = OwnRecordings(**corpus)
    rows = recordings.read(section)
    names = recordings.ids(rows, Path(section.root))
    dealt = deal.roles(rows, names, section, params.seed)
    return [
        Clip(
            id,
            str(row.path),
            0.0,
            0,
            row.speaker or id,
            role,
            row.text,
            id,
            label=row.label,
            language=row.language,
        )
        for row, id, role in zip(rows, names, dealt, strict=True)
        if role
    ]


def _section(corpus: Section, params: Params) -> Any:
    """Return a corpus' section as parameters, as a track has it."""
    name = next(iter(params.tracks))
    content = _with(params.model_dump(), {f"tracks.{name}.corpus": corpus})
    return parse(content).tracks[name].corpus


def _fitting(params: Params, target: str) -> str:
    for task in TASKS[target]:
        for name, track in params.tracks.items():
            if track.task == task:
                return name
    raise ValueError(f"no track of params.yaml learns a {target}; copy one whose task does")


def _more(name: str, params: Params, corpus: Section, clips: Sequence[Clip]) -> dict[str, Any]:
    """Return what else of a track has to change: the devices whose clips get views, the alphabet of
    transcripts, the labelled share of TAU's lists.
    """
    fewshot = params.tracks[name].fewshot
    wanted = set(params.tracks[name].views.devices or ())
    if wanted - {clip.device for clip in clips}:  # all clips get views then
        return {f"tracks.{name}.views.devices": None}
    if params.tracks[name].task == "transcript":
        texts = [alphabet.normalised(clip.text, None, clip.language) for clip in clips if clip.text]
        used = "".join(sorted(alphabet.letters(texts)))
        known = alphabet.alphabet(fewshot.alphabet) if fewshot.alphabet else None
        if known is None or alphabet.foreign("".join(used), known):
            return {f"tracks.{name}.fewshot.alphabet": used}
    if corpus["name"] == "tau2022":
        lists = [share for share in SUBSETS if any(Path(corpus["root"]).rglob(f"split{share}.csv"))]
        if lists and fewshot.share not in lists:
            return {f"tracks.{name}.fewshot.share": lists[0]}
    return {}


def _notes(clips: Sequence[Clip]) -> list[str]:
    """Return what to know of recordings: classes, speakers, languages."""
    labels = Counter(clip.label for clip in clips if clip.label)
    languages = Counter(clip.language for clip in clips if clip.language)
    notes = []
    if labels:
        (most, many), (least, few) = labels.most_common()[0], labels.most_common()[-1]
        sizes = f"from {few} ({least}) to {many} recordings ({most})"
        notes.append(f"{len(labels)} classes, {sizes if few < many else f'{few} recordings each'}")
    if len(languages) > 1:
        named = ", ".join(f"{count} {name}" for name, count in languages.most_common())
        notes.append(f"several languages: {named}")
    return notes


def _unread(root: Path, corpus: Section) -> list[str]:
    """Return what a folder of classes holds beside its recordings that may be transcripts."""
    texts = sorted(root.rglob("*.txt")) if corpus.get("shape") == "folders" else []
    texts = [path for path in texts if path.name not in folders.LISTS]
    if len(texts) < 2:  # a README, a licence
        return []
    first = texts[0].relative_to(root)
    return [f"{len(texts)} text files are not read ({first}); for transcripts, write a table"]


def _with(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of params.yaml with values changed, by dotted key."""
    changed = dict(content)
    for key, value in changes.items():
        first, _, rest = key.partition(".")
        changed[first] = _with(changed[first], {rest: value}) if rest else value
    return changed
