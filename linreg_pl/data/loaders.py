"""The loaders that Lightning draws from: training batches, slices of rows to evaluate, a summary of held-out rows."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from linreg_pl.core.threads import threads_that_pay
from linreg_pl.core.triangle import Triangle

if TYPE_CHECKING:
    from lightning.pytorch import Trainer  # slow to import

Batch = tuple[Tensor, ...]  # x (batch_size, D), y (batch_size, K); and weights (batch_size, 1), where rows have some

EVALUATION_BATCH_SIZE = 65_536
"""Rows in a batch that is only evaluated. The result is the mean over all rows, whatever this number is."""


class BatchSource(Protocol):
    """The part of a data module that a loader of training batches uses."""

    batch_size: int

    @property
    def trainer(self) -> "Trainer | None":
        """Returns the trainer that the data module is attached to, if any."""

    @property
    def num_features(self) -> int:
        """Returns D."""

    @property
    def num_targets(self) -> int:
        """Returns K."""

    @property
    def steps_per_epoch(self) -> int:
        """Returns the number of batches in an epoch."""

    def batch(self, epoch: int, index: int) -> Batch:
        """Returns training batch `index` of `epoch`."""


class StepGroups(Protocol):
    """Groups training steps, so that Lightning draws the batches of several steps as one item."""

    def execution(self, trainer: "Trainer", data: BatchSource) -> Iterable[Batch] | None:
        """Returns the batches of the steps that follow the trainer's; None if the next step is on its own."""


class TrainingBatches:
    """One epoch's batches, from the trainer's optimizer step to the epoch's end; without a trainer, epoch 0.

    With `groups`, an item holds the batches of an execution, and may reach into later epochs.
    """

    def __init__(self, data: BatchSource, groups: StepGroups | None = None) -> None:
        self.data = data
        self.groups = groups

    def __len__(self) -> int:
        return self.data.steps_per_epoch

    def __iter__(self) -> Iterator[Any]:  # Batch, or the batches of an execution
        step = self._steps_taken()
        while True:
            yield self._execution() or self._batch(step)
            step = max(step + 1, self._steps_taken())
            if step % len(self) == 0:
                return

    def _execution(self) -> Iterable[Batch] | None:
        if self.groups is None or self.data.trainer is None:
            return None
        return self.groups.execution(self.data.trainer, self.data)

    def _batch(self, step: int) -> Batch:
        with threads_that_pay(self.data.batch_size * self.data.num_features * self.data.num_targets):
            return self.data.batch(*divmod(step, len(self)))

    def _steps_taken(self) -> int:
        return self.data.trainer.global_step if self.data.trainer else 0

    def state_dict(self) -> dict[str, Any]:
        """Returns an empty state: the checkpoint's optimizer step is the position.

        Lightning assumes that a loader with this method can resume within an epoch.
        """
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Does nothing: there is no state."""


class Summary:
    """Holds all validation rows as one batch: their triangle, which gives J at any W and b. It is its own loader.

    Lightning moves only tensors and their collections to the device, and passes this batch on unchanged.
    """

    def __init__(self, triangle: Triangle) -> None:
        self.triangle = triangle

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator["Summary"]:
        yield self


class ConsecutiveSlices:
    """All rows of some tensors in order, `EVALUATION_BATCH_SIZE` a batch, the last batch shorter."""

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return -(-len(self.tensors[0]) // EVALUATION_BATCH_SIZE)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for start in range(0, len(self.tensors[0]), EVALUATION_BATCH_SIZE):
            yield tuple(tensor[start : start + EVALUATION_BATCH_SIZE] for tensor in self.tensors)
