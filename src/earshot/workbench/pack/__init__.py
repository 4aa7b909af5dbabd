"""What a person hands on: a student as a folder that stands alone, with a card that says what it
is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from earshot import params, predict
from earshot.runtime import yaml_file
from earshot.runtime.files import atomic_folder, sha256
from earshot.tables import items
from earshot.tables.devices import beside
from earshot.workbench import results
from earshot.workbench.pack import card, licences
from earshot.workbench.pack.card import Facts
from earshot.workbench.page.scripts import module
from earshot.workbench.report import provenance

SUMS = "SHA256SUMS"
_HERE = Path(__file__).parent
_LIBRARY = Path(params.__file__).parents[1]
# The code that uses a student: ONNX Runtime, NumPy and soundfile are all it needs.
_CODE = (
    "__init__.py",
    "features/__init__.py",
    "features/audio/*.py",
    "predict/*.py",
    "text/__init__.py",
    "text/alphabet.py",
    "text/encoding.py",
)
_SCRIPTS = {"student": ("load", "Refused"), "sound": ("resample",)}
_PAGE = _LIBRARY / "workbench/page/js"


def write(
    out: Path, root: Path, track: str, recipe: str | None = None, licence: str | None = None
) -> Path:
    """Write the folder `out` with a track's student of `recipe`, or the one that ships.

    Both ONNX files, those of single devices, the card `README.md`, examples in Python and
    JavaScript with what they need, checksums. ValueError names a track or recipe without
    files, a licence that is missing or that the corpora forbid, and a folder that is there already.
    """
    if out.exists():
        raise ValueError(f"{out}: already there; name a folder that is not, or remove it")
    facts, files = _facts(root, track, recipe, licence)
    python = (_HERE / f"use/{facts.task}.py.txt").read_text(encoding="utf-8")
    javascript = (_HERE / f"use/{facts.task}.mjs").read_text(encoding="utf-8")
    texts = {
        "README.md": card.render(facts, python, javascript),
        "use.py": python,
        "resampling.py": (_HERE / "use/resampling.py").read_text(encoding="utf-8"),
        "use.mjs": javascript,
        "student.mjs": module(_PAGE, _SCRIPTS),
    }
    for pattern in _CODE:
        for path in sorted(_LIBRARY.glob(pattern)):
            texts[f"earshot/{path.relative_to(_LIBRARY)}"] = path.read_text(encoding="utf-8")
    with atomic_folder(out) as partial:
        for name, text in texts.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_text(text, encoding="utf-8")
        for name, path in files.items():
            (partial / name).write_bytes(path.read_bytes())
        (partial / SUMS).write_text(_sums(partial, [*texts, *files]))
    return out


def check(folder: Path) -> None:
    """Raise ValueError unless a packed folder is as it was written."""
    sums = folder / SUMS
    if not sums.is_file():
        raise ValueError(f"{folder}: no packed student, it has no {SUMS}")
    for line in sums.read_text().splitlines():
        digest, name = line.split("  ", 1)
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise ValueError(f"{folder / name}: not as it was packed")


def _sums(folder: Path, names: Sequence[str]) -> str:
    """Return checksums as `sha256sum --check` reads them."""
    return "".join(f"{sha256(folder / name)}  {name}\n" for name in sorted(names))


def _facts(
    root: Path, name: str, recipe: str | None, licence: str | None
) -> tuple[Facts, dict[str, Path]]:
    """Return what the card is made from, and the ONNX files by their names in the folder."""
    content = yaml_file.read(root / "params.yaml")
    parsed = params.parse(content)
    if name not in parsed.tracks:
        raise ValueError(f"{name}: params.yaml has the tracks {', '.join(parsed.tracks)}")
    track = results.read_track(root, name)
    recipe = recipe or results.recipe(track)
    if recipe not in parsed.recipes_of(name):
        known = ", ".join(parsed.recipes_of(name))
        raise ValueError(f"--recipe {recipe}: the track {name} has {known}")
    folder = root / "models" / name / "onnx" / f"{name}-{recipe}"
    files = {form: folder / form for form in ("student.onnx", "student.int8.onnx")}
    for path in files.values():
        if not path.is_file():
            raise ValueError(f"{path}: no such file; run `make repro` to train it")
    devices = [beside(path) for path in files.values()]
    of_devices = {path.name: path for known in devices for path in known.values()}
    model = predict.load(files["student.int8.onnx"])
    sources = list(dict.fromkeys(one.name for one in params.each(parsed.tracks[name].corpus)))
    known = [licences.CORPORA[one] for one in sources]
    facts = Facts(
        track=track,
        recipe=recipe,
        task=model.task,
        licence=licences.check(licence, sources),
        languages=_languages(root, name, model, known),
        datasets=tuple(sources),
        corpora={one.title: one.terms for one in known},
        teachers=licences.teachers(parsed, name, recipe),
        params=_concerning(content, name, recipe),
        commit=provenance.commit(root, root / "params.yaml"),
        bytes=tuple(path.stat().st_size for path in files.values()),
        devices=tuple(devices[0]),
    )
    return facts, files | of_devices


def _languages(
    root: Path, track: str, model: predict.Model, known: Sequence[licences.Source]
) -> tuple[str, ...]:
    """Return the languages that a student knows: as its file says, else its items, else its
    corpora.
    """
    classified = getattr(model, "languages", ())
    table = root / "data" / track / "items.parquet"
    labelled = {item.language for item in items.read(table)} - {None} if table.is_file() else set()
    return (
        classified
        or tuple(sorted(labelled))
        or tuple(one for each in known for one in each.languages)
    )


def _concerning(content: dict[str, Any], track: str, recipe: str) -> dict[str, Any]:
    """Return the parts of params.yaml that a student depends on."""
    rows = {"recipes": {f"{track}-{recipe}": content["recipes"][f"{track}-{recipe}"]}}
    named = rows["recipes"][f"{track}-{recipe}"].get("teachers") or []
    taught = {name: one for name, one in content["teachers"].items() if name in named}
    return {"tracks": {track: content["tracks"][track]}, "teachers": taught, **rows}
