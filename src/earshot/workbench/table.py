"""Tables of results in Markdown, made from metrics: nothing in them is typed by hand.

A page has marked parts, which `renew` fills: `<!-- results:scenes:begin -->` to
`<!-- results:scenes:end -->` with the complete tables of a track, `short` in place of `begin` for
a few rows. Without a track, `<!-- results: short -->` to `<!-- results: end -->`, all are there.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from earshot.runtime.files import atomic
from earshot.workbench.comparison.moves import sign
from earshot.workbench.results import Scores, Track
from earshot.workbench.rows import markdown

LANGUAGES = ("en", "zh")
MARKED = re.compile(
    r"(?P<begin><!-- results:\s*(?:(?P<track>\w+):)?(?P<form>begin|full|short) -->)"
    r"(?:(?!<!-- results:).)*"
    r"(?P<end><!-- results:\s*(?(track)(?P=track):)end -->)",
    re.DOTALL,
)
BEGINS = re.compile(r"<!-- results:\s*(?:\w+:)?(?:begin|full|short) -->")
NOT_MEASURED = "–"
FEW = 20  # items of which no share is shown: one item would move it by five points or more


SHARE = 0.01  # the unit of figures that are shown in percent


class Column(NamedTuple):
    """A column of figures: its heading in each language, where a model has it, how it is shown.

    `path` is dotted; `form` gets the figure and the ends of its interval, all in `unit`s.
    """

    headings: tuple[str, str]
    path: str
    form: Callable[..., str]
    unit: float = 1
    missing: str = ""

    def cell(self, model: Scores) -> str:
        """Return what a model has there; of a share of fewer than `FEW` items, how many."""
        *parents, name = self.path.split(".")
        for parent in parents:
            model = model.get(parent, {})
        if name not in model:
            return self.missing
        items = model.get("items", FEW)
        if self.unit == SHARE and items < FEW:
            return f"{model[name] * items:.3g} / {items}" if name == "accuracy" else f"n = {items}"
        ends = [model.get(f"{name}{end}", 0) / self.unit for end in ("", "_low", "_high")]
        return self.form(*ends)


def _parameters(count: float, *_: float) -> str:
    if not count:
        return ""
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count / 1e3:.1f} k"


def _bytes(size: float, *_: float) -> str:
    if not size:
        return ""
    return f"{size / 1e6:.2f} MB" if size >= 5e5 else f"{size / 1e3:.0f} kB"


PERCENT = "{:.1f} ({:.1f}–{:.1f})".format
POINTS = "{:+.1f} ({:+.1f} to {:+.1f})".format
DROP = "{:z.1f} ({:z.1f} to {:z.1f})".format
ONE, TWO = "{:.1f}".format, "{:.2f}".format
ACCURACY = Column(
    ("accuracy, % (95% interval)", "准确率，%（95% 区间）"), "accuracy", PERCENT, SHARE
)
MACRO = Column(
    ("macro accuracy, % (95% interval)", "宏平均准确率，%（95% 区间）"), "accuracy", PERCENT, SHARE
)
WER = Column(
    ("word error rate, % (95% interval)", "词错误率，%（95% 区间）"), "wer", PERCENT, SHARE
)
CER = Column(("character error rate, %", "字符错误率，%"), "cer", ONE, SHARE)
PARAMETERS = Column(("parameters", "参数量"), "parameters", _parameters)
BYTES = Column(("file", "文件"), "bytes", _bytes)
MINUTES = Column(("training", "训练"), "train_minutes", "{:.1f} min".format)
LATENCY = ("{seconds:g}-s clip, 1 thread", "{seconds:g} 秒音频，单线程")
MACS = ("MMACs", "百万次乘加")
WORDINGS = ("unseen wordings, %", "未见句式，%")
PAPER = ("the paper's protocol, %", "论文协议，%")
SEEN, UNSEEN = ("seen devices, %", "已见设备，%"), ("unseen devices, %", "未见设备，%")
DEVICE_DROP = ("device drop, points (95% interval)", "设备落差，百分点（95% 区间）")
INT8 = ("int8 parameters, kB", "int8 参数，kB")

CHOICE = [
    ACCURACY,
    Column(("macro F1, %", "宏平均 F1，%"), "macro_f1", ONE, SHARE),
    Column(WORDINGS, "wording.unseen.accuracy", PERCENT, SHARE, NOT_MEASURED),
    PARAMETERS,
    Column(MACS, "macs", "{:.0f}".format, 1e6),
    BYTES,
    Column(LATENCY, "latency_ms", "{:.1f} ms".format),
    MINUTES,
    Column(PAPER, "paper_protocol.accuracy", "{:.0f}".format, SHARE, NOT_MEASURED),
]
CLASSES = [
    MACRO,
    Column(("log-loss", "对数损失"), "nll", TWO),
    Column(SEEN, "seen_devices", ONE, SHARE, NOT_MEASURED),
    Column(UNSEEN, "device_group.unseen.accuracy", ONE, SHARE, NOT_MEASURED),
    Column(DEVICE_DROP, "device_drop", DROP, SHARE, NOT_MEASURED),
    PARAMETERS,
    Column(INT8, "parameter_bytes", ONE, 1e3),
    Column(MACS, "macs", ONE, 1e6),
    Column(LATENCY, "latency_ms", "{:.2f} ms".format),
    MINUTES,
]
TRANSCRIPTS = [
    WER,
    CER,
    Column(WORDINGS, "wording.unseen.wer", PERCENT, SHARE, NOT_MEASURED),
    PARAMETERS,
    Column(MACS, "macs", "{:.0f}".format, 1e6),
    BYTES,
    Column(LATENCY, "latency_ms", "{:.1f} ms".format),
    MINUTES,
]
MEAN_WER = WER._replace(
    headings=(
        "word error rate, mean over languages, % (95% interval)",
        "词错误率，各语言平均，%（95% 区间）",
    )
)
BY_LANGUAGE = ("word error rate by language, % (95% interval)", "各语言词错误率，%（95% 区间）")
IDENTIFIED = Column(
    ("language right, clips of 2 s and more, %", "语种判断正确率，2 秒以上音频，%"),
    "identification.from_2_s.accuracy",
    PERCENT,
    0.01,
)
MODEL = ("model", "模型")
CONDITIONS = {
    "accuracy": (
        "condition; accuracy, %: change, points (95% interval)",
        "条件；准确率，%：变化，百分点（95% 区间）",
    ),
    "wer": (
        "condition; word error rate, %: change, points (95% interval)",
        "条件；词错误率，%：变化，百分点（95% 区间）",
    ),
}
GAIN = ("paired gain", "配对增益")
GAINS = {
    "accuracy": ("accuracy, points (95% interval)", "准确率，百分点（95% 区间）"),
    "device_drop": ("device drop, points (95% interval)", "设备落差，百分点（95% 区间）"),
    "wer": ("word error rate, points (95% interval)", "词错误率，百分点（95% 区间）"),
    "relative_reduction": ("relative reduction, % (95% interval)", "相对降低，%（95% 区间）"),
}


def few_models(track: Track) -> list[str]:
    """Return the teacher, `hard`, `kd`, the best student and its int8 file, the control."""
    students = [name for name in track.models if f"{name}_int8" in track.quality]
    way = sign(track.metric)
    best = max(sorted(students), key=lambda one: way * track.quality[one][track.metric], default="")
    few = {"teacher", "hard", "kd", best, f"{best}_int8", "audio_blind", "audio_exchanged"}
    return [name for name in track.models if name in few]


def _columns(track: Track) -> list[Column]:
    """Return the columns of a track's models; the first is what they are judged by."""
    if track.metric == WER.path:
        return [MEAN_WER, *TRANSCRIPTS[1:]] if _languages(track) else TRANSCRIPTS
    return CLASSES if track.classes else CHOICE


