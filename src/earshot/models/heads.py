"""What turns a pooled audio vector into an answer."""

import torch
from torch import nn

from earshot.params import Text
from earshot.text import PADDING

# logit of an option that an item does not have: finite, so that 0 · log 0 never arises
ABSENT = -1e4


def masked_mean(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the mean over time `(B, D)` of frames `(B, T, D)`, padding excluded."""
    inside = (
        torch.arange(frames.shape[1], device=frames.device)[None, :, None] < lengths[:, None, None]
    )
    return (frames * inside).sum(1) / lengths[:, None]


class OptionHead(nn.Module):
    """Eq. (3) with options that are read: row i of W is an embedding e(q, oᵢ) of question and
    option.

    logitsᵢ = e(q, oᵢ) · h. The printed b is the same for every option and cancels in the softmax.
    """

    def __init__(self, width: int, text: Text):
        super().__init__()
        self.tokens = nn.Embedding(text.buckets, text.dim, padding_idx=PADDING)
        self.embed = nn.Sequential(
            nn.Linear(2 * text.dim, 2 * text.dim), nn.ReLU(), nn.Linear(2 * text.dim, width)
        )

    def _mean(self, ids: torch.Tensor) -> torch.Tensor:
        present = (ids != PADDING).unsqueeze(-1)
        return (self.tokens(ids) * present).sum(-2) / present.sum(-2).clamp(min=1)

    def forward(
        self, pooled: torch.Tensor, questions: torch.Tensor, options: torch.Tensor
    ) -> torch.Tensor:
        """Return logits `(N, C)` for pooled vectors `(N, D)`, question ids `(N, Lq)` and option ids
        `(N, C, Lo)`.
        """
        question = self._mean(questions)  # (N, E)
        question = question.unsqueeze(1).expand(-1, options.shape[1], -1)  # (N, C, E)
        rows = self.embed(torch.cat([question, self._mean(options)], dim=-1))  # (N, C, D)
        logits = (rows * pooled.unsqueeze(1)).sum(-1)
        return logits.masked_fill(options[..., 0] == PADDING, ABSENT)


class ClassHead(nn.Linear):
    """One output per class: logits `(N, C)` of pooled vectors `(N, D)`."""
