"""The table of tasks: how models are scored that answer the test items, and what is drawn of it."""

from collections.abc import Callable
from typing import NamedTuple

from earshot.evaluation import (
    choice,
    classes,
    hypotheses,
    plots,
    robustness,
    submission,
    transcripts,
)
from earshot.evaluation.doubts import doubts


class Scores(NamedTuple):
    """What `evaluate` asks of a task; all tasks take the same arguments."""

    metric: str  # what its models are judged by
    quality: Callable
    device_groups: Callable
    standing: Callable  # how models stand noise, rooms and the like
    hand_in: Callable
    doubts: Callable
    draw: Callable


_KEPT = (robustness.table, submission.hand_in, doubts, plots.draw)
SCORES = {
    "choice": Scores("accuracy", choice.quality, choice.device_groups, *_KEPT),
    "classes": Scores("accuracy", classes.quality, classes.device_groups, *_KEPT),
    "transcript": Scores(
        hypotheses.METRIC,
        transcripts.quality,
        transcripts.device_groups,
        transcripts.standing,
        hypotheses.hand_in,
        transcripts.doubts,
        hypotheses.draw,
    ),
}
