"""The page: a template filled with tracks, charts, sound and provenance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from earshot.evaluation.charts import percent
from earshot.evaluation.figures import NARROW, WIDE, colours, svg
from earshot.runtime import yaml_file
from earshot.runtime.files import read_text, sha256
from earshot.workbench.report import blocks, hardest, provenance
from earshot.workbench.results import Track

_HERE = Path(__file__).parent


def texts(language: str) -> dict[str, str]:
    """Return what a report says in a language, `en` or `zh`, by name."""
    return {name: text[language] for name, text in yaml_file.read(_HERE / "texts.yaml").items()}


def render(
    root: Path,
    params: Path,
    tracks: Sequence[Track],
    hard: dict[str, list[hardest.Hard]],
    language: str,
    other: str | None = None,
    commit: str | None = None,
) -> str:
    """Return the page in a language; `other` is the same page's file in the other one, `params` the
    parameters', `hard` each track's hardest items.
    """
    words = texts(language)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent}
    text = read_text(params) if params.is_file() else ""
    content = yaml_file.parse(text, str(params)) or {}
    outputs = [
        (out.path, blocks.size(out.bytes), out.files, out.md5) for out in provenance.outputs(root)
    ]
    return environment.get_template("page.html").render(
        t=words,
        style=Markup(colours() + (_HERE / "style.css").read_text(encoding="utf-8")),
        tracks=[_track(track, words, content) for track in tracks],
        hardest=hard,
        params=text,
        outputs=outputs,
        sources=_sources(tracks, root, params),
        other=other,
        commit=commit,
    )


def _sources(tracks: Sequence[Track], root: Path, params: Path) -> list[tuple[str, str]]:
    """Return path and SHA-256 of every file that the report shows."""
    files = {params, *(source for track in tracks for source in track.sources)}
    return [(str(one.relative_to(root)), sha256(one)) for one in sorted(files) if one.is_file()]


def _track(track: Track, words: dict[str, str], content: dict[str, Any]) -> dict[str, Any]:
    """Return what the template shows of a track."""
    settings = content.get("tracks", {}).get(track.name, {}).get("evaluate", {})
    scores, heads = _scores(track, words)
    return {
        "name": track.name,
        "blocks": [_block(track, block) for block in blocks.blocks(track, words)],
        "card": _card(track, words),
        "scores": scores,
        "heads": heads,
        "metric": words[track.metric],
        "hardest_note": blocks.worded(words, "hardest_note", track.metric),
        "seconds": settings.get("reference_seconds"),
        "count": track.quality[track.models[0]].get("items"),
    }


def _block(track: Track, block: blocks.Block) -> dict[str, Any]:
    """Return a block with each chart drawn twice: for a desk, and for a phone."""
    drawn = []
    for place, chart in enumerate(block.charts):
        name = f"{track.name}-{block.id}-{place}"
        sizes = {"wide": chart.wide, "narrow": NARROW}
        pictures = {
            kind: Markup(svg(chart.draw(width=width), f"{name}-{kind}"))
            for kind, width in sizes.items()
        }
        drawn.append({"pictures": pictures, "caption": chart.caption, "whole": chart.wide == WIDE})
    return block._asdict() | {"charts": drawn}


def _card(track: Track, words: dict[str, str]) -> dict[str, Any]:
    """Return what the head of the page says of a track: its shipped student, or else its first
    model.
    """
    model = track.shipped or track.models[0]
    one, cost = track.estimate(model), track.cost.get(model, {})
    teacher = track.cost.get("teacher", {})
    facts = []
    if "bytes" in cost:
        facts.append(blocks.size(cost["bytes"]))
    if "latency_ms" in cost:
        facts.append(f"{cost['latency_ms']:.3g} ms")
    if model != "teacher" and "bytes" in teacher and "bytes" in cost:
        facts.append(words["smaller"].format(factor=teacher["bytes"] / cost["bytes"]))
    return {
        "model": model,
        "label": words["shipped"] if track.shipped else "",
        "score": percent(one.middle),
        "interval": f"{percent(one.low)}–{percent(one.high)}",
        "facts": " · ".join(facts),
    }


def _scores(track: Track, words: dict[str, str]) -> tuple[list[list[str]], list[str]]:
    """Return the rows of the table of scores and costs, and its heads; columns without a value are
    left out.
    """
    values = [track.quality[model] | track.cost.get(model, {}) for model in track.models]
    columns = {key: form for key, form in _FORMS.items() if any(key in one for one in values)}
    rows = []
    for model, one in zip(track.models, values, strict=True):
        score = track.estimate(model)
        interval = f"{percent(score.low)}–{percent(score.high)}"
        cells = [form(one[key]) if key in one else "" for key, form in columns.items()]
        rows.append([model, percent(score.middle), interval, *cells])
    heads = [words["model"], blocks.axis(track, words), words["interval"]]
    return rows, heads + [words[f"head_{key}"] for key in columns]


_FORMS = {
    "macro_f1": percent,
    "nll": "{:.2f}".format,
    "ece": percent,
    "parameters": lambda number: f"{number:,}".replace(",", " "),
    "macs": lambda number: f"{number / 1e6:.1f}",
    "bytes": blocks.size,
    "latency_ms": "{:.2f}".format,
    "train_minutes": "{:.1f}".format,
}
