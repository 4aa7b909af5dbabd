"""Tables of results in Markdown, made from metrics: nothing in them is typed by hand.

A page has marked parts, which `renew` fills: `<!-- results:scenes:begin -->` to
`<!-- results:scenes:end -->` with the complete tables of a track, `short` in place of `begin` for
a few rows. Without a track, `<!-- results: short -->` to `<!-- results: end -->`, all are there.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from earshot.runtime.files import atomic

Scores = dict[str, Any]
LANGUAGES = ("en", "zh")
MARKED = re.compile(
    r"(?P<begin><!-- results:\s*(?:(?P<track>\w+):)?(?P<form>begin|full|short) -->)"
    r"(?:(?!<!-- results:).)*"
    r"(?P<end><!-- results:\s*(?(track)(?P=track):)end -->)",
    re.DOTALL,
)
BEGINS = re.compile(r"<!-- results:\s*(?:\w+:)?(?:begin|full|short) -->")
NOT_ASKED = "–"
FORMS = ("", "_int8", "_ptq")  # of a student


class Results(NamedTuple):
    """A track's results: {model: its scores and costs}, {pair: its gain}, the length of a clip.

    `seconds` is how long the clip is whose latency was measured; `standing` {model: {condition:
    its scores}}, where they were measured.
    """

    models: dict[str, Scores]
    gains: dict[str, Scores]
    seconds: float
    standing: dict[str, dict[str, Scores]] = {}

    @property
    def classes(self) -> bool:
        return "class" in self.models["teacher"]


class Column(NamedTuple):
    """A column: its heading in each language, and what it says of a model."""

    headings: tuple[str, str]
    cell: Callable[[Scores], str]


def _percent(name: str) -> Callable[[Scores], str]:
    def cell(model: Scores) -> str:
        ends = [100 * model[f"{name}{end}"] for end in ("", "_low", "_high")]
        return "{:.1f} ({:.1f}–{:.1f})".format(*ends)

    return cell


def _points(model: Scores, name: str, form: str) -> str:
    ends = [100 * model[f"{name}{end}"] for end in ("", "_low", "_high")]
    return form.format(*ends)


def _number(name: str, form: str, unit: float = 1) -> Callable[[Scores], str]:
    """Return a cell of a figure divided by `unit`; empty where a model has none."""
    return lambda model: form.format(model[name] / unit) if name in model else ""


def _unseen_wordings(model: Scores) -> str:
    wordings = model["wording"]
    return _percent("accuracy")(wordings["unseen"]) if "unseen" in wordings else NOT_ASKED


def _paper(model: Scores) -> str:
    if "paper_protocol" not in model:
        return NOT_ASKED
    return f"{100 * model['paper_protocol']['accuracy']:.0f}"


def _across(seen: bool) -> Callable[[Scores], str]:
    """Return a cell of the mean accuracy of the devices of the training clips, or of the others."""

    def cell(model: Scores) -> str:
        if "device_drop" not in model:
            return NOT_ASKED
        unseen = model["device_group"]["unseen"]["accuracy"]
        return f"{100 * (unseen + model['device_drop'] * seen):.1f}"

    return cell


def _drop(model: Scores) -> str:
    form = "{:z.1f} ({:z.1f} to {:z.1f})"
    return _points(model, "device_drop", form) if "device_drop" in model else NOT_ASKED


def _parameters(model: Scores) -> str:
    count = model.get("parameters", 0)
    if not count:
        return ""
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count / 1e3:.1f} k"


def _bytes(model: Scores) -> str:
    size = model.get("bytes", 0)
    if not size:
        return ""
    return f"{size / 1e6:.2f} MB" if size >= 5e5 else f"{size / 1e3:.0f} kB"


ACCURACY = Column(("accuracy, % (95% interval)", "准确率，%（95% 区间）"), _percent("accuracy"))
MACRO = Column(
    ("macro accuracy, % (95% interval)", "宏平均准确率，%（95% 区间）"), _percent("accuracy")
)
PARAMETERS = Column(("parameters", "参数量"), _parameters)
BYTES = Column(("file", "文件"), _bytes)
MINUTES = Column(("training", "训练"), _number("train_minutes", "{:.1f} min"))
LATENCY = ("{seconds:g}-s clip, 1 thread", "{seconds:g} 秒音频，单线程")
MACS = ("MMACs", "百万次乘加")

CHOICE = [
    ACCURACY,
    Column(("macro F1, %", "宏平均 F1，%"), _number("macro_f1", "{:.1f}", 0.01)),
    Column(("unseen wordings, %", "未见句式，%"), _unseen_wordings),
    PARAMETERS,
    Column(MACS, _number("macs", "{:.0f}", 1e6)),
    BYTES,
    Column(LATENCY, _number("latency_ms", "{:.1f} ms")),
    MINUTES,
    Column(("the paper's protocol, %", "论文协议，%"), _paper),
]
CLASSES = [
    MACRO,
    Column(("log-loss", "对数损失"), _number("nll", "{:.2f}")),
    Column(("seen devices, %", "已见设备，%"), _across(seen=True)),
    Column(("unseen devices, %", "未见设备，%"), _across(seen=False)),
    Column(("device drop, points (95% interval)", "设备落差，百分点（95% 区间）"), _drop),
    PARAMETERS,
    Column(("int8 parameters, kB", "int8 参数，kB"), _number("parameter_bytes", "{:.1f}", 1e3)),
    Column(MACS, _number("macs", "{:.1f}", 1e6)),
    Column(LATENCY, _number("latency_ms", "{:.2f} ms")),
    MINUTES,
]
MODEL = ("model", "模型")
CONDITION = (
    "condition; accuracy, %: change, points (95% interval)",
    "条件；准确率，%：变化，百分点（95% 区间）",
)
GAIN = ("paired gain", "配对增益")
GAINS = {
    "accuracy": ("accuracy, points (95% interval)", "准确率，百分点（95% 区间）"),
    "device_drop": ("device drop, points (95% interval)", "设备落差，百分点（95% 区间）"),
}


def load(track: str, seconds: float, root: Path = Path()) -> Results:
    """Return a track's results; FileNotFoundError names a missing file.

    Times lie outside Git in `metrics/{track}/timing/`; models without any have none.
    """
    folder = root / "metrics" / track
    quality = read_json(folder / "quality.json")
    cost = read_json(folder / "cost.json")
    times = times_of(folder / "timing", track)
    gains = quality.pop("gain", {})
    models = {
        name: scores | cost.get(name, {}) | times.get(name, {}) for name, scores in quality.items()
    }
    robustness = folder / "robustness.json"
    found = read_json(robustness) if robustness.exists() else {}
    standing = {model: scores for model, scores in found.items() if isinstance(scores, dict)}
    return Results(models, gains, seconds, standing)


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; ValueError with its name where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None


def times_of(folder: Path, track: str) -> dict[str, Scores]:
    """Return {model: {"latency_ms", "train_minutes"}}, as far as stages wrote down how long."""
    times: dict[str, Scores] = {}
    for path in sorted(folder.glob("*@*.json")):
        stage, key = path.stem.split("@")
        timing = read_json(path)
        if "train_minutes" in timing:
            model = "teacher" if stage == "teacher" else key.removeprefix(f"{track}-")
            times.setdefault(model, {})["train_minutes"] = timing["train_minutes"]
        for model, latency in timing.get("latency", {}).items():
            times.setdefault(model, {})["latency_ms"] = latency["latency_median_ms"]
    return times


def _students(models: Iterable[str]) -> list[str]:
    names = set(models)
    return sorted(name for name in names if f"{name}_int8" in names)


def model_order(known: Iterable[str]) -> list[str]:
    """Return teachers, each student with its int8 files, and the audio-blind control last."""
    known = set(known)
    forms = [f"{name}{form}" for name in _students(known) for form in FORMS]
    order = ["teacher", "teacher_scratch", *forms, "audio_blind"]
    return [name for name in order if name in known]


def few_models(results: Results) -> list[str]:
    """Return the teacher, `hard`, `kd`, the best student and its int8 file, the control."""
    students = _students(results.models)
    best = max(students, key=lambda name: results.models[name]["accuracy"], default="")
    few = {"teacher", "hard", "kd", best, f"{best}_int8", "audio_blind"}
    return [name for name in model_order(results.models) if name in few]


def full(results: Results, language: str = "en") -> str:
    """Return tables: every model's scores and costs, the paired gains, and what conditions cost."""
    columns = CLASSES if results.classes else CHOICE
    models = _models_table(results, model_order(results.models), columns, language)
    tables = [models, _gains_table(results, language)]
    if results.standing:
        tables.append(_standing_table(results, language))
    return "\n\n".join(tables)


