"""Draws a sample of rows that shows how the gradients of batches vary, even where a few rare rows cause most of it."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def sample_rows(chunks: Iterable[tuple[Tensor, Tensor, Tensor]], most_rows: int = 1024) -> tuple[Tensor, ...]:
    """Draws rows such that sums over them estimate those over all rows, even if these depend on a few rare rows.

    A third is drawn uniformly, a third by the size of a row's curvature, and a third by that of its gradient at the
    exact solution. Each third is a priority sample (Duffield, Lund and Thorup, "Priority sampling for estimation of
    arbitrary subset sums", Journal of the ACM 54, 2007): the rows with the largest size / u, for u uniform in (0, 1].

    Args:
        chunks: Rows q (n, Q), their residuals (n, K), and weights (n, 1).
        most_rows: Size of the sample; fewer rows are taken as they are.

    Returns:
        The sample in the same form, and the share of all rows that each stands for, (n, 1).
    """
    random, each = np.random.default_rng(0), most_rows // 3
    kept: tuple[Tensor, ...] = ()
    num_rows = 0
    for q, residuals, weights in chunks:
        num_rows += len(q)
        curvature = weights * q.square().sum(dim=1, keepdim=True)
        gradient = curvature * weights * residuals.square().sum(dim=1, keepdim=True)
        sizes = torch.cat([torch.ones_like(curvature), curvature.square(), gradient], dim=1)
        priorities = sizes / torch.from_numpy(1 - random.random((len(q), 3)))
        rows = q, residuals, weights, sizes, priorities
        kept = tuple(map(torch.cat, zip(kept, rows, strict=True))) if kept else rows
        if len(kept[0]) > most_rows:
            chosen = torch.unique(kept[-1].topk(each + 1, dim=0).indices)
            kept = tuple(part[chosen] for part in kept)
    q, residuals, weights, sizes, priorities = kept
    if num_rows <= most_rows:
        return q, residuals, weights, torch.full_like(weights, 1 / num_rows)
    limits = priorities.topk(each + 1, dim=0).values[-1]
    is_drawn = (priorities > limits).any(dim=1)
    shares = (sizes / limits).nan_to_num().clamp(max=1)  # 0/0 is 0, where few rows have a size at all
    chances = 1 - (1 - shares).prod(dim=1, keepdim=True)
    counts = 1 / chances[is_drawn]
    return q[is_drawn], residuals[is_drawn], weights[is_drawn], counts / counts.sum()