def _languages(track: Track) -> list[str]:
    """Return the languages of a track's test clips; none where there is but one, or it is not
    known.
    """
    return sorted(
        {one for name in track.models for one in track.quality[name].get("languages", {})}
    )


def full(track: Track, seconds: float, language: str = "en") -> str:
    """Return tables: every model's scores and costs, the paired gains, and what conditions cost.

    `seconds` is how long the clip is whose latency was measured.
    """
    columns = _columns(track)
    tables = [_models_table(track, track.models, columns, language, seconds)]
    if _languages(track):
        tables.append(_languages_table(track, language))
    tables.append(_gains_table(track, language))
    if track.robustness:
        tables.append(robustness(track, language))
    return "\n\n".join(tables)


def short(track: Track, language: str = "en", models: Sequence[str] | None = None) -> str:
    """Return a table of a few models, `models` if given, accuracy and bytes alone."""
    columns = [_columns(track)[0], BYTES]
    return _models_table(track, models or few_models(track), columns, language)


def _models_table(
    track: Track,
    models: Sequence[str],
    columns: Sequence[Column],
    language: str,
    seconds: float = 0,
) -> str:
    """Return a row a model, without columns that are empty for all, as times may be."""
    place = LANGUAGES.index(language)
    shown = {MODEL[place]: [f"`{name}`" for name in models]}
    for column in columns:
        cells = [column.cell(_figures(track, model)) for model in models]
        if any(cells):
            shown[column.headings[place].format(seconds=seconds)] = cells
    return "\n".join(markdown(list(shown), zip(*shown.values(), strict=True)))


