"""The tutorial's data: a line with new noise at every epoch.

    x = 0, 1, …, num_rows-1        y = slope · x + noise_std · ε,   ε ~ N(0, 1)

x (N, 1) and y (N, 1). y is computed in float64 and rounded to float32, as in the tutorial. Rows keep their order.
"""

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.scaling import Scaling
from linreg_pl.core.triangle import Triangle, triangle_of
from linreg_pl.data.base import Rows, checked_batch_size, checked_seed
from linreg_pl.data.loaders import Batch, ConsecutiveSlices
from linreg_pl.data.random_streams import Purpose, stream
from linreg_pl.errors import InputError
from linreg_pl.tutorial import BATCH_SIZE, DATA_LENGTH


class SyntheticRows(Rows):
    """A line with normal noise, drawn anew at every epoch.

    `validate` and `test` use the same x with other noise than training. `fit` has no validation rows.

    Args:
        num_rows: Number of rows; x is the row's number, from 0 on.
        batch_size: Rows in a mini-batch. Rows left over at the end of an epoch are dropped.
        slope: The weight that training should find.
        noise_std: Standard deviation of the noise on y.
        seed: Seed of the noise, a whole number from 0 on.

    Raises:
        InputError: a setting is out of range.

    Example:
        >>> data = linreg_pl.SyntheticDataModule(num_rows=3, batch_size=3, slope=2.0, noise_std=0.0)
        >>> data.batch(epoch=0, index=0)[1].flatten()
        tensor([0., 2., 4.])
    """

    data_module = "SyntheticDataModule"
    draws_noise = True

    def __init__(
        self,
        num_rows: int = DATA_LENGTH,
        batch_size: int = BATCH_SIZE,
        slope: float = 3.657,
        noise_std: float = 0.33,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if num_rows < 1:
            raise InputError(f"num_rows is {num_rows}: give --data.num_rows a whole number from 1 on")
        if not math.isfinite(slope):
            raise InputError(f"slope is {slope}: give --data.slope a finite number")
        if not 0 <= noise_std < math.inf:
            raise InputError(f"noise_std is {noise_std}: give --data.noise_std a finite number, 0 or more")
        self.batch_size = checked_batch_size(batch_size, num_rows, "rows")
        self.seed = checked_seed(seed)
        self.noise_std = self.new_noise = noise_std
        self.target_names = ["y"]
        self.save_hyperparameters()
        x = np.arange(num_rows, dtype=np.float64)
        self._line = slope * x
        self._x = torch.from_numpy(x.astype(np.float32)).unsqueeze(1)
        self._epoch = -1  # the epoch of `_batches`
        self._batches: Batch = ()

    @property
    def feature_names(self) -> list[str]:
        """Returns the name of the only feature."""
        return ["x"]

    @property
    def num_rows_to_fit(self) -> int:
        """Returns the number of rows."""
        return len(self._x)

    def prepare(self, scaling: Scaling | None, dtype: torch.dtype) -> None:
        """Standardizes the rows of training batches; see `Rows`."""
        self.preparation, self._epoch = (scaling, dtype), -1

    def restore(self) -> None:
        """Undoes `prepare`."""
        self.preparation, self._epoch = None, -1

    def batch(self, epoch: int, index: int) -> Batch:
        """Returns batch `index`, with the noise of (seed, epoch), which does not depend on the batch size."""
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._prepared(Purpose.NOISE, epoch)
        x, y = self._batches
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return x[rows], y[rows]

    def _prepared(self, purpose: Purpose, position: int) -> Batch:
        x, y = self._x, self._noisy(purpose, position)
        if self.preparation is None:
            return x, y
        scaling, dtype = self.preparation
        if scaling is not None:
            x, y = scaling.standardized(x, y)
        return x.to(dtype), y.to(dtype)

    @property
    def has_fixed_batches(self) -> bool:
        """Returns True: only y has noise."""
        return True

    def rows(self) -> Iterator[Batch]:
        """Yields the line without noise, y in float64."""
        yield self._x, torch.from_numpy(self._line).unsqueeze(1)

    @cached_property
    def triangle(self) -> Triangle:
        """Returns the summary of the line with the expected noise, since new noise has no other fixed optimum."""
        return triangle_of(self.rows()).with_noise(self.noise_std)

    @property
    def evaluated_rows(self) -> str:
        """Returns the number of rows to validate or test, in words."""
        return f"{len(self._x)}, with noise of their own"

    def evaluated(self, position: int) -> ConsecutiveSlices:
        """Returns all rows with held-out noise, which differs between positions."""
        return ConsecutiveSlices(self._x, self._noisy(Purpose.HELD_OUT_NOISE, position))

    def to_predict(self) -> ConsecutiveSlices:
        """Returns x of all rows."""
        return ConsecutiveSlices(self._x)

    def _noisy(self, purpose: Purpose, position: int) -> Tensor:
        y = stream(self.seed, purpose, position).standard_normal(len(self._line))
        y *= self.noise_std
        y += self._line
        return torch.from_numpy(y.astype(np.float32)).unsqueeze(1)