def short(results: Results, language: str = "en") -> str:
    """Return a table of a few models, accuracy and bytes alone."""
    columns = [MACRO if results.classes else ACCURACY, BYTES]
    return _models_table(results, few_models(results), columns, language)


def _models_table(
    results: Results, models: Sequence[str], columns: Sequence[Column], language: str
) -> str:
    """Return a row a model, without columns that are empty for all, as times may be."""
    place = LANGUAGES.index(language)
    shown = {MODEL[place]: [f"`{name}`" for name in models]}
    for column in columns:
        cells = [column.cell(results.models[name]) for name in models]
        if any(cells):
            shown[column.headings[place].format(seconds=results.seconds)] = cells
    return "\n".join(markdown(list(shown), zip(*shown.values(), strict=True)))


def _gains_table(results: Results, language: str) -> str:
    place = LANGUAGES.index(language)
    metrics = [name for name in GAINS if any(name in gain for gain in results.gains.values())]
    rows = []
    for pair, gain in results.gains.items():
        cells = [_points(gain, name, "{:+.1f} ({:+.1f} to {:+.1f})") for name in metrics]
        rows.append(["`{}`".format(pair.replace("_vs_", "` − `")), *cells])
    heads = [GAIN[place], *(GAINS[name][place] for name in metrics)]
    return "\n".join(markdown(heads, rows))


