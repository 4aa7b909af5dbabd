"""The results table of the README, made from metrics: nothing in it is typed by hand."""

import json
from pathlib import Path
from typing import Any

from earshot.files import atomic

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
HEADINGS = {
    "en": {
        "model": "model",
        "accuracy": "accuracy, % (95% interval)",
        "macro_f1": "macro F1, %",
        "unseen": "unseen wordings, %",
        "parameters": "parameters",
        "macs": "MMACs",
        "bytes": "file",
        "latency": "10-s clip, 1 thread",
        "minutes": "training",
        "gain": "paired gain",
        "points": "points (95% interval)",
        "paper": "the paper's protocol, %",
    },
    "zh": {
        "model": "模型",
        "accuracy": "准确率，%（95% 区间）",
        "macro_f1": "宏平均 F1，%",
        "unseen": "未见句式，%",
        "parameters": "参数量",
        "macs": "百万次乘加",
        "bytes": "文件",
        "latency": "10 秒音频，单线程",
        "minutes": "训练",
        "gain": "配对增益",
        "points": "百分点（95% 区间）",
        "paper": "论文协议，%",
    },
}


def _percent(scores: dict[str, float], name: str) -> str:
    ends = (100 * scores[name], 100 * scores[f"{name}_low"], 100 * scores[f"{name}_high"])
    return "{:.1f} ({:.1f}–{:.1f})".format(*ends)


def _order(quality: dict[str, Any], cost: dict[str, Any]) -> list[str]:
    """Teacher first, then each student with its int8 file, the audio-blind control last."""
    students = sorted(m for m in cost if m != "teacher" and not m.endswith("_int8"))
    models = ["teacher", *(m for s in students for m in (s, f"{s}_int8")), "audio_blind"]
    return [model for model in models if model in quality]


def render(quality: dict[str, Any], cost: dict[str, Any], language: str = "en") -> str:
    """Return two Markdown tables: every model's scores and costs, and the paired gains."""
    heads = HEADINGS[language]
    names = ("model", "accuracy", "macro_f1", "unseen", "parameters", "macs", "bytes", "latency", "minutes", "paper")
    lines = ["| " + " | ".join(heads[name] for name in names) + " |", "|---" * len(names) + "|"]
    for model in _order(quality, cost):
        scores, price = quality[model], cost.get(model, {})
        timing = price.get("timing", {})
        cells = [
            f"`{model}`",
            _percent(scores, "accuracy"),
            f"{100 * scores['macro_f1']:.1f}",
            _percent(scores["wording"]["unseen"], "accuracy") if "unseen" in scores["wording"] else "–",
            f"{price['parameters'] / 1e6:.2f} M" if "parameters" in price else "",
            f"{price['macs'] / 1e6:.0f}" if "macs" in price else "",
            f"{price['bytes'] / 1e6:.2f} MB" if "bytes" in price else "",
            f"{timing['latency_median_ms']:.1f} ms" if timing else "",
            f"{timing['train_minutes']:.1f} min" if "train_minutes" in timing else "",
            f"{100 * scores['paper_protocol']['accuracy']:.0f}" if "paper_protocol" in scores else "–",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"| {heads['gain']} | {heads['points']} |", "|---|---|"]
    for pair, gain in quality["gain"].items():
        ends = [100 * gain[f"accuracy{end}"] for end in ("", "_low", "_high")]
        lines.append("| `{}` | {:+.1f} ({:+.1f} to {:+.1f}) |".format(pair.replace("_vs_", "` − `"), *ends))
    return "\n".join(lines)


def load(track: str, root: Path = Path()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a track's quality and cost metrics; FileNotFoundError names a missing file."""
    folder = root / "metrics" / track
    return tuple(json.loads((folder / f"{name}.json").read_text()) for name in ("quality", "cost"))


def insert(readme: Path, table: str) -> None:
    """Put `table` between the markers of a README, atomically; ValueError when a marker is missing."""
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{readme}: no {BEGIN} … {END} to fill")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    with atomic(readme) as partial:
        partial.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")
