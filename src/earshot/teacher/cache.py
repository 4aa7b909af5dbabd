"""Keeping a teacher's signals: parts first, each atomic, then one store a signal and its index."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from earshot.models import accelerator
from earshot.params import Cache
from earshot.runtime import parallel
from earshot.runtime.files import atomic_folder
from earshot.runtime.progress import chunks
from earshot.tables import sequences, signals
from earshot.tables.items import Item
from earshot.teacher.frames import Rows
from earshot.training.batches import Group, by_audio, common_views

Ask = Callable[[Sequence[Group]], Iterator[Rows]]


def write(
    folder: Path,
    ask: Ask,
    teacher: str,
    items: Sequence[Item],
    views: Mapping[str, Sequence[int]],
    params: Cache,
    engine: str = "local",
) -> None:
    """Ask the teacher all `items` in all views; write a store per signal to `folder`.

    `ask` is an `ask.Asker`, `teacher` its identity. Whole parts found in `folder` are kept. Several
    processes, or with `engine` 'ray' its workers, write parts of their own.
    """
    whole = signals.key(items, teacher, params.model_dump(), views)
    unfinished = folder / f"parts-{whole[:16]}"
    passages = sorted(by_audio(items).items(), key=lambda group: (len(group[0]), group[0]))
    parts = [unfinished / f"{number:05d}" for number in range(-(-len(passages) // params.part))]
    tasks = [
        (
            part,
            [(audio, view, group) for audio, group in some for view in common_views(audio, views)],
        )
        for part, some in zip(parts, chunks(passages, params.part), strict=True)
    ]
    missing = [task for task in tasks if not task[0].exists()]
    accelerator.wait()  # all look before anyone writes
    tasks = accelerator.share(missing)
    for _ in parallel.one_by_one(partial(_write_part, ask), tasks, "teacher's signals", engine):
        pass
    accelerator.wait()
    if accelerator.is_main():
        for name in sorted(file.name for file in parts[0].glob("*.parquet")):
            sequences.merge(folder / name, [part / name for part in parts])
        signals.write_index(folder, teacher, whole)
        shutil.rmtree(unfinished)
    accelerator.wait()


def _write_part(ask: Ask, task: tuple[Path, Sequence[Group]]) -> None:
    """Write a folder with a store per signal; where the folder is, it is complete."""
    part, groups = task
    with atomic_folder(part) as partial_folder, ExitStack() as stack:
        writers: dict[str, sequences.Writer] = {}
        for rows in ask(groups):
            for signal, some in rows.items():
                if signal not in writers:
                    width, dtype = some[0][2].shape[1], signals.DTYPES[signal]
                    path = partial_folder / f"{signal}.parquet"
                    writer = sequences.Writer(path, signal, width, dtype)
                    writers[signal] = stack.enter_context(writer)
                writers[signal].append(some)
