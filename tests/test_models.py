"""The student and the head that reads options: padding, order and presence of options, sizes."""

import math

import pytest
import torch
from students import bilstm, numbered, recurrent
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from earshot.models.bilstm import BiLSTMStudent, reverse_within
from earshot.models.heads import (
    ABSENT,
    HEADS,
    AttentiveHead,
    ClassHead,
    Encoded,
    MatchingHead,
    OptionHead,
    masked_mean,
)
from earshot.models.stack import stack_frames
from earshot.params import Text
from earshot.tasks.choice import Choice
from earshot.text import PADDING, encode_item

TEXT = Text(buckets=256, dim=8)


def student(stack: int = 1, layers: int = 2, n_mels: int = 5, **changes) -> BiLSTMStudent:
    known = {"hidden": 12, "stack": stack, "layers": layers, "text": TEXT}
    return bilstm(recurrent(**known | changes), n_mels, seed=0)


def mels(*lengths: int, width: int = 5) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(length, width) for length in lengths]


def batch(sequences: list[torch.Tensor], extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    return nn.functional.pad(padded, (0, 0, 0, extra)), lengths


def head(pool: str, width: int = 6) -> OptionHead:
    torch.manual_seed(2)
    reader = HEADS[pool](width, TEXT).eval()
    if isinstance(reader, MatchingHead):  # as if it had learned
        reader.tokens.weight.data *= 50
    return reader


def encoded(count: int = 1, frames: int = 5, width: int = 6) -> Encoded:
    """Passages, each with an item about it."""
    outputs = torch.randn(count, frames, width, generator=torch.Generator().manual_seed(3))
    real = torch.ones(count, frames, dtype=torch.bool)
    lengths = torch.full((count,), frames)
    return Encoded(outputs.mean(1), [outputs], real, lengths, torch.arange(count))


def asked(question: str, *options: str) -> tuple[torch.Tensor, torch.Tensor]:
    ids, option_ids = encode_item(question, options, TEXT.buckets)
    return torch.from_numpy(ids)[None], torch.from_numpy(option_ids)[None]


def test_masked_mean_by_hand():
    frames = torch.tensor([[[1.0, 2], [3, 6], [1e9, 1e9]], [[5, 5], [7, 9], [0, 4]]])
    assert masked_mean(frames, torch.tensor([2, 3])).tolist() == [[2, 4], [4, 6]]


def test_frames_are_stacked_in_order_and_the_last_stack_filled_with_zeros():
    mel = torch.arange(1.0, 11).reshape(1, 5, 2)
    stacked, lengths = stack_frames(mel, torch.tensor([5]), 2)
    assert stacked.tolist() == [[[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 0, 0]]]
    assert lengths.tolist() == [3]
    assert stack_frames(mel, torch.tensor([4]), 4)[1].tolist() == [1]
    assert torch.equal(stack_frames(mel, torch.tensor([5]), 1)[0], mel)


def test_sequences_are_reversed_within_their_length():
    frames = torch.arange(8.0).reshape(2, 4, 1)
    assert reverse_within(frames, torch.tensor([4, 2]))[..., 0].tolist() == [
        [3, 2, 1, 0],
        [5, 4, 6, 7],
    ]


def test_padding_changes_no_gradient():
    sequences = mels(13, 4, 31)
    together, alone = student(4), student(4)
    together.pool(*batch(sequences, extra=9)).square().sum().backward()
    for sequence in sequences:
        alone.pool(*batch([sequence])).square().sum().backward()
    for part in ("ahead", "behind"):
        named = getattr(together, part).named_parameters()
        for (name, one), other in zip(named, getattr(alone, part).parameters(), strict=True):
            assert one.grad.abs().max() > 0, name
            assert torch.allclose(one.grad, other.grad, atol=1e-5), name


@pytest.mark.parametrize("stack", [1, 2, 4, 8])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_it_is_torchs_own_bidirectional_lstm_and_padding_changes_nothing(stack, layers):
    model, sequences = student(stack, layers), mels(13, 16, 1, 7, 31)
    torchs = nn.LSTM(5 * stack, 12, num_layers=layers, bidirectional=True, batch_first=True)
    for layer in range(layers):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            for direction, suffix in ((model.ahead, ""), (model.behind, "_reverse")):
                own = getattr(direction[layer], f"{kind}_l0")
                getattr(torchs, f"{kind}_l{layer}{suffix}").data = own.data
    stacked, lengths = stack_frames(*batch(sequences), stack)
    packed = pack_padded_sequence(stacked, lengths, batch_first=True, enforce_sorted=False)
    frames, _ = pad_packed_sequence(torchs(packed)[0], batch_first=True)  # padding is zero here
    pooled = model.pool(*batch(sequences, extra=9))
    assert torch.allclose(pooled, frames.sum(1) / lengths[:, None], atol=1e-6)


def test_the_papers_student_has_the_papers_size():
    paper = student(stack=1, layers=2, hidden=512, n_mels=40, text=Text())
    lstm = sum(p.numel() for layers in (paper.ahead, paper.behind) for p in layers.parameters())
    # a direction of a layer: 4·512·(inputs + 512) weights and 2·4·512 biases, inputs 40, then 1024
    assert lstm == 2 * (2048 * (40 + 512) + 4096) + 2 * (2048 * (1024 + 512) + 4096) == 8_568_832
    assert sum(p.numel() for p in paper.parameters()) == pytest.approx(9.2e6, rel=0.03)


def test_dropout_acts_in_training_alone():
    model, sequence = student(dropout=0.5), mels(20)[0]
    assert torch.equal(model.pool(*batch([sequence])), model.pool(*batch([sequence])))
    model.train()
    assert not torch.equal(model.pool(*batch([sequence])), model.pool(*batch([sequence])))


def test_head_by_hand():
    reader = OptionHead(2, Text(buckets=16, dim=1))
    reader.tokens.weight.data = torch.arange(16.0)[:, None]  # the embedding of id i is i
    first, _, last = reader.embed
    first.weight.data, first.bias.data = torch.eye(2), torch.tensor([0.0, -3.5])
    last.weight.data, last.bias.data = torch.tensor([[1.0, 0], [0, 2]]), torch.tensor([0.5, 0.0])
    questions = torch.tensor([[2, 4, PADDING]])  # mean 3
    options = torch.tensor([[[5, PADDING], [3, 1]]])  # means 5 and 2
    # e(q, o) = (3 + ½, 2·max(0, o − 3.5)) = (3.5, 3) and (3.5, 0); with h = (−1, 1), of mean 0 and
    # variance 1: −½, −3½
    passage = Encoded(torch.tensor([[-1.0, 1]]), [], *[torch.tensor([])] * 3)
    logits = reader(passage, questions, options)
    assert logits.tolist()[0] == pytest.approx([-0.5, -3.5], rel=1e-4)


def test_attention_by_hand():
    reader = AttentiveHead(1, Text(buckets=16, dim=1))
    reader.tokens.weight.data = torch.arange(16.0)[:, None]  # the embedding of id i is i
    first, _, last = reader.embed
    first.weight.data, first.bias.data = torch.eye(2), torch.zeros(2)
    last.weight.data, last.bias.data = torch.tensor([[0.0, 1]]), torch.zeros(1)  # e = o
    reader.key.weight.data, reader.key.bias.data = torch.tensor([[1.0, 0]]), torch.zeros(1)  # k = q
    third = math.log(2)
    frames = torch.tensor([[[0.0], [third], [1e9]]])  # the last is padding
    real = torch.tensor([[True, True, False]])
    passage = Encoded(torch.zeros(1, 1), [frames], real, real.sum(1), torch.tensor([0]))
    logits, weights = reader.attend(passage, torch.tensor([[1]]), torch.tensor([[[2], [5]]]))
    # exp(k · h) is 1 and 2, so the frames weigh 1/3 and 2/3; h = 2/3 · ln 2, and e = 2 and 5
    assert weights.tolist()[0] == [pytest.approx([1 / 3, 2 / 3, 0])] * 2
    assert logits.tolist()[0] == pytest.approx([4 / 3 * third, 10 / 3 * third])
    # three times as sharp: the second frame weighs 8 times the first
    sharp = AttentiveHead(1, Text(buckets=16, dim=1, sharpness=3))
    sharp.load_state_dict(reader.state_dict())
    _, weights = sharp.attend(passage, torch.tensor([[1]]), torch.tensor([[[2], [5]]]))
    assert weights.tolist()[0] == [pytest.approx([1 / 9, 8 / 9, 0])] * 2


def test_matching_by_hand():
    reader = MatchingHead(1, Text(buckets=16, dim=1, pool="match", sharpness=2))
    reader.tokens.weight.data = torch.arange(16.0)[:, None]  # the vector of id i is i
    reader.questions.weight.data = torch.arange(16.0)[:, None]
    reader.gate.weight.data, reader.gate.bias.data = torch.tensor([[1.0]]), torch.tensor([-2.0])
    frames = torch.tensor([[[0.0], [math.log(2)], [1e9]]])  # the last is padding
    real = torch.tensor([[True, True, False]])
    passage = Encoded(torch.zeros(1, 1), [frames], real, real.sum(1), torch.tensor([0]))
    options = torch.tensor([[[1, PADDING], [1, 2], [PADDING, PADDING]]])
    logits, weights = reader.attend(passage, torch.tensor([[1, 3]]), options)
    # g = 1 + 2 − 2; e = 1 and 1½, so z of the second frame is ln 2 and 1½ ln 2; twice z in the
    # exponent: it weighs 4 and 8 times the first, whose z is 0
    assert weights[0, 0].tolist() == pytest.approx([1 / 5, 4 / 5, 0])
    assert weights[0, 1].tolist() == pytest.approx([1 / 9, 8 / 9, 0])
    expected = [4 / 5 * math.log(2), 8 / 9 * 1.5 * math.log(2), ABSENT]
    assert logits[0].tolist() == pytest.approx(expected)


def test_attention_without_keys_is_the_mean():
    plain, attentive = head("mean"), head("attend")
    attentive.load_state_dict(plain.state_dict(), strict=False)
    nn.init.zeros_(attentive.key.weight), nn.init.zeros_(attentive.key.bias)
    questions, ids = asked("what did Mary buy", "a red bike", "lamps")
    expected = plain(encoded(), questions, ids)
    assert torch.allclose(attentive(encoded(), questions, ids), expected, atol=1e-6)


def test_a_head_reads_options_or_has_fixed_classes():
    assert isinstance(Choice(TEXT).head(6), OptionHead)
    attending = TEXT.model_copy(update={"pool": "attend"})
    assert isinstance(Choice(attending).head(6), AttentiveHead)
    assert isinstance(numbered(10).head(6), ClassHead)
    assert bilstm(recurrent(hidden=4), 5, numbered(10)).head.weight.shape == (10, 8)


@pytest.mark.parametrize("stack", [1, 4])
def test_encoding_says_what_each_layer_said(stack):
    model, sequences = student(stack, layers=3), mels(13, 7)
    pooled, layers = model.encode(*batch(sequences))
    assert [tuple(layer.shape) for layer in layers] == [(2, -(-13 // stack), 24)] * 3
    assert torch.equal(model.pool(*batch(sequences)), pooled)
    assert torch.allclose(layers[-1][0].mean(0), pooled[0], atol=1e-6)
    shallow = student(stack, layers=3)
    shallow.ahead, shallow.behind = shallow.ahead[:2], shallow.behind[:2]
    assert torch.allclose(shallow.pool(*batch(sequences))[0], layers[1][0].mean(0), atol=1e-6)


@pytest.mark.parametrize("pool", HEADS)
def test_permuted_options_are_permuted_logits(pool):
    reader, passage = head(pool), encoded()
    options = ("a red bike", "lamps", "two very warm coats", "rain")
    questions, ids = asked("what did Mary buy", *options)
    logits = reader(passage, questions, ids)
    assert len(set(logits[0].tolist())) == 4
    for order in ([3, 0, 2, 1], [1, 2, 3, 0]):
        assert torch.allclose(
            reader(passage, questions, ids[:, order]), logits[:, order], atol=1e-6
        )


@pytest.mark.parametrize("pool", HEADS)
def test_an_absent_option_has_probability_zero_and_changes_no_other(pool):
    reader, passage = head(pool), encoded()
    questions, ids = asked("what did Mary buy", "a red bike", "lamps")
    padded = torch.full((1, 4, ids.shape[2] + 3), PADDING)
    padded[:, :2, : ids.shape[2]] = ids
    logits = reader(passage, nn.functional.pad(questions, (0, 5)), padded)
    assert torch.allclose(logits[:, :2], reader(passage, questions, ids), atol=1e-6)
    assert logits[0, 2:].tolist() == [ABSENT, ABSENT]
    assert logits.softmax(-1)[0, 2:].tolist() == [0, 0]
    logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in reader.parameters())
    assert reader.tokens.weight.grad[PADDING].abs().max() == 0


@pytest.mark.parametrize("pool", HEADS)
def test_question_options_and_audio_all_matter(pool):
    reader, passage, other = head(pool), encoded(), encoded(2)
    layers = [other.layers[0][1:]]
    other = Encoded(other.pooled[1:], layers, other.real[1:], other.counts[1:], other.passage[:1])
    questions, ids = asked("what did Mary buy", "a bike", "lamps")
    logits = reader(passage, questions, ids)
    lost, coats = asked("what did Mary lose", "x")[0], asked("x", "a bike", "coats")[1]
    for changed in ((passage, lost, ids), (passage, questions, coats), (other, questions, ids)):
        assert not torch.allclose(reader(*changed), logits, atol=1e-4)
