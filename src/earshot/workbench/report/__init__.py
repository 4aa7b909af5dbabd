"""The results as one HTML file that needs no network, no script and no other file; and its main
charts as SVG.
"""

from collections.abc import Sequence
from pathlib import Path

from earshot.evaluation.figures import WIDE, svg
from earshot.runtime import yaml_file
from earshot.runtime.files import atomic
from earshot.runtime.progress import track as progress
from earshot.workbench import results
from earshot.workbench.report import blocks, hardest, page

LIMIT = 5_000_000  # bytes of a page
ENDS = {"en": "", "zh": ".zh-CN"}  # of a file's name, before its suffix


def write(
    out: Path, languages: Sequence[str], root: Path, params: Path, commit: str | None = None
) -> list[Path]:
    """Write the page in each language; return the files written.

    `params` is the file that the pipeline's parameters are in, below `root`. With one language
    `out` is that page, with more the Chinese one is `<out>.zh-CN.html`. ValueError when there are
    no results, or a page exceeds 5 MB.
    """
    content = yaml_file.read(params) if params.is_file() else {}
    known = {name: place for place, name in enumerate(content.get("tracks", {}))}
    tracks = sorted(results.read(root), key=lambda one: known.get(one.name, len(known)))
    several = len(languages) > 1
    files = {language: out.with_stem(out.stem + ENDS[language] * several) for language in languages}
    hard = {
        one.name: hardest.find(root, one, content)
        for one in progress(tracks, "report", unit="track")
    }
    for language, path in files.items():
        other = next((file.name for one, file in files.items() if one != language), None)
        text = page.render(root, params, tracks, hard, language, other, commit)
        size = len(text.encode())
        if size > LIMIT:
            raise ValueError(f"{path}: {size / 1e6:.1f} MB, more than {LIMIT / 1e6:.0f}")
        with atomic(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return list(files.values())


def draw(folder: Path, languages: Sequence[str], root: Path) -> list[Path]:
    """Write `<track>-results.svg` and `<track>-cost.svg` of each track, `….zh-CN.svg` in Chinese;
    return the files.
    """
    written = []
    for track in results.read(root):
        for language in languages:
            words = page.texts(language)
            for block in (blocks.results(track, words), blocks.costs(track, words)):
                for chart in block.charts[:1]:
                    path = folder / f"{track.name}-{block.id}{ENDS[language]}.svg"
                    with atomic(path) as partial:
                        picture = svg(chart.draw(width=WIDE), path.stem, alone=True)
                        partial.write_text(picture, encoding="utf-8")
                    written.append(path)
    return written
