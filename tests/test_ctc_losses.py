"""Losses on frames: CTC of a two-symbol clip by hand, frames selected by hand, rates of 2 to 1."""

from math import log

import pytest
import torch

from earshot.training import losses

BLANK, A, B = range(3)


def logs(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float64).log()


def test_ctc_of_two_symbols_by_hand():
    # Three frames, "ab". Paths: aab abb ab- a-b -ab.
    frames = logs([0.2, 0.5, 0.3], [0.4, 0.3, 0.3], [0.1, 0.2, 0.7])
    paths = [
        0.5 * 0.3 * 0.7,  # a a b
        0.5 * 0.3 * 0.7,  # a b b
        0.5 * 0.3 * 0.1,  # a b -
        0.5 * 0.4 * 0.7,  # a - b
        0.2 * 0.3 * 0.7,  # - a b
    ]
    symbols, counts = torch.tensor([[A, B]]), torch.tensor([2])
    value = losses.ctc(frames, torch.tensor([3]), symbols, counts)
    assert value.item() == pytest.approx(-log(sum(paths)) / 2, rel=1e-9)
    # one more item, of one frame and one symbol, and one without transcript: the mean of two
    padded = torch.cat([frames, frames, frames])
    many = torch.tensor([[A, B], [A, BLANK], [BLANK, BLANK]])
    value = losses.ctc(padded, torch.tensor([3, 1, 3]), many, torch.tensor([2, 1, 0]))
    assert value.item() == pytest.approx((-log(sum(paths)) / 2 - log(0.5)) / 2, rel=1e-9)


def test_ctc_without_transcripts_is_zero_with_zero_gradient():
    frames = torch.randn(2, 4, 3, requires_grad=True)
    counts = torch.tensor([4, 4])
    value = losses.ctc(frames, counts, torch.zeros(2, 1, dtype=torch.long), torch.zeros(2).long())
    value.backward()
    assert value.item() == 0 and not frames.grad.any()


def test_equal_neighbours_need_a_blank_between_them():
    symbols = torch.tensor([[A, A, B], [A, B, BLANK], [BLANK, BLANK, BLANK]])
    assert losses.frames_needed(symbols, torch.tensor([3, 2, 0])).tolist() == [4, 2, 0]
    exact = torch.randn(1, 4, 3)
    assert losses.ctc(exact, torch.tensor([4]), symbols[:1], torch.tensor([3])).isfinite()
    assert losses.ctc(exact, torch.tensor([3]), symbols[:1], torch.tensor([3])).isinf()


def test_frame_kl_by_hand_and_zero_where_posteriors_agree():
    # KL((2, 1, 1)/4 ‖ (1, 1, 2)/4) = ½ ln 2 + 0 − ¼ ln 2
    teacher = logs([0.5, 0.25, 0.25], [0.2, 0.3, 0.5])
    student = logs([0.25, 0.25, 0.5], [0.2, 0.3, 0.5]).requires_grad_()
    both = torch.ones(1, 2, dtype=torch.bool)
    value = losses.frame_kl(student, teacher, both)
    assert value.item() == pytest.approx(log(2) / 8, rel=1e-9)
    value = losses.frame_kl(student + 3, teacher, torch.tensor([[False, True]]))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max() < 1e-12
    assert losses.frame_kl(student, teacher, ~both).item() == 0


def said(*symbols: int) -> torch.Tensor:
    """Log-posteriors of frames whose most probable symbols these are."""
    return torch.eye(3)[list(symbols)].add(0.1).log()[None]


def test_frames_are_selected_about_symbols():
    frames = said(BLANK, BLANK, A, BLANK, BLANK, BLANK, B, BLANK)
    real = torch.arange(8)[None] < 7  # the last is padding
    kept = {
        around: losses.spoken(frames, real, around)[0].int().tolist() for around in (None, 0, 1)
    }
    assert kept[None] == [1, 1, 1, 1, 1, 1, 1, 0]
    assert kept[0] == [0, 0, 1, 0, 0, 0, 1, 0]
    assert kept[1] == [0, 1, 1, 1, 0, 1, 1, 0]
    outside = said(BLANK, A)
    assert losses.spoken(outside, torch.tensor([[True, False]]), 1).sum() == 0


