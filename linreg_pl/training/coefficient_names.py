"""Names the entries of W and b, and formats them for printing."""

from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from linreg_pl.training.module import LinearRegression


def trained_module(trainer: Trainer) -> LinearRegression:
    """Returns the trainer's module, which is a `LinearRegression`."""
    module = trainer.lightning_module
    assert isinstance(module, LinearRegression)
    return module


def column_names(trainer: Trainer) -> tuple[list[str], list[str]]:
    """Returns the names of the D features and K targets: the data's, or numbers if it has none."""
    data = getattr(trainer, "datamodule", None)
    features, targets = getattr(data, "feature_names", None), getattr(data, "target_names", None)
    if not features or not targets:
        num_features, num_targets = trained_module(trainer).W.shape
        features = features or [str(index) for index in range(num_features)]
        targets = targets or [str(index) for index in range(num_targets)]
    return features, targets


def entry_names(trainer: Trainer) -> list[str]:
    """Returns the names of W's entries, row by row, then of b's: `W` and `b`, and `/feature`, `/target` if several.

    Without an intercept there is no `b`.
    """
    features, targets = column_names(trainer)
    feature_suffixes = [f"/{name}" for name in features] if len(features) > 1 else [""]
    target_suffixes = [f"/{name}" for name in targets] if len(targets) > 1 else [""]
    intercepts = [f"b{target}" for target in target_suffixes] if trained_module(trainer).fit_intercept else []
    return [*(f"W{feature}{target}" for feature in feature_suffixes for target in target_suffixes), *intercepts]


def entries(trainer: Trainer, W: Tensor, b: Tensor) -> list[Any]:
    """Returns the entries of W (D, K) and b (K,) in the order of `entry_names`."""
    return W.flatten().tolist() + (b.tolist() if trained_module(trainer).fit_intercept else [])


def named(trainer: Trainer, W: Tensor, b: Tensor) -> dict[str, Any]:
    """Returns the entries of W (D, K) and b (K,) by name."""
    return dict(zip(entry_names(trainer), entries(trainer, W, b), strict=True))


def named_coefficients(trainer: Trainer) -> dict[str, float]:
    """Returns W and b in the user's units, by name."""
    return named(trainer, *trained_module(trainer).in_users_units())


def shown(values: Tensor, max_entries: int = 4) -> str:
    """Formats one number, or the first entries of several, with three decimals."""
    entries = values.detach().flatten()
    if entries.numel() == 1:
        return f"{entries.item():.3f}"
    more = " …" if entries.numel() > max_entries else ""
    return "[" + " ".join(f"{value:.3f}" for value in entries[:max_entries].tolist()) + more + "]"


def norms(trainer: Trainer) -> dict[str, float]:
    """Returns the norms of W and b, for use where their entries are too many."""
    W, b = trained_module(trainer).in_users_units()
    return {"W_norm": torch.linalg.norm(W).item(), "b_norm": torch.linalg.norm(b).item()}
