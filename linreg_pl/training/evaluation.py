"""Predicts with W and b, and evaluates the predictions: `val/loss`, `val/mse`, `val/r2`, and the same for test."""

import math
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from linreg_pl.core import objective
from linreg_pl.core.metrics import Evaluation, evaluation, evaluation_of
from linreg_pl.core.scaling import Scaling, theta_of, users_units
from linreg_pl.data.columns import Columns
from linreg_pl.data.loader_rows import checked_batch
from linreg_pl.data.loaders import Batch, Summary
from linreg_pl.errors import InputError
from linreg_pl.training.coefficients import Coefficients


class EvaluatedModule(LightningModule):
    """A linear model that predicts, and evaluates its predictions over all rows of a validation or test."""

    W: Tensor  # (D, K), in the units in which it is trained
    b: Tensor  # (K,), likewise
    l2: float
    l1: float
    fold_bias: bool
    standardize: bool
    x_mean: Tensor  # (D,), float64, if features are standardized; NaN until the data is known
    x_scale: Tensor  # (D,), likewise
    y_mean: Tensor  # (K,), likewise

    _columns: Columns | None = None  # known after a fit on a data module, and in its checkpoints
    _evaluation: Evaluation | None = None  # of the validation's or test's rows so far

    @property
    def scaling(self) -> Scaling:
        """Returns the map between the user's units and those in which W and b are trained.

        It is a copy: loading a checkpoint changes the buffers in place.
        """
        if not self.standardize:
            return users_units(len(self.W))
        parts = (self.x_mean, self.x_scale, self.y_mean)
        return Scaling(*(part.to("cpu", torch.float64, copy=True) for part in parts))

    @property
    def columns(self) -> Columns:
        """Returns the columns that the model was fitted on: numbered ones, if the data had no names.

        >>> linreg_pl.LinearRegression(num_features=2).columns.feature_names
        ['x0', 'x1']
        """
        return Columns.numbered(*self.W.shape) if self._columns is None else self._columns

    @property
    def feature_names(self) -> list[str]:
        """Returns the names of the D columns of x; x0, x1, … if the data had none.

        >>> linreg_pl.LinearRegression(num_features=2).feature_names
        ['x0', 'x1']
        """
        return self.columns.feature_names

    @property
    def target_names(self) -> list[str]:
        """Returns the names of the K targets; y, or y0, y1, … if the data had none.

        >>> linreg_pl.LinearRegression(num_targets=2).target_names
        ['y0', 'y1']
        """
        return self.columns.target_names

    def coefficients(self) -> Coefficients:
        """Returns W (D, K) and b (K,) in the user's units, float64, on the CPU; a table by name, too.

        `W, b = model.coefficients()`, `model.coefficients()["bmi"]` and `print(model.coefficients())` all work.

        >>> W, b = linreg_pl.fit([-1, -1, 1, 1], [0, 2, 2, 4]).coefficients()
        >>> round(W.item(), 3), round(b.item(), 3)
        (1.0, 2.0)
        """
        self.require_trained()
        columns = self.columns
        return Coefficients(*self.in_users_units(), columns.feature_names, columns.target_names)

    def require_trained(self) -> None:
        """Checks that W and b have units, which follow from the first rows.

        Raises:
            InputError: they have none yet.
        """
        if self.standardize and self.x_scale.isnan().any():
            raise InputError("the model has no coefficients yet: train it, or load a checkpoint")

    def in_users_units(self) -> tuple[Tensor, Tensor]:
        """Returns W (D, K) and b (K,) in the user's units, float64, on the CPU."""
        theta, scaling = theta_of(self.W, self.b), self.scaling
        theta = scaling.to_users(theta) if self.standardize else theta
        return theta[1:], theta[0] + scaling.target_means

    def predict(self, X: Any) -> np.ndarray:
        """Predicts new rows, in float64; NaN where a row lacks a value.

        Args:
            X: An array (N, D) with the columns of the fit in the same order; a frame, or a path to a file, whose
                columns have the same names.

        Returns:
            The predictions (N,), or (N, K) for several targets.

        Raises:
            InputError: the columns differ.

        Example:
            >>> linreg_pl.fit([-1, -1, 1, 1], [0, 2, 2, 4]).predict([3.0]).round(3)
            array([5.])
        """
        from linreg_pl.data.table.new_rows import read_rows  # not at the top: slow to import

        self.require_trained()
        with torch.no_grad():
            batches = [self(x.to(self.W.device)).cpu().double() for x in read_rows(self.columns, X)]
        values: np.ndarray = torch.cat([torch.zeros(0, self.W.shape[1], dtype=torch.float64), *batches]).numpy()
        return values[:, 0] if self.W.shape[1] == 1 else values

    def forward(self, x: Tensor) -> Tensor:
        """Returns predictions `x W + b`, shape (N, K), for `x` (N, D) in the user's units.

        They are float64 if features are standardized: means are subtracted and added in float64.

        Raises:
            InputError: `x` has another shape.

        >>> round(linreg_pl.fit([-1, -1, 1, 1], [0, 2, 2, 4])(torch.tensor([[3.0]])).item(), 3)
        5.0
        """
        if x.ndim != 2 or x.shape[1] != len(self.W):
            raise InputError(f"x has shape {tuple(x.shape)}, and the model predicts from (N, {len(self.W)})")
        if not self.standardize:
            dtype = torch.promote_types(x.dtype, self.W.dtype)
            return objective.predict(x.to(dtype), self.W.to(dtype), self.b.to(dtype))
        z = (x.double() - self.x_mean) / self.x_scale
        return objective.predict(z, self.W.double(), self.b.double()) + self.y_mean

    def loss(self, residuals: Tensor) -> Tensor:
        """Returns the square of each residual X W + b - y, (N, K); a subclass may override it with another loss.

        J is then `mean(w · loss(X W + b - y))` and the penalties. The exact solution remains that of least squares: a
        run with another loss has no gap, and no `val/loss`, which comes from sums of squares.

        >>> linreg_pl.LinearRegression().loss(torch.tensor([-3.0]))
        tensor([9.])
        """
        return residuals.square()

    @property
    def has_own_loss(self) -> bool:
        """Returns whether a subclass overrides the loss."""
        return type(self).loss is not EvaluatedModule.loss

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Returns predictions (N, K); ignores targets in the batch."""
        prediction: Tensor = self(batch if isinstance(batch, Tensor) else batch[0])
        return prediction

    def on_predict_epoch_start(self) -> None:
        """Checks that the model is trained."""
        self.require_trained()

    def on_validation_epoch_start(self) -> None:
        """Starts a new evaluation, after a check that the model is trained."""
        self.require_trained()
        self._evaluation = None

    def validation_step(self, batch: Batch | Summary, batch_idx: int) -> None:
        """Adds a batch, or the summary of all held-out rows, to the evaluation."""
        self._add(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs `val/loss`, `val/mse` and `val/r2`; after a fit, also `val/rmse`."""
        self._log_metrics("val")

    def on_test_epoch_start(self) -> None:
        """Starts a new evaluation, after a check that the model is trained."""
        self.require_trained()
        self._evaluation = None

    def test_step(self, batch: Batch | Summary, batch_idx: int) -> None:
        """Adds a batch to the evaluation."""
        self._add(batch)

    def on_test_epoch_end(self) -> None:
        """Logs `test/loss`, `test/mse`, `test/r2` and `test/rmse`."""
        self._log_metrics("test")

    def evaluated(self, batch: Batch | Summary) -> Evaluation:
        """Returns the evaluation of W and b on some rows, in float64, where the rows are; Apple's GPU has no float64.

        Raises:
            InputError: a batch can't be used.
        """
        if isinstance(batch, Summary):
            scaling, theta = self.scaling, theta_of(self.W, self.b)
            centered = batch.triangle.centered_at(scaling.center(batch.triangle.num_targets))
            return evaluation_of(centered, scaling.centered.to_users(theta))
        device = torch.device("cpu") if self.W.is_mps else self.W.device
        x, y, *weights = (tensor.to(device) for tensor in checked_batch(batch, *self.W.shape))
        scaling = Scaling(self.x_mean, self.x_scale, self.y_mean) if self.standardize else users_units(len(self.W))
        z, deviations = scaling.on(device).standardized(x, y)
        theta = torch.cat([self.b.detach().unsqueeze(0), self.W.detach()]).to(device).double()
        return evaluation(objective.residuals(z, deviations, theta[1:], theta[0]), y, *weights)

    def metrics(self, rows: Evaluation) -> dict[str, float]:
        """Returns J over the rows, if its loss is the square; the mean squared error, and R².

        R² is NaN if no target varies.
        """
        W, b = (parameter.detach().to("cpu", torch.float64) for parameter in (self.W, self.b))
        penalty = objective.penalty(W, self.l2, self.l1) + (objective.penalty(b, self.l2) if self.fold_bias else 0)
        loss = {} if self.has_own_loss else {"loss": rows.mse + float(penalty)}
        return {**loss, "mse": rows.mse, "r2": rows.r2}

    def _add(self, batch: Batch | Summary) -> None:
        rows = self.evaluated(batch)
        self._evaluation = rows if self._evaluation is None else self._evaluation.merge(rows)

    def _log_metrics(self, stage: str) -> None:
        # During a fit not to the logger: `self.log` has lost points at kills, and its x-axis counts batches. The curves
        # write them. Otherwise Lightning returns and prints only what it writes to the loggers, if there are any.
        if self._evaluation is not None:
            metrics, is_fit = self.metrics(self._evaluation), self.trainer.state.fn == "fit"
            if not is_fit:
                metrics["rmse"] = math.sqrt(metrics["mse"])
            self.log_dict(
                {f"{stage}/{name}": value for name, value in metrics.items()}, logger=False if is_fit else None
            )
