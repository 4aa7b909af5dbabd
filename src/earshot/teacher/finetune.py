"""Fine-tuning a teacher's top layers and head, from stored states of its last frozen layer."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from earshot.models import accelerator
from earshot.params import AnyTeacher as TeacherParams
from earshot.tables import sequences
from earshot.tables.items import Item
from earshot.tasks.task import Task
from earshot.teacher.kinds import AnyTeacher
from earshot.training.augment import augment_batch
from earshot.training.batches import Batch, Loader
from earshot.training.loop import OnEpoch, Trainer, validate
from earshot.training.output import Output


def fine_tune(
    teacher: AnyTeacher,
    task: Task,
    params: TeacherParams,
    states: sequences.Store,
    training: Sequence[Item],
    validation: Sequence[Item],
    seed: int,
    scratch: Path,
    on_epoch: OnEpoch,
) -> float:
    """Tune on labelled items, keep the epoch best on `validation`, return the seconds spent."""
    train = Loader(training, states, task, params.batch, params.augment.views)
    held_out = Loader(validation, states, task, params.batch)

    def hard_labels(output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        return {"loss": batch.share.labelled * task.loss(output, batch)}

    trainer = Trainer(
        teacher,
        task,
        hard_labels,
        epochs=params.epochs,
        steps_per_epoch=len(train),
        learning_rate=params.learning_rate,
        schedule=params.schedule,
        warmup=params.warmup,
        weight_decay=params.weight_decay,
        seed=seed,
        scratch=scratch,
        on_epoch=on_epoch,
    )
    rank, processes = accelerator.rank(), accelerator.processes()

    def batches(epoch: int) -> Iterator[Batch]:
        for batch in train.shuffled(seed, epoch, rank, processes):
            augment_batch(batch, params.augment)
            yield batch

    return trainer.fit(batches, lambda model: validate(model, held_out))
