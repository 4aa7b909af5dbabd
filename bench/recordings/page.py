"""docs/recordings.md and its Chinese twin: tables made from what the rows measured."""

import json
import re
from functools import partial, reduce
from operator import getitem
from pathlib import Path

from earshot.runtime.files import atomic
from earshot.workbench import table
from earshot.workbench.results import read_track
from earshot.workbench.rows import markdown

RESULTS = Path(__file__).parent / "results"
PAGES = ("docs/recordings.md", "docs/recordings.zh-CN.md")
COSTS = re.compile(r"(<!-- costs:begin -->).*?(<!-- costs:end -->)", re.DOTALL)
BESIDE = re.compile(r"(<!-- beside: (?P<what>.+?) -->).*?(<!-- beside: end -->)", re.DOTALL)
ROW = ("row", "行")
KINDS = ((table.WER, table.CER), (table.MACRO,))  # a table has the first that its models have
HEADS = {
    "en": ("row", "commit", "processor minutes", "peak of a process"),
    "zh": ("行", "提交", "处理器分钟", "单个进程的内存峰值"),
}


def write(root: Path) -> None:
    """Fill the tables of both pages with the results that are there."""
    names = sorted(path.parent.name for path in RESULTS.glob("metrics/*/quality.json"))
    results = {name: (read_track(RESULTS, name), 10.0) for name in names}
    for page in (root / name for name in PAGES):
        table.renew(page, results)
        language = "zh" if ".zh" in page.name else "en"
        costs = "\n".join(_costs(names, language))
        text = COSTS.sub(rf"\1\n{costs}\n\2", page.read_text(encoding="utf-8"))
        text = BESIDE.sub(partial(_renewed, language), text)
        with atomic(page) as unfinished:
            unfinished.write_text(text, encoding="utf-8")


def _renewed(language: str, found: re.Match) -> str:
    """Return a marked table of models of several rows: `ROW/MODEL`, or `ROW/MODEL/languages/en`
    for a part of a model's scores. A row without results is left out.
    """
    place = table.LANGUAGES.index(language)
    named = [path.split("/") for path in found["what"].split()]
    scores = []
    for row, *parts in named:
        file = RESULTS / "metrics" / row / "quality.json"
        if file.exists():
            scores.append((row, parts, reduce(getitem, parts, json.loads(file.read_text()))))
    kinds = (kind for kind in KINDS if all(kind[0].path in one for *_, one in scores))
    columns = next(kinds)
    lines = []
    for row, parts, one in scores:
        model = ", ".join(part for part in parts if part != "languages")
        lines.append((f"`{row}`", f"`{model}`", *(column.cell(one) for column in columns)))
    heads = (ROW[place], table.MODEL[place], *(column.headings[place] for column in columns))
    return "\n".join((found[1], *markdown(heads, lines), found[3]))


def _costs(names: list[str], language: str) -> list[str]:
    used = [json.loads((RESULTS / "metrics" / name / "run.json").read_text()) for name in names]
    rows = [
        (f"`{name}`", f"`{run['commit']}`", str(run["processor_minutes"]), f"{run['peak_mb']} MB")
        for name, run in zip(names, used, strict=True)
    ]
    return markdown(HEADS[language], rows)
