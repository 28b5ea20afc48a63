"""What are the entries of W and b called, and how are they shown?"""

from collections.abc import Sequence

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from linreg_pl.training.module import LinearRegression

SHOWN_ENTRIES = 4
"""Entries of a vector that fit in a printed line."""


def column_names(trainer: Trainer, module: LinearRegression) -> tuple[list[str], list[str]]:
    """Names of the D features and K targets: the data's, or numbers where it names none."""
    data = getattr(trainer, "datamodule", None)
    num_features, num_targets = module.W.shape
    features = getattr(data, "feature_names", None) or [str(index) for index in range(num_features)]
    targets = getattr(data, "target_names", None) or [str(index) for index in range(num_targets)]
    return features, targets


def named_coefficients(module: LinearRegression, features: Sequence[str], targets: Sequence[str]) -> dict[str, float]:
    """All of W, then b: `W` and `b`, with `/feature` and `/target` behind them where there are several of these."""

    def name(letter: str, *parts: tuple[str, bool]) -> str:
        return "/".join([letter, *(part for part, several in parts if several)])

    several_features, several_targets = len(features) > 1, len(targets) > 1
    W, b = module.W.tolist(), module.b.tolist()
    named = {
        name("W", (feature, several_features), (target, several_targets)): W[row][column]
        for row, feature in enumerate(features)
        for column, target in enumerate(targets)
    }
    return named | {name("b", (target, several_targets)): b[column] for column, target in enumerate(targets)}


def shown(values: Tensor) -> str:
    """One number, or the first entries of several, with three decimals."""
    entries = torch.as_tensor(values).detach().flatten()
    if entries.numel() == 1:
        return f"{entries.item():.3f}"
    more = " …" if entries.numel() > SHOWN_ENTRIES else ""
    return "[" + " ".join(f"{value:.3f}" for value in entries[:SHOWN_ENTRIES].tolist()) + more + "]"
