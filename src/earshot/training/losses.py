"""The loss terms of the papers, one pure function each. N items, C options or classes, D units.

Equations are the listening paper's unless stated otherwise.
"""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from earshot.models.heads import ABSENT

UNLABELLED = -1
_ZERO = 1e-8  # a shorter vector has no direction: cosine 0, and no gradient


def cross_entropy(logits: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Hard labels, eq. (6): −Σᵢ yᵢ log ŷᵢ, mean over the labelled items of `(N, C)` logits; zero
    when none is.

    `answers` `(N,)` holds UNLABELLED (−1) where the answer is unknown; soft ones `(N, C)` are
    shares of the options, all zero where unknown.
    """
    if answers.is_floating_point():
        total = -(answers * F.log_softmax(logits, dim=-1)).sum()
        return total / (answers.sum(-1) > 0).sum().clamp(min=1)
    total = F.cross_entropy(logits, answers, ignore_index=UNLABELLED, reduction="sum")
    return total / (answers != UNLABELLED).sum().clamp(min=1)


def kd(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Soft labels, eqs. (4)–(5): T² Σᵢ pᵢᵀ log(pᵢᵀ / pᵢˢ) with p = softmax(z/T), summed over
    options, mean over items.

    Averaging over options too would divide it by C.
    """
    log_student = F.log_softmax(student / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher / temperature, dim=-1)
    return temperature**2 * F.kl_div(
        log_student, log_teacher, reduction="batchmean", log_target=True
    )


def feature_mse(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Feature alignment, eq. (8): (1/N) Σⱼ ‖F_T⁽ʲ⁾ − F_S⁽ʲ⁾‖² of `(N, D)` vectors; the square is
    summed over units.
    """
    return (student - teacher).square().sum(-1).mean()


def front_alignment(
    student: torch.Tensor,
    teacher: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    lengths: torch.Tensor | None = None,
    teacher_lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """Front-end alignment, scenes paper eqs. (14)–(15): (1/N) Σᵢ (1 − cos(Z′_T(i), Z_S(i))).

    Z′_T = LayerNorm(W_p Z_T + b_p), without gain or shift of its own. `student` `(B, T, D)`,
    `teacher` `(B, U, E)`, W_p = `weight` `(D, E)`, b_p = `bias` `(D,)`. Z′_T is resampled linearly
    over time to the student's frames, of which N are real: `lengths` and `teacher_lengths` `(B,)`
    say which; without them all are. See `fixed_projection` for why W_p must not be learned.
    """
    if lengths is None:
        lengths = torch.full((len(student),), student.shape[1])
    if teacher_lengths is None:
        teacher_lengths = torch.full((len(teacher),), teacher.shape[1])
    lengths, teacher_lengths = lengths.to(student.device), teacher_lengths.to(student.device)
    projected = F.layer_norm(F.linear(teacher, weight, bias), bias.shape)
    target = F.normalize(resample(projected, teacher_lengths, student.shape[1], lengths), dim=-1)
    norm = student.norm(dim=-1)
    cosine = (student * target).sum(-1).masked_fill(norm < _ZERO, 0) / norm.clamp(min=_ZERO)
    real = torch.arange(student.shape[1], device=student.device) < lengths[:, None]
    return 1 - cosine[real].mean()


def resample(
    frames: torch.Tensor, lengths: torch.Tensor, size: int, to: torch.Tensor
) -> torch.Tensor:
    """Return `(B, size, D)`: each clip's first `lengths[b]` of frames `(B, U, D)` stretched
    linearly to `to[b]` frames.

    Frames stand for equal spans and are compared at their middles; the outermost hold beyond
    theirs.
    """
    middles = (torch.arange(size, device=frames.device) + 0.5).double() * (lengths.double() / to)[
        :, None
    ] - 0.5
    middles = torch.minimum(middles.clamp(min=0), (lengths - 1)[:, None])  # (B, size)
    before = middles.long()
    after = torch.minimum(before + 1, (lengths - 1)[:, None])
    share = (middles - before).unsqueeze(-1).to(frames.dtype)
    clip = torch.arange(len(frames), device=frames.device)[:, None]
    return torch.lerp(frames[clip, before], frames[clip, after], share)


def fixed_projection(
    teacher_mean: torch.Tensor, width: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return W_p `(D, E)` and b_p `(D,)` of eq. (14) for `width` = D, from the mean teacher frame
    `(E,)`.

    W_p is semi-orthogonal: as far as D allows it keeps angles. b_p = −W_p · mean takes out what all
    frames share, which a constant student could match. The paper learns W_p; then W_p = 0 with
    constant student features has loss 0, and nothing was learned. A fixed W_p leaves the teacher's
    frames as the only way down.
    """
    weight = torch.empty(width, len(teacher_mean), dtype=teacher_mean.dtype)
    torch.nn.init.orthogonal_(weight, generator=torch.Generator().manual_seed(seed))
    return weight, -weight @ teacher_mean


def temperature(step: int, t_max: float, t_min: float, beta: float) -> float:
    """Annealed temperature, scenes paper eq. (16) made to agree with its text: (T_max −
    T_min)·e^(−β·step) + T_min.

    As printed, T_max·e^(−βt) + T_min, it would start at 8 + 2 = 10, where the text says that 8 is
    its initial value.
    """
    return (t_max - t_min) * math.exp(-beta * step) + t_min


def layered_kd(
    student: Sequence[torch.Tensor], teacher: torch.Tensor, routes: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Layered soft labels, scenes paper eq. (17): Σₖ T² KL(softmax(z_Tᵏ/T) ‖ softmax(z_S/T)), mean
    over items and stages.

    `student` holds each of S stages' logits `(N, C)`, `teacher` `(N, L, C)` each layer's, and
    `routes` `(S, K)` the layers, from 0, that a stage learns from.
    """
    count = routes.shape[1]
    sources = teacher.movedim(1, 0)[routes]  # (S, K, N, C)
    answers = torch.stack(list(student)).unsqueeze(1).expand(-1, count, -1, -1)
    classes = teacher.shape[-1]
    return count * kd(answers.reshape(-1, classes), sources.reshape(-1, classes), temperature)


def ctc(
    logits: torch.Tensor, frames: torch.Tensor, symbols: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    """Connectionist temporal classification (Graves et al. 2006): −ln Σ_π Π_t p(π_t) / L over all
    paths π that write the L symbols of a transcript, mean over the labelled items; zero when none
    is.

    `logits` `(N, T, V)` of which the first `frames` `(N,)` are real; output 0 is the blank.
    `symbols` `(N, L)` of which the first `counts` `(N,)` are real, no count where the transcript
    is unknown. L divides, so that a long clip weighs no more than a short one. A transcript that
    needs more frames than there are has an infinite loss.
    """
    labelled = counts > 0
    if not labelled.any():
        return 0 * logits.sum()
    log_probabilities = F.log_softmax(logits[labelled], -1).transpose(0, 1)  # (T, N, V)
    lengths = frames[labelled], counts[labelled]
    total = F.ctc_loss(log_probabilities, symbols[labelled], *lengths, reduction="none")
    return (total / counts[labelled]).mean()


def frames_needed(symbols: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return how many frames `(N,)` CTC needs for symbols `(N, L)`, the first `counts` `(N,)` of
    them real and the rest blanks: one each, and a blank between equal ones.
    """
    equal = (symbols[:, 1:] == symbols[:, :-1]) & (symbols[:, 1:] != 0)
    return counts + equal.sum(1)


def frame_kl(student: torch.Tensor, teacher: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Frames' soft labels: KL(p_T ‖ p_S) of the frames that are `kept` `(N, T)`, their mean; zero
    when none is.

    `student` logits and `teacher` log-posteriors are `(N, T, V)`. It is L_distill of the small
    recogniser's paper, Σᵢ pᵢᵀ log(pᵢᵀ / pᵢˢ), frame by frame. Symbols that the teacher does not
    know, whose log-posterior is `ABSENT`, are left out of the student's softmax: they get no
    gradient.
    """
    known = student.masked_fill(teacher <= ABSENT, ABSENT)
    log_student = F.log_softmax(known, -1)
    divergence = F.kl_div(log_student, teacher, reduction="none", log_target=True)  # (N, T, V)
    divergence = divergence.sum(-1)  # (N, T)
    return (divergence * kept).sum() / kept.sum().clamp(min=1)


def logit_mse(student: torch.Tensor, teacher: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Frames' logits alike: the mean square over symbols of z_S − z_T, each less its mean over
    symbols, as a softmax does not tell logits from logits and a constant; mean over the frames that
    are `kept` `(N, T)`, zero when none is.

    `student` logits and `teacher` log-posteriors are `(N, T, V)`. Symbols that the teacher does not
    know are left out, as by `frame_kl`.
    """
    known = teacher > ABSENT
    count = known.sum(-1, keepdim=True)
    gap = (student - teacher).masked_fill(~known, 0)
    centred = (gap - gap.sum(-1, keepdim=True) / count).masked_fill(~known, 0)  # (N, T, V)
    distance = centred.square().sum(-1) / count[..., 0]  # (N, T)
    return (distance * kept).sum() / kept.sum().clamp(min=1)


def frame_mse(student: torch.Tensor, teacher: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Hidden states alike, eq. (8) frame by frame: the mean square over units of `(N, T, D)`, mean
    over the frames that are `real` `(N, T)`.
    """
    distance = (student - teacher).square().mean(-1)  # (N, T)
    return (distance * real).sum() / real.sum()


def relations(frames: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return which frames of a clip resemble which `(N, T, T)`: cosines between its `real` `(N, T)`
    frames `(N, T, D)`, the clip's mean subtracted; zero where one of the two is not real.

    Rotating, scaling or shifting the frames changes nothing, so widths need not agree.
    """
    kept = real[..., None]  # (N, T, 1)
    mean = (frames * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True)
    centred = F.normalize((frames - mean) * kept, dim=-1, eps=_ZERO)
    return centred @ centred.mT


def attention_mse(student: torch.Tensor, teacher: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Attention maps alike: the mean square of A_S − A_T over pairs of a clip's `real` `(N, T)`
    frames, mean over clips.

    A student without attention has no map of its own. A = `relations` of a layer's frames,
    `(N, T, D_S)` and `(N, T, D_T)`, is what attention is computed from: MiniLMv2 compares such
    relations in place of maps, so that heads and widths may differ (Wang et al. 2021,
    arXiv 2012.15828).
    """
    gap = relations(student, real) - relations(teacher, real)  # (N, T, T)
    return (gap.square().sum((1, 2)) / real.sum(1).square()).mean()


def spoken(posteriors: torch.Tensor, real: torch.Tensor, around: int | None) -> torch.Tensor:
    """Return which frames `(N, T)` are learned from: those where the teacher writes a symbol, and
    `around` neighbours on both sides; all `real` ones `(N, T)` where `around` is None.

    Blanks are most of what a recogniser says, and swamp the sum. Selecting frames symmetrically
    about symbols lets distillation do without transcripts and without the CTC loss (Hilmes,
    Rossenbach and Schlüter 2025, arXiv 2506.01503). `posteriors` `(N, T, V)`; output 0 is the
    blank.
    """
    if around is None:
        return real
    symbol = ((posteriors.argmax(-1) != 0) & real).float()  # (N, T)
    near = F.max_pool1d(symbol[:, None], 2 * around + 1, stride=1, padding=around)[:, 0]
    return (near > 0) & real


def at_rate(
    teacher: torch.Tensor, lengths: torch.Tensor, size: int, to: torch.Tensor
) -> torch.Tensor:
    """Return a teacher's log-posteriors `(N, U, V)`, of which `lengths` `(N,)` are real, at the
    rate of a student of `size` frames, `to` `(N,)` of them real: `(N, size, V)`.

    With r = ΣU / ΣT rounded to halves, as 1/r is where r is below one, a student's frame t has the
    posterior of that one of the teacher's frames ⌊rt⌋ … ⌊r(t + 1)⌋ − 1 in which a blank is least
    probable: symbols are said in single frames, and averaged with the blanks beside them they are
    lost. Each of the teacher's frames is in one of these; with r below one it stands for several
    of the student's. The last frame is held.
    """
    last = (lengths.to(teacher.device) - 1)[:, None, None]  # (N, 1, 1)
    over, under = _halves(lengths.sum().item(), to.sum().item())
    bounds = torch.arange(size + 1, device=teacher.device) * over // under  # (T + 1,)
    first, end = bounds[:-1, None], bounds[1:, None] - 1  # (T, 1)
    group = -(-over // under)
    places = first + torch.arange(group, device=teacher.device)  # (T, r)
    places = torch.minimum(places, end.maximum(first))  # fewer than r: the last of them again
    source = torch.minimum(places, last)  # (N, T, r)
    item = torch.arange(len(teacher), device=teacher.device)[:, None]  # (N, 1)
    blanks = teacher[item[..., None], source, 0]  # (N, T, r)
    clearest = source.gather(2, blanks.argmin(2, keepdim=True))[..., 0]  # (N, T)
    return teacher[item, clearest]


def _halves(teacher: int, student: int) -> tuple[int, int]:
    """Return two whole numbers whose ratio is that of these, or its inverse, rounded to halves."""
    if teacher < student:
        return 2, round(2 * student / teacher)
    return round(2 * teacher / student), 2
