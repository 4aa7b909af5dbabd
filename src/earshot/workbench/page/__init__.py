"""A page that a class can open: a run's students in the browser, with clips of their test sets.

One file that holds all, to open by a double click; and the same as a folder for a static server,
whose files have their hash in their names, so that they may be cached for good. Nothing in either
asks any server for more: the security policy forbids every connection.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import matplotlib
import numpy as np

from earshot.evaluation.figures import colours
from earshot.runtime import yaml_file
from earshot.runtime.files import atomic
from earshot.workbench.page import contents, npm
from earshot.workbench.page.contents import Student
from earshot.workbench.page.scripts import bundle

LIMIT = 12.0  # MB of a page
MOST = {"choice": 40, "classes": 10, "transcript": 6}  # clips of a student, by its task
FILE, FOLDER = "earshot.html", "site"  # the two forms, below the folder asked for
RUNTIME = npm.Package(
    "onnxruntime-web",
    "1.30.0",
    33106585,
    "7677e2cac4b2d0a14154aef901cdab13",
    "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
)
YAML = npm.Package(
    "js-yaml",
    "5.5.0",
    387491,
    "b7542f039b9515abf3e72b013537f132",
    "23cb2e121ad69acd15fc786b7a9265a81eeeaa9f684ee73e717d6ecdbd8b0c90",
)
# iOS up to 17 refuses to reserve 4 GB for WebAssembly (onnxruntime issue 22086): pages of 64 kB.
MEMORY, LESS = b"maximum:65536", b"maximum:16384"
POLICY = (
    "default-src 'none'; connect-src 'none'; script-src {script} 'wasm-unsafe-eval' blob: data:; "
    "style-src {style}; worker-src blob:; media-src blob:; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)
_HERE = Path(__file__).parent


class Built(NamedTuple):
    """A page that was written: its form for a double click, the folder for a server, how many clips
    it holds by track, and what did not fit.
    """

    file: Path
    folder: Path
    clips: dict[str, int]
    left_out: list[str]


def write(
    out: Path, root: Path, tracks: Sequence[str] | None = None, limit: float = LIMIT
) -> Built:
    """Write the page of a run at `root` in both forms below the folder `out`.

    The students of `tracks`, of all where None; those that do not fit into `limit` MB are left out,
    and then clips. ValueError where there is no student, or none fits.
    """
    assets, licences = _libraries()
    fixed = sum(map(len, assets.values())) + 200_000  # scripts, style, texts
    room = _Room(limit * 1e6 - fixed)
    shipped, left_out = [], []
    for student in contents.students(root, tracks):
        packed = _packed(student.path.read_bytes())
        if room.takes(packed):
            assets[_model(student)] = packed
            shipped.append(student)
        else:
            left_out.append(f"{student.path}: {len(packed) / 1e6:.1f} MB packed")
    if not shipped:
        raise ValueError(f"no student fits into {limit:g} MB: {'; '.join(left_out)}")
    about, counts = [], {}
    for clip, packed in _clips(root, shipped, room):
        name = f"{clip['track']}-clip-{counts.setdefault(clip['track'], 0)}"
        counts[clip["track"]] += 1
        assets[name] = packed
        about.append(clip | {"asset": name, "name": f"{name}.{contents.FORMAT}"})
    page = _about(shipped, about)
    folder = out / FOLDER
    _write(out / FILE, _render(page, assets, {}, licences))
    files = {name: _beside(folder, name, text) for name, text in assets.items()}
    _write(folder / "index.html", _render(page, {}, files, licences))
    for old in set(folder.glob("assets/*.js")) - {folder / one for one in files.values()}:
        old.unlink()
    return Built(out / FILE, folder, counts, left_out)


def _libraries() -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the packed files of libraries, and their licences by name."""
    npm.provide(RUNTIME, YAML)
    glue, wasm = npm.read(
        RUNTIME, "dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"
    )
    if glue.count(MEMORY) != 1:
        raise ValueError(f"{RUNTIME.archive}: {MEMORY.decode()} stands {glue.count(MEMORY)} times")
    yaml, licence = npm.read(YAML, "dist/browser/js-yaml.esm.min.mjs", "LICENSE")
    runtime = (_HERE / "onnxruntime-licence.txt").read_text(encoding="utf-8")
    licences = [
        (f"{RUNTIME.name} {RUNTIME.version}", runtime),
        (f"{YAML.name} {YAML.version}", licence.decode()),
    ]
    files = {"ort.mjs": glue.replace(MEMORY, LESS), "ort.wasm": wasm, "yaml.mjs": yaml}
    return {name: _packed(content) for name, content in files.items()}, licences


class _Room:
    """How many characters a page may still take."""

    def __init__(self, left: float):
        self.left = left

    def takes(self, text: str) -> bool:
        """Return whether a text fits; it is then counted."""
        fits = len(text) <= self.left
        self.left -= len(text) * fits
        return fits


def _clips(root: Path, shipped: Sequence[Student], room: _Room):
    """Yield what the page says of each clip, and its packed sound, the first of each student,
    then the second, until all are there or there is no more room.
    """
    waiting = {one.track: (contents.clips(root, one), MOST[one.task]) for one in shipped}
    count = 0
    while waiting:
        for track, (clips, most) in list(waiting.items()):
            clip = next(clips, None) if count < most else None
            packed = clip and _packed(clip.sound)
            if packed and room.takes(packed):
                yield clip.about, packed
            else:
                del waiting[track]
        count += 1


def _about(shipped: Sequence[Student], clips: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the scripts of the page read."""
    students = [
        {
            "name": one.track,
            "recipe": one.recipe,
            "task": one.task,
            "asset": _model(one),
            "bytes": one.path.stat().st_size,
            "score": one.score,
        }
        for one in shipped
    ]
    magma = matplotlib.colormaps["magma"](np.linspace(0, 1, 64))[:, :3]
    return {
        "tasks": sorted({one.task for one in shipped}),
        "students": students,
        "clips": clips,
        "texts": yaml_file.read(_HERE / "texts.yaml"),
        "colours": (255 * magma).round().astype(int).tolist(),
    }


def _render(
    page: dict[str, Any],
    assets: dict[str, str],
    files: dict[str, str],
    licences: list[tuple[str, str]],
) -> str:
    """Return the page as HTML, with `assets` inside it, or `files` beside it."""
    style = colours() + (_HERE / "style.css").read_text(encoding="utf-8")
    script = bundle(_HERE / "js", "app")
    hosted = " 'self'" if files else ""
    policy = POLICY.format(script=_hash(script) + hosted, style=_hash(style))
    data = json.dumps(page | {"files": files}, ensure_ascii=False).replace("<", "\\u003c")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(
        policy=policy,
        style=style,
        data=data,
        worker=bundle(_HERE / "js", "worker"),
        assets=assets.items(),
        script=script,
        licences=licences,
    )


def _hash(text: str) -> str:
    """Return the source of a script or style as a security policy names it."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _model(student: Student) -> str:
    return f"{student.track}.onnx"


def _packed(content: bytes) -> str:
    """Return bytes as gzip in base64, the same for the same bytes."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")


def _beside(folder: Path, name: str, text: str) -> str:
    """Write an asset as a module beside the page; return its address there."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    address = f"assets/{name}-{digest}.js"
    _write(folder / address, f'export default "{text}";\n')
    return address


def _write(path: Path, text: str) -> None:
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")