def _languages_table(track: Track, language: str) -> str:
    """Return a row a model, a column a language, and how often the language is right."""
    place = LANGUAGES.index(language)
    columns = [
        Column((one, one), f"languages.{one}.wer", PERCENT, SHARE) for one in _languages(track)
    ]
    control = {"audio_exchanged"}
    models = [name for name in track.models if name not in control]
    models = [name for name in models if not name.startswith("teacher_")]  # `teacher` is them all
    rows = [
        [f"`{name}`", *(one.cell(track.quality[name]) for one in [*columns, IDENTIFIED])]
        for name in models
    ]
    heads = [BY_LANGUAGE[place], *(one.headings[place] for one in [*columns, IDENTIFIED])]
    return "\n".join(markdown(heads, rows))


def _figures(track: Track, model: str) -> Scores:
    """Return a model's scores and costs; the drop is that from the devices of training clips."""
    found = track.quality[model] | track.cost.get(model, {})
    if "device_drop" in found:
        found["seen_devices"] = found["device_group"]["unseen"]["accuracy"] + found["device_drop"]
    return found


def _gains_table(track: Track, language: str) -> str:
    place = LANGUAGES.index(language)
    metrics = [name for name in GAINS if any(name in gain for gain in track.gains.values())]
    rows = []
    for pair, gain in track.gains.items():
        cells = [Column(GAIN, name, POINTS, SHARE).cell(gain) for name in metrics]
        rows.append(["`{}`".format(pair.replace("_vs_", "` − `")), *cells])
    heads = [GAIN[place], *(GAINS[name][place] for name in metrics)]
    return "\n".join(markdown(heads, rows))


def robustness(track: Track, language: str = "en") -> str:
    """Return a row a condition, with the change against clean in a column a model."""
    models = [model for model in track.models if model in track.robustness]
    rows = []
    for name in track.robustness[models[0]]:
        cells = [_changed(track.robustness[model][name], track.metric) for model in models]
        rows.append([f"`{name}`", *cells])
    place = LANGUAGES.index(language)
    return "\n".join(
        markdown([CONDITIONS[track.metric][place], *(f"`{name}`" for name in models)], rows)
    )


def _changed(score: Scores, metric: str) -> str:
    """Return an accuracy or error rate, and beside it what the condition adds to it in points."""
    gain = Column(GAIN, f"gain.{metric}", POINTS, SHARE).cell(score)
    return f"{100 * score[metric]:.1f}" + (f": {gain}" if gain else "")


def renew(page: Path, results: dict[str, tuple[Track, float]], only: str | None = None) -> None:
    """Fill the marked parts of a page, atomically, in Chinese where its name ends in `.zh-CN.md`.

    `results` has a track and `seconds`, as `full` takes them, by name. Parts of tracks without
    results stay as they are; with `only`, all but those of that track. ValueError where there is no
    part, or one without an end.
    """
    language = "zh" if ".zh" in page.name else "en"
    text = page.read_text(encoding="utf-8")
    parts = len(MARKED.findall(text))
    if not parts or parts != len(BEGINS.findall(text)):
        wanted = "<!-- results:TRACK:begin --> … <!-- results:TRACK:end -->"
        raise ValueError(f"{page}: {parts} whole parts to fill; expected {wanted}")

    def drawn(name: str, form: str) -> str:
        track, seconds = results[name]
        return short(track, language) if form == "short" else full(track, seconds, language)

    def filled(part: re.Match[str]) -> str:
        track, form = part["track"], part["form"]
        if (only and track != only) or (track and track not in results):
            return part[0]
        tables = [f"**{name}**\n\n{drawn(name, form)}" for name in results]
        if track:
            tables = [drawn(track, form)]
        return "\n".join([part["begin"], "\n\n".join(tables), part["end"]])

    renewed = MARKED.sub(filled, text)
    with atomic(page) as partial:
        partial.write_text(renewed)
