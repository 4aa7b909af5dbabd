"""The paper's student: a bidirectional LSTM over log-mel frames, mean over time, options read by
the head.
"""

import torch
from torch import nn

from earshot.models.ctc import ctc_head, language_embedding
from earshot.models.heads import inside, mean_of
from earshot.models.pruning import Group, Place
from earshot.models.stack import stack_frames
from earshot.params import BiLSTM
from earshot.tasks.task import Task


def reverse_within(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Reverse each sequence of `(B, T, D)` within its own length; padding stays at the end."""
    batch, size, _ = frames.shape
    steps = torch.arange(size, device=frames.device)[None]
    source = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)  # (B, T)
    rows = source + size * torch.arange(batch, device=frames.device)[:, None]
    # whole rows: `gather` copies number by number, for twice the time
    return frames.flatten(0, 1).index_select(0, rows.flatten()).view_as(frames)


class BiLSTMStudent(nn.Module):
    """X → H = BiLSTM(X) → h_avg → logits, eqs. (1)–(3).

    Each direction is its own `nn.LSTM`, the backward one fed with sequences reversed within their
    length: padding then changes nothing, and CPUs are spared `pack_padded_sequence`, which is
    several times slower there.
    """

    def __init__(self, params: BiLSTM, n_mels: int, task: Task):
        super().__init__()
        self.width = 2 * params.hidden
        self.stack = params.stack
        self.strides = [params.stack] * params.layers
        widths = [n_mels * params.stack, *[self.width] * (params.layers - 1)]
        self.ahead = nn.ModuleList(
            nn.LSTM(width, params.hidden, batch_first=True) for width in widths
        )
        self.behind = nn.ModuleList(
            nn.LSTM(width, params.hidden, batch_first=True) for width in widths
        )
        self.dropout = nn.Dropout(params.dropout)
        languages = params.languages, params.language
        self.head = ctc_head(task, self.width, *languages)
        self.language = language_embedding(*languages, widths[0])

    def encode(
        self, mel: torch.Tensor, lengths: torch.Tensor, language: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return h_avg `(B, 2·hidden)` of log-mel `(B, T, n_mels)`, lengths `(B,)` in frames, and
        the layers' outputs. With `language`, probabilities `(B, K)`, their embedding is added to
        every stack.

        Each layer's is `(B, ⌈T/stack⌉, 2·hidden)`; what lies beyond a clip's length means nothing.
        """
        stacked, lengths = stack_frames(mel, lengths, self.stack)
        frames, layers = stacked, []
        if language is not None:
            frames = frames + self.language(language)[:, None]
        for ahead, behind in zip(self.ahead, self.behind, strict=True):
            backward = reverse_within(behind(reverse_within(frames, lengths))[0], lengths)
            frames = self.dropout(torch.cat([ahead(frames)[0], backward], dim=-1))
            layers.append(frames)
        return mean_of(frames, self._real(stacked, lengths)), layers

    def real(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return which stacks count `(B, ⌈T/stack⌉)`: neither padding nor silence.

        A silent frame is all zeros (`features.silence_db`). Where nothing else is left, silence
        counts.
        """
        return self._real(*stack_frames(mel, lengths, self.stack))

    @staticmethod
    def _real(stacked: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        real = inside(lengths, stacked.shape[1])
        audible = real & (stacked != 0).any(-1)  # (B, T)
        return torch.where(audible.any(1, keepdim=True), audible, real)

    def groups(self) -> list[Group]:
        """Return the hidden units of each layer and direction."""
        return [
            Group(self.width // 2, [*self._makes(name, layer), *self._reads(layer + 1, start)])
            for layer in range(len(self.ahead))
            for name, start in (("ahead", 0), ("behind", self.width // 2))
        ]

    @staticmethod
    def _makes(direction: str, layer: int) -> list[Place]:
        """Return where a direction of a layer has its units' weights, of four gates each."""
        prefix = f"{direction}.{layer}"
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        gates = [Place(f"{prefix}.{name}", 0, repeats=4) for name in names]
        return [*gates, Place(f"{prefix}.weight_hh_l0", 1)]

    def _reads(self, layer: int, start: int) -> list[Place]:
        """Return where what comes behind reads units that begin at `start`: a layer, or the
        head.
        """
        if layer < len(self.ahead):
            names = [f"{direction}.{layer}.weight_ih_l0" for direction in ("ahead", "behind")]
            return [Place(name, 1, start) for name in names]
        return [Place(f"head.{name}", axis, start) for name, axis in self.head.of_width.items()]

    def pool(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return h_avg alone, `(B, 2·hidden)`."""
        return self.encode(mel, lengths)[0]
