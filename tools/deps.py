"""Rewrite the library files in dvc.yaml's `deps` from what the stages really import: `make deps`.

Data dependencies, comments and the order of what stays are left as they are. FOLDERS are depended
on as a whole: which of their files a stage loads is only known when it runs.
"""

import re
import sys
from pathlib import Path

import yaml

import pipeline_graph
from pipeline_graph import imports

FOLDERS = {"download": ["src/earshot/corpora"], "pretrain": ["src/earshot/corpora"]}
OWN = ("src/", "stages/")
_ENTRY = re.compile(r"^(\s*)- (\S+)")


def needed(stage: str) -> list[str]:
    """Return the project's files that a stage depends on, its folders in the place of what lies in
    them, sorted.
    """
    root = pipeline_graph.ROOT
    folders = FOLDERS.get(stage, [])
    inside = {file for folder in folders for file in (root / folder).rglob("*.py")}
    files = set().union(*(imports(file) for file in {root / f"stages/{stage}.py", *inside}))
    return sorted(
        [
            *(
                file
                for file in files
                if not file.startswith(tuple(f"{folder}/" for folder in folders))
            ),
            *folders,
        ]
    )


def rewrite(text: str) -> tuple[str, list[str]]:
    """Return dvc.yaml with every stage's list set right, and what changed, `stage: +file` or
    `stage: -file` a line.
    """
    lines, changes = text.splitlines(keepends=True), list[str]()
    for stage in yaml.safe_load(text)["stages"]:
        begin, end = _deps(lines, stage)
        entries, wanted = lines[begin:end], needed(stage)
        kept = [line for line in entries if not _own(line) or _path(line) in wanted]
        changes += [f"{stage}: -{_path(line)}" for line in entries if line not in kept]
        indent = _ENTRY.match(entries[0])[1]
        for file in sorted(set(wanted) - {_path(line) for line in entries}):
            place = next(
                (n for n, line in enumerate(kept) if _ENTRY.match(line) and _after(line, file)),
                len(kept),
            )
            while place and not _ENTRY.match(
                kept[place - 1]
            ):  # a comment belongs to what follows it
                place -= 1
            kept.insert(place, f"{indent}- {file}\n")
            changes.append(f"{stage}: +{file}")
        lines[begin:end] = kept
    return "".join(lines), changes


def _deps(lines: list[str], stage: str) -> tuple[int, int]:
    """Return where a stage's list of dependencies begins and ends."""
    start = next(
        number
        for number, line in enumerate(lines)
        if re.match(rf"  {re.escape(stage)}:\s*(#.*)?$", line)
    )
    begin = (
        next(
            number
            for number in range(start, len(lines))
            if re.match(r"\s+deps:\s*(#.*)?$", lines[number])
        )
        + 1
    )
    end = next(
        n
        for n in range(begin, len(lines) + 1)
        if n == len(lines) or not re.match(r"\s*(- |#|$)", lines[n])
    )
    return begin, end


def _path(line: str) -> str | None:
    return found[2] if (found := _ENTRY.match(line)) else None


def _own(line: str) -> bool:
    return (_path(line) or "").startswith(OWN)


def _after(line: str, file: str) -> bool:
    """Whether an entry stands behind `file`: the library first, then the scripts, then data; by
    name.
    """
    return not _own(line) or _path(line) > file


def main() -> None:
    """Rewrite dvc.yaml where it is wrong and print what changed."""
    from earshot.runtime.files import atomic

    path = pipeline_graph.ROOT / "dvc.yaml"
    text, changes = rewrite(path.read_text())
    if changes:
        with atomic(Path(path)) as partial:
            partial.write_text(text)
    print("\n".join(changes) or "dvc.yaml says so already")


if __name__ == "__main__":
    sys.path.insert(0, str(pipeline_graph.SOURCE))
    main()
