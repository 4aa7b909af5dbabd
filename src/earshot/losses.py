"""The loss terms of the papers, one pure function each. N items, C options, D units."""

import torch
from torch.nn import functional as F

UNLABELLED = -1


def cross_entropy(logits: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Hard labels, eq. (6): −Σᵢ yᵢ log ŷᵢ, mean over the labelled items of `(N, C)` logits; zero when none is.

    `answers` `(N,)` holds UNLABELLED (−1) where the answer is unknown.
    """
    total = F.cross_entropy(logits, answers, ignore_index=UNLABELLED, reduction="sum")
    return total / (answers != UNLABELLED).sum().clamp(min=1)


def kd(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Soft labels, eqs. (4)–(5): T² Σᵢ pᵢᵀ log(pᵢᵀ / pᵢˢ) with p = softmax(z/T), summed over options, mean over items.

    Averaging over options too would divide it by C.
    """
    log_student = F.log_softmax(student / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher / temperature, dim=-1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def feature_mse(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Feature alignment, eq. (8): (1/N) Σⱼ ‖F_T⁽ʲ⁾ − F_S⁽ʲ⁾‖² of `(N, D)` vectors; the square is summed over units."""
    return (student - teacher).square().sum(-1).mean()
