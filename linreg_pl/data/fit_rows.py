"""The interface of the rows that a model is fitted to: a data module's, or those of a user's own loader."""

from collections.abc import Iterable, Iterator
from typing import Protocol

import torch

from linreg_pl.core.scaling import Scaling
from linreg_pl.core.triangle import Triangle
from linreg_pl.core.world import World
from linreg_pl.data.loaders import Batch


class FitRows(Protocol):
    """Rows with D features and K targets, cut into training batches. `BatchDataModule` explains the members."""

    @property
    def feature_names(self) -> list[str]:
        """Returns the names of x's columns."""

    @property
    def target_names(self) -> list[str]:
        """Returns the names of y's columns."""

    @property
    def num_features(self) -> int:
        """Returns D."""

    @property
    def num_targets(self) -> int:
        """Returns K."""

    @property
    def num_rows_to_fit(self) -> int:
        """Returns the number of rows that training draws from."""

    @property
    def batch_size(self) -> float:
        """Returns the number of rows in a batch; their mean, if batches differ."""

    @property
    def steps_per_epoch(self) -> int:
        """Returns the number of batches in an epoch."""

    @property
    def has_fixed_batches(self) -> bool:
        """Returns whether every epoch has the same batches of x, in the same order."""

    @property
    def world(self) -> World:
        """Returns the processes that share the rows."""

    @property
    def triangle(self) -> Triangle:
        """Returns the triangle of the rows."""

    def batches(self, indices: Iterable[int]) -> Iterator[Batch]:
        """Yields these batches of the first epoch, in the user's units."""

    def watched_rows(self) -> Iterator[Batch]:
        """Yields all rows in the user's units, while somebody may watch the pass."""

    def curvature_rows(self) -> Iterator[Batch]:
        """Yields rows with the same sums of w² f(x) and w² f(x) y, for any f; there may be fewer than in the data."""

    @property
    def preparation(self) -> tuple[Scaling | None, torch.dtype] | None:
        """Returns how the training batches are standardized and rounded; None if they are not."""

    def prepare(self, scaling: Scaling | None, dtype: torch.dtype) -> None:
        """Standardizes and rounds the training batches."""

    def restore(self) -> None:
        """Undoes `prepare`."""
