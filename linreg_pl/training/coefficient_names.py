"""What are the entries of W and b called, and how are they shown?"""

from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from linreg_pl.training.module import LinearRegression

SHOWN_ENTRIES = 4
"""Entries of a vector that fit in a printed line."""


def trained_module(trainer: Trainer) -> LinearRegression:
    """The module that this trainer trains, which is ours."""
    module = trainer.lightning_module
    assert isinstance(module, LinearRegression)
    return module


def column_names(trainer: Trainer) -> tuple[list[str], list[str]]:
    """Names of the D features and K targets: the data's, or numbers where it names none."""
    data = getattr(trainer, "datamodule", None)
    num_features, num_targets = trained_module(trainer).W.shape
    features = getattr(data, "feature_names", None) or [str(index) for index in range(num_features)]
    targets = getattr(data, "target_names", None) or [str(index) for index in range(num_targets)]
    return features, targets


def entry_names(trainer: Trainer) -> list[str]:
    """Of W's entries, row by row, then of b's: `W` and `b`, with `/feature` and `/target` behind where there are more.

    Without an intercept there is no `b`.
    """
    features, targets = column_names(trainer)
    of_feature = [f"/{name}" for name in features] if len(features) > 1 else [""]
    of_target = [f"/{name}" for name in targets] if len(targets) > 1 else [""]
    of_b = [f"b{target}" for target in of_target] if trained_module(trainer).fit_intercept else []
    return [*(f"W{feature}{target}" for feature in of_feature for target in of_target), *of_b]


def entries(trainer: Trainer, W: Tensor, b: Tensor) -> list[Any]:
    """Of W (D, K) and b (K,), in that order."""
    return W.flatten().tolist() + (b.tolist() if trained_module(trainer).fit_intercept else [])


def named(trainer: Trainer, W: Tensor, b: Tensor) -> dict[str, Any]:
    """The entries of W (D, K) and b (K,) by name."""
    return dict(zip(entry_names(trainer), entries(trainer, W, b), strict=True))


def named_coefficients(trainer: Trainer) -> dict[str, float]:
    """W and b in the user's units, by name."""
    return named(trainer, *trained_module(trainer).coefficients())


def shown(values: Tensor) -> str:
    """One number, or the first entries of several, with three decimals."""
    entries = values.detach().flatten()
    if entries.numel() == 1:
        return f"{entries.item():.3f}"
    more = " …" if entries.numel() > SHOWN_ENTRIES else ""
    return "[" + " ".join(f"{value:.3f}" for value in entries[:SHOWN_ENTRIES].tolist()) + more + "]"


def norms(trainer: Trainer) -> dict[str, float]:
    """The norms of W and b, for when they have too many entries to name."""
    W, b = trained_module(trainer).coefficients()
    return {"W_norm": torch.linalg.norm(W).item(), "b_norm": torch.linalg.norm(b).item()}
