"""The page: a template filled with tracks, charts, sound and provenance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from earshot.workbench.report import blocks, data, hardest, provenance
from earshot.workbench.report.data import Track
from earshot.workbench.report.texts import STAGES, TEXTS

_HERE = Path(__file__).parent
Parts = dict[
    str, list[hardest.Hard] | None
]  # track → its hardest items, None where they are not there


def render(
    root: Path,
    params: Path,
    tracks: Sequence[Track],
    parts: Parts,
    language: str,
    other: str | None = None,
    commit: str | None = None,
) -> str:
    """Return the page in a language; `other` is the same page's file in the other one, `params` the
    parameters'.
    """
    words = TEXTS[language]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": blocks.size, "percent": blocks.percent}
    text = params.read_text() if params.is_file() else ""
    content = yaml.safe_load(text) or {} if text else {}
    written = provenance.outputs(root)
    shown = [_track(track, words, language, content) for track in tracks]
    return environment.get_template("page.html").render(
        t=words,
        style=Markup((_HERE / "style.css").read_text()),
        stages=provenance.stages(root, list(tracks), written),
        described=STAGES[language],
        tracks=shown,
        hardest=parts,
        count=hardest.COUNT,
        params=text,
        outputs=written,
        sources=list(data.hashes(list(tracks), root, params)),
        versions=provenance.versions(root),
        other=other,
        commit=commit,
    )


def _track(
    track: Track, words: dict[str, str], language: str, content: dict[str, Any]
) -> dict[str, Any]:
    """Return what the template shows of a track."""
    asked = content.get("tracks", {}).get(track.name, {}).get("evaluate", {})
    return {
        "name": track.name,
        "blocks": blocks.blocks(track, words, language),
        "card": _card(track, words),
        "rows": [_row(track, model) for model in track.models],
        "metric": words[track.metric],
        "seconds": asked.get("reference_seconds", 10.0),
        "items": track.quality[track.models[0]].get("items"),
    }


def _card(track: Track, words: dict[str, str]) -> dict[str, Any]:
    """Return what the head of the page says of a track: its shipped student, or else its first
    model.
    """
    model = track.shipped or track.models[0]
    one, cost = blocks.estimate(track, model), track.cost.get(model, {})
    card = {
        "model": model,
        "shipped": track.shipped is not None,
        "score": blocks.percent(one.middle),
        "interval": f"{blocks.percent(one.low)}–{blocks.percent(one.high)}",
        "bytes": blocks.size(cost["bytes"]) if "bytes" in cost else "",
        "latency": f"{cost['timing']['latency_median_ms']:.3g} ms" if "timing" in cost else "",
        "smaller": "",
    }
    teacher = track.cost.get("teacher", {})
    if model != "teacher" and "bytes" in teacher and "bytes" in cost:
        factor = f"{teacher['bytes'] / cost['bytes']:.0f}" + ("×" if words["lang"] == "en" else "")
        card["smaller"] = words["smaller"].format(factor=factor)
    return card


def _row(track: Track, model: str) -> dict[str, str]:
    """Return a row of the table of scores and costs."""
    scores, cost = track.quality[model], track.cost.get(model, {})
    one, timing = blocks.estimate(track, model), cost.get("timing", {})
    return {
        "model": model,
        "score": blocks.percent(one.middle),
        "interval": f"{blocks.percent(one.low)}–{blocks.percent(one.high)}",
        "macro_f1": blocks.percent(scores["macro_f1"]) if "macro_f1" in scores else "",
        "nll": f"{scores['nll']:.2f}" if "nll" in scores else "",
        "ece": blocks.percent(scores["ece"]) if "ece" in scores else "",
        "parameters": f"{cost['parameters']:,}".replace(",", " ") if "parameters" in cost else "",
        "macs": f"{cost['macs'] / 1e6:.1f}" if "macs" in cost else "",
        "bytes": blocks.size(cost["bytes"]) if "bytes" in cost else "",
        "latency": f"{timing['latency_median_ms']:.2f}" if "latency_median_ms" in timing else "",
        "minutes": f"{timing['train_minutes']:.1f}" if "train_minutes" in timing else "",
    }
