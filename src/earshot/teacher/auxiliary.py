"""Heads for every layer of a teacher, which layered distillation learns from."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch

from earshot.features.recordings import Recordings
from earshot.models import accelerator
from earshot.models.heads import ABSENT, masked_mean
from earshot.runtime.progress import chunks
from earshot.tables.items import Item
from earshot.tasks.task import Task
from earshot.teacher.frames import BATCH, all_views, frozen_batches, run_whole
from earshot.teacher.wav2vec2 import Teacher
from earshot.training.batches import by_audio

INVERSE_PENALTY = 0.1


@torch.inference_mode()
def fit_auxiliary(
    teacher: Teacher, task: Task, recordings: Recordings, training: Sequence[Item]
) -> None:
    """Fit a logistic regression of the label on each layer's mean over time; the encoder stays.

    Clips count in all their views. The penalty is that of standardised inputs.
    """
    means, answers = _inputs(teacher, task, recordings, training)
    for layer, head in enumerate(teacher.auxiliary):
        weight, bias = logistic_regression(means[:, layer], answers, len(head.weight))
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))


def _inputs(
    teacher: Teacher, task: Task, recordings: Recordings, training: Sequence[Item]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over time of every layer `(N, L, D)` and the answer `(N,)` of each item."""
    teacher.eval()
    batches = list(chunks(all_views(by_audio(training), recordings), BATCH))
    groups = chain.from_iterable(accelerator.share(batches))
    computed = []
    with accelerator.hosting(teacher):
        for some in frozen_batches(teacher, task, recordings, groups, whole=True):
            batch, output = run_whole(teacher, task, some)
            means = [masked_mean(layer, batch.lengths) for layer in output.layers]  # (B, D) each
            of_items = torch.stack(means, 1)[batch.passage]  # (N, L, D)
            computed.append((of_items.cpu(), batch.targets["answers"].cpu()))
    means, answers = zip(*accelerator.collect(computed), strict=True)
    return torch.cat(means).double().numpy(), torch.cat(answers).numpy()


def logistic_regression(
    inputs: np.ndarray, answers: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return weight `(C, D)` and bias `(C,)` fitted to inputs `(N, D)` and answers `(N,)`.

    A class that no item has gets zeros and the logit of what is absent.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(inputs)
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=300)
    model.fit(scaler.transform(inputs), answers)
    coefficients, intercept = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # of two classes sklearn keeps the difference alone
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    weight = np.zeros((classes, inputs.shape[1]))
    weight[model.classes_] = coefficients / scaler.scale_
    bias = np.full(classes, ABSENT)
    bias[model.classes_] = intercept - coefficients @ (scaler.mean_ / scaler.scale_)
    return weight, bias
