"""The results as one HTML file that needs no network, no script and no other file; and its main
charts as SVG.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from earshot.runtime.files import atomic
from earshot.runtime.progress import track as progress
from earshot.workbench.report import data, figures, hardest, page

LIMIT = 5_000_000  # bytes of a page


def write(
    out: Path,
    languages: Sequence[str],
    root: Path,
    params: Path,
    commit: str | None = None,
    folder: Path | None = None,
) -> list[Path]:
    """Write the page in each language, and the charts to `folder` where one is given; return the
    files written.

    `params` is the file that the pipeline's parameters are in, below `root`. With one language
    `out` is that page, with more the Chinese one is `<out>.zh-CN.html`. ValueError when there are
    no results, or a page exceeds 5 MB.
    """
    tracks = data.read(root)
    content = yaml.safe_load(params.read_text()) if params.is_file() else {"tracks": {}}
    names = {
        language: chinese(out) if language == "zh" and len(languages) > 1 else out
        for language in languages
    }
    parts = {
        one.name: hardest.find(root, one.name, content, one.told)
        for one in progress(tracks, "report", unit="track")
    }
    for language, path in names.items():
        other = next((str(names[one].name) for one in languages if one != language), None)
        text = page.render(root, params, tracks, parts, language, other, commit)
        if len(text.encode()) > LIMIT:
            raise ValueError(
                f"{path}: {len(text.encode()) / 1e6:.1f} MB, more than {LIMIT / 1e6:.0f}"
            )
        with atomic(path) as partial:
            partial.write_text(text, encoding="utf-8")
    drawn = figures.write(folder, tracks, languages) if folder else []
    return [*names.values(), *drawn]


def chinese(path: Path) -> Path:
    """Return the name of a page's Chinese sister."""
    return path.with_name(f"{path.stem}.zh-CN{path.suffix}")
