"""What turns an encoded passage into an answer.

B passages, N items about them, T frames, C options, D the encoder's width, E a text's.
"""

import math
from typing import ClassVar, NamedTuple

import torch
from torch import nn

from earshot.params import Text
from earshot.text import PADDING

# logit of an option that an item does not have: finite, so that 0 · log 0 never arises
ABSENT = -1e4
_SMALL = 0.02  # spread of vectors that have learned nothing


class Encoded(NamedTuple):
    """What an encoder makes of B passages, for the N items about them."""

    pooled: torch.Tensor  # (N, D) of each item's passage
    layers: list[torch.Tensor]  # (B, T_l, D_l), the lowest first
    real: torch.Tensor  # (B, T) which frames of the last layer count
    counts: torch.Tensor  # (B,) how many frames of the last layer there are, silent ones too
    passage: torch.Tensor  # (N,) which passage an item is about
    language: torch.Tensor | None = None  # (N, K) logits of languages, where a head has them
    shares: torch.Tensor | None = None  # (N, K) their probabilities, or one-hot what was given


def encode(
    model: nn.Module,
    sequences: torch.Tensor,
    lengths: torch.Tensor,
    passage: torch.Tensor,
    given: torch.Tensor | None = None,
) -> Encoded:
    """Return what a model's encoder makes of sequences `(B, T, F)` of `lengths` `(B,)` frames.

    `shares` are the probabilities of the language head, or the `given` one-hot rows `(B, K)` where
    these are not all zeros. A student conditioned on the language encodes a clip twice: without it,
    for those, and then with them. So the language head never sees the answer. No gradient passes
    from the shares into that head: it learns languages from their labels alone.
    """
    pooled, layers = model.encode(sequences, lengths)
    language = shares = None
    if getattr(model.head, "languages", ()):
        language = model.head.language(pooled)  # (B, K)
        shares = language.softmax(-1).detach()
        if given is not None:
            shares = torch.where(given.any(1, keepdim=True), given.to(shares), shares)
        if model.head.conditioning:
            pooled, layers = model.encode(sequences, lengths, shares)
        language, shares = language[passage], shares[passage]
    real = model.real(sequences, lengths)
    counts = frame_counts(model, lengths)
    return Encoded(pooled[passage], layers, real, counts, passage, language, shares)


