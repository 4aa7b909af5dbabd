"""Batches: each passage once with all its items, in a view it has; order and views decided by seed
and epoch.
"""

import numpy as np
import pytest
import torch
from learning import ABOUT_EIGHT, CLASSES, TASK, eight_sequences, item, mel_store, scene
from students import bilstm, recurrent

from earshot.models.heads import ABSENT
from earshot.training.batches import Loader, collate
from earshot.training.output import run


@pytest.fixture
def mel(tmp_path):
    return eight_sequences(tmp_path / "mel.parquet")


@pytest.fixture
def items():
    return ABOUT_EIGHT.copy()


def test_a_batch_holds_each_passage_once_and_all_its_items(mel, items):
    groups = [(("u3",), 0, [items[4], items[5]]), (("u7", "u0"), 0, [items[-1]])]
    batch = collate(groups, mel, TASK)
    assert batch.lengths.tolist() == [15, 33]
    assert batch.sequences.shape == (2, 33, 4)
    assert np.array_equal(batch.sequences[0, :15].numpy(), mel["u3"].astype(np.float32))
    assert batch.sequences[0, 15:].abs().max() == 0
    assert np.array_equal(
        batch.sequences[1].numpy(), np.concatenate([mel["u7"], mel["u0"]]).astype(np.float32)
    )
    assert batch.passage.tolist() == [0, 0, 1]
    assert batch.views == [0, 0, 0]
    assert batch.items == [items[4], items[5], items[-1]]
    assert batch.targets["answers"].tolist() == [0, 1, 1]
    assert batch.inputs["options"].shape[:2] == (3, 3)
    assert batch.inputs["options"][2, 2].abs().max() == 0  # the last item has two options


def test_batching_changes_no_logit(mel, items):
    model = bilstm(recurrent(text=TASK.text), 4)

    def answers(size: int) -> list[tuple[str, torch.Tensor]]:
        batches = list(Loader(items, mel, TASK, size))
        rows = [row for batch in batches for row in run(model, TASK, batch)[1].logits["answers"]]
        ids = [asked.id for batch in batches for asked in batch.items]
        return list(zip(ids, rows, strict=True))

    whole = dict(answers(8))
    for id, row in answers(1):
        assert torch.allclose(row, whole[id][: len(row)], atol=1e-6)
    assert whole["two"][2] == ABSENT


def test_an_epoch_is_every_item_once_in_an_order_of_its_own(mel, items):
    loader = Loader(items, mel, TASK, 3)
    assert len(loader) == 3  # eight passages

    def order(loader: Loader, seed: int, epoch: int) -> list[str]:
        return [asked.id for batch in loader.shuffled(seed, epoch) for asked in batch.items]

    orders = [order(loader, 0, epoch) for epoch in range(20)]
    for one in orders:
        assert sorted(one) == sorted(asked.id for asked in items)
    assert len(set(map(tuple, orders))) > 1
    assert order(Loader(items, mel, TASK, 3), 1, 0) == order(loader, 1, 0) != orders[0]
    assert [batch.lengths.tolist() for batch in loader] == [[6, 9, 12], [15, 18, 21], [24, 33]]


def test_training_hears_one_of_the_views_held_each_epoch_scoring_the_clip_itself(tmp_path):
    views = {"u0": (0, 1, 2), "u1": (0,), "u2": (0, 1, 2), "u3": (0, 2, 5)}
    held = [(id, view) for id, some in views.items() for view in some]
    number = {key: n for n, key in enumerate(held)}
    frames = {key: np.full((4, 2), n, np.float16) for key, n in number.items()}
    store = mel_store(tmp_path / "views.parquet", frames)
    about = (["u0"], ["u1"], ["u2", "u3"], ["u2", "u3"], ["u3"])
    asked = [item(f"i{n}", utterances) for n, utterances in enumerate(about)]
    # views all utterances have
    expected = {("u0",): {0, 1, 2}, ("u1",): {0}, ("u2", "u3"): {0, 2}, ("u3",): {0, 2, 5}}

    def heard(batches) -> dict[tuple[str, ...], int]:
        views = {}
        for batch in batches:
            for one, view, passage in zip(batch.items, batch.views, batch.passage, strict=True):
                frames = batch.sequences[passage, :, 0].tolist()
                assert frames[: 4 * len(one.utterances)] == [
                    number[u, view] for u in one.utterances for _ in range(4)
                ]
                # a passage's items hear the same
                assert views.setdefault(one.utterances, view) == view
        return views

    loader = Loader(asked, store, TASK, 2, views=True)
    epochs = [heard(loader.shuffled(0, epoch)) for epoch in range(60)]
    assert {audio: {views[audio] for views in epochs} for audio in expected} == expected
    again = Loader(asked, store, TASK, 2, views=True)
    assert [heard(again.shuffled(0, epoch)) for epoch in range(60)] == epochs
    assert [heard(loader.shuffled(1, epoch)) for epoch in range(60)] != epochs
    clean = dict.fromkeys(expected, 0)
    assert heard(loader) == clean
    without = Loader(asked, store, TASK, 2)
    assert all(heard(without.shuffled(0, epoch)) == clean for epoch in range(20))


def test_without_options_to_read_a_batch_has_none(mel):
    asked = [scene("u0", 2), scene("u1", 0, "pool")]
    (batch,) = Loader(asked, mel, CLASSES, 2)
    assert batch.inputs == {} and batch.targets["answers"].tolist() == [2, -1]


def test_a_last_batch_of_one_passage_joins_the_one_before_it(mel, items):
    for size, sizes in {3: [3, 3, 2], 7: [8], 8: [8], 9: [8], 5: [5, 3], 1: [1] * 8}.items():
        loader = Loader(items, mel, TASK, size)  # eight passages
        assert [len(batch.lengths) for batch in loader] == sizes and len(loader) == len(sizes)
        assert sorted(len(batch.lengths) for batch in loader.shuffled(0, 0)) == sorted(sizes)
    (only,) = Loader(items[:1], mel, TASK, 4)  # what else
    assert len(only.lengths) == 1


def test_clips_of_one_length_are_mixed_whatever_order_they_come_in(tmp_path):
    """Listed class by class and equally long, they once filled batches with a single class."""
    asked = [
        item(f"{answer}-{number}", [f"u{answer}-{number}"], answer)
        for answer in range(3)
        for number in range(20)
    ]
    mel = mel_store(tmp_path / "mel.parquet", {one.utterances[0]: np.ones((5, 4)) for one in asked})
    for batch in Loader(asked, mel, TASK, 20).shuffled(0, 0):
        assert np.bincount([one.answer for one in batch.items], minlength=3).max() < 15
