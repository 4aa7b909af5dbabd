"""Asking a teacher of any kind: its answers to items, and the signals that students learn from."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from earshot.features.recordings import Recordings
from earshot.models import accelerator
from earshot.params import AnyTeacher as TeacherParams
from earshot.params import Cache
from earshot.tables.items import Item
from earshot.tasks.task import Score, Task
from earshot.teacher import frames, transcripts
from earshot.teacher.frames import Rows
from earshot.teacher.kinds import AnyTeacher
from earshot.teacher.saved import load
from earshot.training.batches import Group

# How teachers answer, by their `output`: each module has `signals`, `answers` and `respond`.
WAYS = {"frames": frames, "text": transcripts}


def answers(
    teacher: AnyTeacher, task: Task, recordings: Recordings, items: Sequence[Item]
) -> dict[str, np.ndarray]:
    """Return the teacher's answer to each item, keyed by item id."""
    return WAYS[teacher.output].answers(teacher, task, recordings, items)


def score(teacher: AnyTeacher, task: Task, recordings: Recordings, items: Sequence[Item]) -> Score:
    """Return the score of the teacher's answers to items; processes share them."""
    some = accelerator.share(items)
    given = answers(teacher, task, recordings, some) if some else {}
    counts = accelerator.gathered([task.count(given[item.id], item) for item in some])
    return task.score(sum(counts))


class Asker:
    """The signals of a saved teacher, which is loaded in whichever process first needs it."""

    def __init__(
        self, params: TeacherParams, kind: str, folder: Path, recordings: Recordings, cache: Cache
    ):
        self._params, self._kind, self._folder = params, kind, folder
        self._recordings, self._cache = recordings, cache

    @cached_property
    def _loaded(self) -> tuple[AnyTeacher, Task]:
        torch.set_num_threads(1)
        return load(self._params, self._kind, self._folder)

    def __call__(self, groups: Iterable[Group]) -> Iterator[Rows]:
        teacher, task = self._loaded
        ways = WAYS[teacher.output]
        return ways.signals(teacher, task, self._recordings, self._cache, groups)