def test_of_two_frames_the_less_blank_one_speaks():
    # 50 frames a second against 25: (- a) (b -) (- -) and one that stands alone
    frames = said(BLANK, A, B, BLANK, BLANK, BLANK, A)
    lengths = torch.tensor([7])
    found = losses.at_rate(frames, lengths, 4, torch.tensor([4]))
    assert found.argmax(-1).tolist() == [[A, B, BLANK, A]]
    doubled = losses.at_rate(frames, lengths, 14, torch.tensor([14]))
    assert torch.equal(doubled, frames.repeat_interleave(2, 1))


def test_at_half_as_many_frames_again_each_of_the_teachers_stands_once():
    # 50 frames a second against 33: (A) (- B) (-) (- A)
    frames = said(A, BLANK, B, BLANK, BLANK, A)
    found = losses.at_rate(frames, torch.tensor([6]), 4, torch.tensor([4]))
    assert found.argmax(-1).tolist() == [[A, B, BLANK, A]]
    slower = said(A, B, BLANK, A)  # and the other way round
    found = losses.at_rate(slower, torch.tensor([4]), 6, torch.tensor([6]))
    assert found.argmax(-1).tolist() == [[A, A, B, BLANK, BLANK, A]]


def test_frames_of_nearly_the_same_rate_stay_where_they_are():
    frames = said(A, B, BLANK, A)
    found = losses.at_rate(frames, torch.tensor([4]), 6, torch.tensor([5]))
    assert torch.equal(found[:, :4], frames)
    assert torch.equal(found[:, 4], frames[:, 3])  # held


def test_padding_of_either_side_changes_nothing():
    torch.manual_seed(0)
    one, other = torch.randn(1, 12, 3).log_softmax(-1), torch.randn(1, 6, 3).log_softmax(-1)
    student = torch.randn(1, 7, 3)

    def value(teacher, lengths, student, counts):
        frames = losses.at_rate(teacher, lengths, student.shape[1], counts)
        real = torch.arange(student.shape[1])[None] < counts[:, None]
        return losses.frame_kl(student, frames, losses.spoken(frames, real, 1))

    alone = value(one, torch.tensor([12]), student, torch.tensor([7]))
    more = torch.nn.functional.pad(one, (0, 0, 0, 5))
    wide = torch.nn.functional.pad(student, (0, 0, 0, 3), value=9.0)
    assert value(more, torch.tensor([12]), wide, torch.tensor([7])) == pytest.approx(alone.item())
    assert other.shape[1] < one.shape[1]


def test_frame_mse_by_hand():
    student, teacher = torch.tensor([[[1.0, 2.0], [5.0, 5.0]]]), torch.zeros(1, 2, 2)
    real = torch.tensor([[True, False]])
    assert losses.frame_mse(student, teacher, real).item() == 2.5


def test_attention_mse_by_hand_and_whatever_the_widths():
    real = torch.tensor([[True, True, True, False]])
    student = torch.tensor([[[0.0], [1.0], [5.0], [9.0]]])  # about their mean: −2, −1, 3
    teacher = torch.tensor([[[2.0, 1.0], [0.0, 1.0], [1.0, 1.0], [7.0, 7.0]]])  # (1, 0), (−1, 0), 0
    # S: like signs 1, others −1; T: 1 on the first two places, −1 between them, else 0
    squares = [0, 4, 1, 4, 0, 1, 1, 1, 1]
    value = losses.attention_mse(student, teacher, real).item()
    assert value == pytest.approx(sum(squares) / 9)
    turned = 3 * student @ torch.tensor([[0.6, 0.8]]) + 2
    assert losses.attention_mse(turned, teacher, real).item() == pytest.approx(value)
    assert losses.attention_mse(turned, student, real).item() == pytest.approx(0, abs=1e-6)


def test_constant_frames_are_no_way_down_to_a_teachers_attention():
    rng = torch.Generator().manual_seed(0)
    teacher, real = torch.randn(2, 9, 5, generator=rng), torch.ones(2, 9).bool()
    constant = torch.ones(2, 9, 3, requires_grad=True)
    worst = losses.attention_mse(constant, teacher, real)
    assert worst > 0.1
    worst.backward()
    assert torch.isfinite(constant.grad).all()
