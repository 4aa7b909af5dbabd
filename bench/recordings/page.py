"""docs/recordings.md and its Chinese twin: tables made from what the rows measured."""

import json
import re
from pathlib import Path

from earshot.runtime.files import atomic
from earshot.workbench import table
from earshot.workbench.results import read_track
from earshot.workbench.rows import markdown

RESULTS = Path(__file__).parent / "results"
PAGES = ("docs/recordings.md", "docs/recordings.zh-CN.md")
COSTS = re.compile(r"(<!-- costs:begin -->).*?(<!-- costs:end -->)", re.DOTALL)
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
        costs = "\n".join(_costs(names, "zh" if ".zh" in page.name else "en"))
        text = COSTS.sub(rf"\1\n{costs}\n\2", page.read_text(encoding="utf-8"))
        with atomic(page) as partial:
            partial.write_text(text, encoding="utf-8")


def _costs(names: list[str], language: str) -> list[str]:
    used = [json.loads((RESULTS / "metrics" / name / "run.json").read_text()) for name in names]
    rows = [
        (f"`{name}`", f"`{run['commit']}`", str(run["processor_minutes"]), f"{run['peak_mb']} MB")
        for name, run in zip(names, used, strict=True)
    ]
    return markdown(HEADS[language], rows)
