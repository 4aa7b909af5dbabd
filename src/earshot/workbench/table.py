"""The results tables of the READMEs, made from metrics: nothing in them is typed by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from earshot.runtime.files import atomic

Scores = dict[str, Any]
Cell = Callable[
    [Scores, Scores], str
]  # a model's part of quality.json, and of cost.json → what the table says

HEADINGS = {
    "en": {
        "model": "model",
        "accuracy": "accuracy, % (95% interval)",
        "macro_accuracy": "macro accuracy, % (95% interval)",
        "macro_f1": "macro F1, %",
        "log_loss": "log-loss",
        "unseen": "unseen wordings, %",
        "seen_devices": "seen devices, %",
        "unseen_devices": "unseen devices, %",
        "drop": "device drop, points (95% interval)",
        "parameters": "parameters",
        "macs": "MMACs",
        "bytes": "file",
        "parameter_bytes": "int8 parameters, kB",
        "latency": "{seconds:g}-s clip, 1 thread",
        "minutes": "training",
        "gain": "paired gain",
        "points": "points (95% interval)",
        "accuracy_points": "accuracy, points (95% interval)",
        "drop_points": "device drop, points (95% interval)",
        "paper": "the paper's protocol, %",
    },
    "zh": {
        "model": "模型",
        "accuracy": "准确率，%（95% 区间）",
        "macro_accuracy": "宏平均准确率，%（95% 区间）",
        "macro_f1": "宏平均 F1，%",
        "log_loss": "对数损失",
        "unseen": "未见句式，%",
        "seen_devices": "已见设备，%",
        "unseen_devices": "未见设备，%",
        "drop": "设备落差，百分点（95% 区间）",
        "parameters": "参数量",
        "macs": "百万次乘加",
        "bytes": "文件",
        "parameter_bytes": "int8 参数，kB",
        "latency": "{seconds:g} 秒音频，单线程",
        "minutes": "训练",
        "gain": "配对增益",
        "points": "百分点（95% 区间）",
        "accuracy_points": "准确率，百分点（95% 区间）",
        "drop_points": "设备落差，百分点（95% 区间）",
        "paper": "论文协议，%",
    },
}


def _percent(scores: Scores, name: str) -> str:
    ends = (100 * scores[name], 100 * scores[f"{name}_low"], 100 * scores[f"{name}_high"])
    return "{:.1f} ({:.1f}–{:.1f})".format(*ends)


def _points(scores: Scores, name: str, form: str = "{:+.1f} ({:+.1f} to {:+.1f})") -> str:
    return form.format(*(100 * scores[f"{name}{end}"] for end in ("", "_low", "_high")))


def _latency(price: Scores, digits: int) -> str:
    timing = price.get("timing", {})
    return f"{timing['latency_median_ms']:.{digits}f} ms" if timing else ""


def _minutes(scores: Scores, price: Scores) -> str:
    timing = price.get("timing", {})
    return f"{timing['train_minutes']:.1f} min" if "train_minutes" in timing else ""


def _macs(price: Scores, digits: int) -> str:
    return f"{price['macs'] / 1e6:.{digits}f}" if "macs" in price else ""


def _count(price: Scores) -> str:
    number = price.get("parameters", 0)
    return (
        "" if not number else f"{number / 1e6:.2f} M" if number >= 1e6 else f"{number / 1e3:.1f} k"
    )


def _across(scores: Scores, seen: bool) -> str:
    """The mean accuracy of the devices that training heard, or of the others."""
    if "device_drop" not in scores:
        return "–"
    share = scores["device_group"]["unseen"]["accuracy"]
    return f"{100 * (share + scores['device_drop'] if seen else share):.1f}"


# One row per column; a track's columns are those of what its metrics hold.
CHOICE: dict[str, Cell] = {
    "accuracy": lambda scores, price: _percent(scores, "accuracy"),
    "macro_f1": lambda scores, price: f"{100 * scores['macro_f1']:.1f}",
    "unseen": lambda s, price: (
        _percent(s["wording"]["unseen"], "accuracy") if "unseen" in s["wording"] else "–"
    ),
    "parameters": lambda scores, price: (
        f"{price['parameters'] / 1e6:.2f} M" if "parameters" in price else ""
    ),
    "macs": lambda scores, price: _macs(price, 0),
    "bytes": lambda scores, price: f"{price['bytes'] / 1e6:.2f} MB" if "bytes" in price else "",
    "latency": lambda scores, price: _latency(price, 1),
    "minutes": _minutes,
    "paper": lambda s, price: (
        f"{100 * s['paper_protocol']['accuracy']:.0f}" if "paper_protocol" in s else "–"
    ),
}
CLASSES: dict[str, Cell] = {
    "macro_accuracy": lambda scores, price: _percent(scores, "accuracy"),
    "log_loss": lambda scores, price: f"{scores['nll']:.2f}",
    "seen_devices": lambda scores, price: _across(scores, True),
    "unseen_devices": lambda scores, price: _across(scores, False),
    "drop": lambda s, price: (
        _points(s, "device_drop", "{:z.1f} ({:z.1f} to {:z.1f})") if "device_drop" in s else "–"
    ),
    "parameters": lambda scores, price: _count(price),
    "parameter_bytes": lambda s, price: (
        f"{price['parameter_bytes'] / 1e3:.1f}" if "parameter_bytes" in price else ""
    ),
    "macs": lambda scores, price: _macs(price, 1),
    "latency": lambda scores, price: _latency(price, 2),
    "minutes": _minutes,
}


def model_order(quality: Scores) -> list[str]:
    """Teachers first, then each student with its int8 files, the audio-blind control last."""
    students = sorted(model for model in quality if f"{model}_int8" in quality)
    forms = (f"{student}{form}" for student in students for form in ("", "_int8", "_ptq"))
    return [
        model for model in ("teacher", "teacher_scratch", *forms, "audio_blind") if model in quality
    ]


def render(quality: Scores, cost: Scores, language: str = "en", seconds: float = 10.0) -> str:
    """Return two Markdown tables: every model's scores and costs, and the paired gains.

    `seconds` is the length of the clip whose latency was measured.
    """
    heads = {name: heading.format(seconds=seconds) for name, heading in HEADINGS[language].items()}
    classes = "class" in quality["teacher"]
    columns = CLASSES if classes else CHOICE
    lines = [_row(heads[name] for name in ("model", *columns)), "|---" * (1 + len(columns)) + "|"]
    for model in model_order(quality):
        cells = (cell(quality[model], cost.get(model, {})) for cell in columns.values())
        lines.append(_row([f"`{model}`", *cells]))
    metrics = {"accuracy": "accuracy_points" if classes else "points"}
    if any("device_drop" in gain for gain in quality["gain"].values()):
        metrics["device_drop"] = "drop_points"
    lines += [
        "",
        _row([heads["gain"], *(heads[name] for name in metrics.values())]),
        "|---" * (1 + len(metrics)) + "|",
    ]
    for pair, gain in quality["gain"].items():
        lines.append(
            _row(
                [
                    "`{}`".format(pair.replace("_vs_", "` − `")),
                    *(_points(gain, name) for name in metrics),
                ]
            )
        )
    return "\n".join(lines)


def _row(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def load(track: str, root: Path = Path()) -> tuple[Scores, Scores]:
    """Return a track's quality and cost metrics; FileNotFoundError names a missing file."""
    folder = root / "metrics" / track
    return tuple(json.loads((folder / f"{name}.json").read_text()) for name in ("quality", "cost"))


def markers(track: str) -> tuple[str, str]:
    """Return what stands before and after a track's tables in a README."""
    return f"<!-- results:{track}:begin -->", f"<!-- results:{track}:end -->"


def insert(readme: Path, track: str, table: str) -> None:
    """Put `table` between a track's markers in a README, atomically; ValueError when a marker is
    missing.
    """
    begin, end = markers(track)
    text = readme.read_text()
    if begin not in text or end not in text:
        raise ValueError(f"{readme}: no {begin} … {end} to fill")
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    with atomic(readme) as partial:
        partial.write_text(f"{before}{begin}\n{table}\n{end}{after}")