def frame_counts(model: nn.Module, lengths: torch.Tensor) -> torch.Tensor:
    """Return how many frames `(B,)` a model's last layer has for sequences of `lengths` `(B,)`."""
    return -(-lengths // model.strides[-1])


def inside(lengths: torch.Tensor, frames: int) -> torch.Tensor:
    """Return which of `frames` frames are real `(B, T)`, for lengths `(B,)`."""
    return torch.arange(frames, device=lengths.device)[None] < lengths[:, None]


def masked_mean(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the mean over time `(B, D)` of frames `(B, T, D)`, padding excluded."""
    return mean_of(frames, inside(lengths, frames.shape[1]))


def mean_of(frames: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return the mean `(B, D)` of the frames `(B, T, D)` that are `real` `(B, T)`."""
    return (frames * real.unsqueeze(-1)).sum(1) / real.sum(1, keepdim=True)


def mean_token(table: nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
    """Return the mean embedding `(…, E)` of texts' ids `(…, L)`, padding excluded."""
    present = (ids != PADDING).unsqueeze(-1)
    return (table(ids) * present).sum(-2) / present.sum(-2).clamp(min=1)


class OptionHead(nn.Module):
    """Eq. (3) with options that are read: row i of W is an embedding e(q, oᵢ) of question and
    option.

    logitsᵢ = e(q, oᵢ) · h. The printed b is the same for every option and cancels in the softmax.
    """

    of_width: ClassVar[dict[str, int]] = {"embed.2.weight": 0, "embed.2.bias": 0}

    def __init__(self, width: int, text: Text):
        super().__init__()
        self.tokens = nn.Embedding(text.buckets, text.dim, padding_idx=PADDING)
        self.embed = nn.Sequential(
            nn.Linear(2 * text.dim, 2 * text.dim), nn.ReLU(), nn.Linear(2 * text.dim, width)
        )

    def _pairs(self, questions: torch.Tensor, options: torch.Tensor) -> torch.Tensor:
        """Return the mean embeddings of each question and one of its options, `(N, C, 2·E)`."""
        question = mean_token(self.tokens, questions)  # (N, E)
        question = question.unsqueeze(1).expand(-1, options.shape[1], -1)  # (N, C, E)
        return torch.cat([question, mean_token(self.tokens, options)], dim=-1)

    def forward(
        self, encoded: Encoded, questions: torch.Tensor, options: torch.Tensor
    ) -> torch.Tensor:
        """Return logits `(N, C)` for question ids `(N, Lq)` and option ids `(N, C, Lo)`."""
        rows = self.embed(self._pairs(questions, options))  # (N, C, D)
        logits = (rows * encoded.pooled.unsqueeze(1)).sum(-1)
        return logits.masked_fill(options[..., 0] == PADDING, ABSENT)


class AttentiveHead(OptionHead):
    """Each option looks for itself: it weighs the frames before they are pooled.

    An option's embedding makes a key k(q, oᵢ) beside its row e(q, oᵢ). With a_it = softmax over t
    of s · k(q, oᵢ) · h_t / √D, logitsᵢ = Σ_t a_it e(q, oᵢ) · h_t. With all keys zero this is
    eq. (3). Keys start small and learn slowly, for their gradient passes the softmax: the sharpness
    s is how much faster.
    """

    of_width: ClassVar[dict[str, int]] = OptionHead.of_width | {"key.weight": 0, "key.bias": 0}

    def __init__(self, width: int, text: Text):
        super().__init__(width, text)
        hidden, _, _ = self.embed
        self.key = nn.Linear(hidden.out_features, width)
        self.divisor = math.sqrt(width) / text.sharpness

    def forward(
        self, encoded: Encoded, questions: torch.Tensor, options: torch.Tensor
    ) -> torch.Tensor:
        """Return logits `(N, C)` for question ids `(N, Lq)` and option ids `(N, C, Lo)`."""
        return self.attend(encoded, questions, options)[0]

    def attend(
        self, encoded: Encoded, questions: torch.Tensor, options: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits `(N, C)`, and the weight of each frame for each option `(N, C, T)`."""
        hidden, rectify, rows = self.embed
        active = rectify(hidden(self._pairs(questions, options)))  # (N, C, 2·E)
        frames = encoded.layers[-1][encoded.passage].transpose(1, 2)  # (N, D, T)
        real = encoded.real[encoded.passage]  # (N, T)
        scores = self.key(active) @ frames / self.divisor  # (N, C, T)
        weights = scores.masked_fill(~real.unsqueeze(1), -torch.inf).softmax(-1)
        logits = (weights * (rows(active) @ frames)).sum(-1)  # (N, C)
        return logits.masked_fill(options[..., 0] == PADDING, ABSENT), weights


class MatchingHead(nn.Module):
    """Tokens are vectors in the space of the frames, and an option is where it fits best.

    e(q, oᵢ) = g(q) ⊙ r(oᵢ): r is the mean of the option's tokens' vectors, g = 1 + W · mean of the
    question's. With z_it = e(q, oᵢ) · h_t and a_it = softmax over t of s · z_it, logitsᵢ =
    Σ_t a_it z_it. So no layer is shared by all words, which would have to learn where each of them
    lies from a few that are heard often. Vectors start near zero: one never heard says nothing.
    """

    of_width: ClassVar[dict[str, int]] = {"tokens.weight": 1, "gate.weight": 0, "gate.bias": 0}

    def __init__(self, width: int, text: Text):
        super().__init__()
        self.tokens = nn.Embedding(text.buckets, width, padding_idx=PADDING)
        nn.init.normal_(self.tokens.weight, std=_SMALL)
        nn.init.zeros_(self.tokens.weight[PADDING].data)
        self.questions = nn.Embedding(text.buckets, text.dim, padding_idx=PADDING)
        self.gate = nn.Linear(text.dim, width)
        self.sharpness = text.sharpness

    def forward(
        self, encoded: Encoded, questions: torch.Tensor, options: torch.Tensor
    ) -> torch.Tensor:
        """Return logits `(N, C)` for question ids `(N, Lq)` and option ids `(N, C, Lo)`."""
        return self.attend(encoded, questions, options)[0]

    def attend(
        self, encoded: Encoded, questions: torch.Tensor, options: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits `(N, C)`, and the weight of each frame for each option `(N, C, T)`."""
        gate = 1 + self.gate(mean_token(self.questions, questions))  # (N, D)
        rows = gate.unsqueeze(1) * mean_token(self.tokens, options)  # (N, C, D)
        frames = encoded.layers[-1][encoded.passage].transpose(1, 2)  # (N, D, T)
        real = encoded.real[encoded.passage].unsqueeze(1)  # (N, 1, T)
        matches = rows @ frames  # (N, C, T)
        weights = (self.sharpness * matches).masked_fill(~real, -torch.inf).softmax(-1)
        logits = (weights * matches).sum(-1)  # (N, C)
        return logits.masked_fill(options[..., 0] == PADDING, ABSENT), weights


HEADS: dict[str, type[nn.Module]] = {
    "mean": OptionHead,
    "attend": AttentiveHead,
    "match": MatchingHead,
}


class ClassHead(nn.Linear):
    """One output per class: logits `(N, C)` of pooled vectors `(N, D)`."""

    of_width: ClassVar[dict[str, int]] = {"weight": 1}
