"""How well does the model predict the rows that are held out? `val/loss`, `val/mse` and `val/r2`, and test's alike."""

from abc import abstractmethod

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from linreg_pl.core.metrics import Evaluation, evaluation, evaluation_of
from linreg_pl.core.objective import penalty
from linreg_pl.core.scaling import theta_of
from linreg_pl.data.loaders import Batch, Summary


class EvaluatedModule(LightningModule):
    """A linear model that sums over the rows of a validation or a test, and then tells of all of them."""

    W: Tensor  # (D, K), in the units in which it is penalised
    b: Tensor  # (K,)
    l2: float
    fold_bias: bool

    _evaluated: Evaluation | None = None  # of the rows of a validation or test that is under way

    @abstractmethod
    def coefficients(self) -> tuple[Tensor, Tensor]:
        """W (D, K) and b (K,) in the user's units, float64, on the CPU."""

    def on_validation_epoch_start(self) -> None:
        """Begins a sum over the rows."""
        self._evaluated = None

    def validation_step(self, batch: Batch | Summary, batch_idx: int) -> None:
        """Adds a batch, or all held-out rows at once, to `val/loss`, `val/mse` and `val/r2`."""
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Tells them."""
        self._tell("val")

    def on_test_epoch_start(self) -> None:
        """Begins a sum over the rows."""
        self._evaluated = None

    def test_step(self, batch: Batch | Summary, batch_idx: int) -> None:
        """Adds a batch to `test/loss`, `test/mse` and `test/r2`."""
        self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        """Tells them."""
        self._tell("test")

    def evaluated(self, batch: Batch | Summary) -> Evaluation:
        """How well W and b predict some rows, in float64."""
        theta = theta_of(*self.coefficients())
        if isinstance(batch, Summary):
            return evaluation_of(batch.triangle, theta)
        x, y, *weights = batch
        return evaluation(x, y, theta, *weights)

    def metrics(self, rows: Evaluation) -> dict[str, float]:
        """J over the rows, its mean squared error, and R², which is NaN where no target varies."""
        W, b = (of.detach().to("cpu", torch.float64) for of in (self.W, self.b))
        of_penalty = penalty(W, self.l2) + (penalty(b, self.l2) if self.fold_bias else 0)
        return {"loss": rows.mse + float(of_penalty), "mse": rows.mse, "r2": rows.r2}

    def _evaluate(self, batch: Batch | Summary) -> None:
        found = self.evaluated(batch)
        self._evaluated = found if self._evaluated is None else self._evaluated.merge(found)

    def _tell(self, stage: str) -> None:
        # Not to the logger: `self.log` has lost points at kills, and its x-axis counts batches. The curves write them.
        if self._evaluated is not None:
            metrics = self.metrics(self._evaluated)
            self.log_dict({f"{stage}/{name}": value for name, value in metrics.items()}, logger=False)