def _standing_table(results: Results, language: str) -> str:
    """Return a row a condition, with the change against clean in a column a model."""
    models = model_order(results.standing)
    conditions = next(iter(results.standing.values()))
    rows = []
    for name in conditions:
        scores = [results.standing[model][name] for model in models]
        rows.append([f"`{name}`", *map(_changed, scores)])
    place = LANGUAGES.index(language)
    return "\n".join(markdown([CONDITION[place], *(f"`{name}`" for name in models)], rows))


def _changed(score: Scores) -> str:
    """Return an accuracy, and beside it what the condition adds to it in points."""
    accuracy = f"{100 * score['accuracy']:.1f}"
    if "gain" not in score:
        return accuracy
    return _points(score["gain"], "accuracy", f"{accuracy}: {{:+.1f}} ({{:+.1f}} to {{:+.1f}})")


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [_row(heads), "|---" * len(heads) + "|", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def aligned(rows: Sequence[Sequence[str]], right: Iterable[int] = (), indent: int = 0) -> list[str]:
    """Return rows as lines with aligned columns, those of `right` to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        sides = [str.rjust if place in right else str.ljust for place in range(len(row))]
        cells = [side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)]
        lines.append(" " * indent + "  ".join(cells).rstrip())
    return lines


def renew(page: Path, results: dict[str, Results], only: str | None = None) -> None:
    """Fill the marked parts of a page, atomically, in Chinese where its name ends in `.zh-CN.md`.

    Parts of tracks without results stay as they are; with `only`, all but those of that track.
    ValueError where there is no part, or one without an end.
    """
    language = "zh" if ".zh" in page.name else "en"
    text = page.read_text(encoding="utf-8")
    parts = len(MARKED.findall(text))
    if not parts or parts != len(BEGINS.findall(text)):
        wanted = "<!-- results:TRACK:begin --> … <!-- results:TRACK:end -->"
        raise ValueError(f"{page}: {parts} whole parts to fill; expected {wanted}")

    def filled(part: re.Match[str]) -> str:
        draw = short if part["form"] == "short" else full
        track = part["track"]
        if only and track != only:
            return part[0]
        if track is None:
            tables = [f"**{name}**\n\n{draw(one, language)}" for name, one in results.items()]
        elif track in results:
            tables = [draw(results[track], language)]
        else:
            return part[0]
        return "\n".join([part["begin"], "\n\n".join(tables), part["end"]])

    renewed = MARKED.sub(filled, text)
    with atomic(page) as partial:
        partial.write_text(renewed)
