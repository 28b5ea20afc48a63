"""Predicts the loss that a run ends with, from its model and data, before it takes a step.

The loss is the mean squared error over the held-out rows; without such rows, J over the rows to fit.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from linreg_pl.core import drawn_batches, fixed_batches
from linreg_pl.core.drawn_batches import DrawnBatches
from linreg_pl.core.expected_loss import Descent, ExpectedLoss, Loss, Outcome, expected_loss
from linreg_pl.core.fixed_batches import FixedBatches
from linreg_pl.core.parallel import on_one_thread
from linreg_pl.core.row_sample import sample_rows
from linreg_pl.data.loaders import Batch
from linreg_pl.data.module import BatchDataModule
from linreg_pl.errors import InputError
from linreg_pl.training.module import LinearRegression
from linreg_pl.training.tail_average import TailAverage


class Prediction:
    """Where a run of a new model ends.

    Args:
        model: A new model; it learns from the data what a run of it would.
        data: Set up for fit.
        steps: Length of the run.
        twin: A prediction for the same batches and the same J; what they have in common is computed once.

    Raises:
        InputError: the data can't be used, or the model has an l1 penalty.
    """

    def __init__(self, model: LinearRegression, data: BatchDataModule, steps: int, twin: Self | None = None) -> None:
        if model.l1:
            raise InputError(
                f"l1 is {model.l1:g}: the final loss is predicted only without l1, as its steps are not linear"
            )
        model.learn_from(data, steps / data.steps_per_epoch)
        problem, scaling = model.problem(data), model.scaling
        self.model, self._data, self._problem = model, data, problem
        self.steps, self.epochs = steps, steps / data.steps_per_epoch
        tail = TailAverage(model.tail_averaging, steps)
        self._descent = Descent(
            model.learning_rate, steps, model.momentum, model.schedule, round(model.tail_averaging * steps)
        )
        assert tail.num_averaged(steps) == self._descent.num_averaged
        self._center = scaling.center(data.num_targets)
        optimum, free = problem.optimum, problem.optimum.free
        self._to_columns = problem.scaling.to_users(pad(problem.coordinates, (0, 0, free.start, 0)))  # (1+D, Q)
        errors = problem.errors(model.W, model.b)
        self._start = problem.in_coordinates(errors)
        rest = errors[free] - problem.coordinates @ self._start  # which no step changes
        self._settled = optimum.theta.high + problem.scaling.to_users(pad(rest, (0, 0, free.start, 0)))
        self._twin = twin if twin is not None and torch.equal(twin._settled, self._settled) else self
        self._conclusion: tuple[ExpectedLoss, bool] | None = None

    def loss(self) -> ExpectedLoss:
        """Returns the expected loss at the end, and its bounds; infinite where the run diverges."""
        return self._concluded()[0]

    def diverges(self) -> bool:
        """Returns whether J over the rows to fit is expected to be larger at the end than at the start."""
        return self._concluded()[1]

    def loss_at_start(self) -> float:
        """Returns the loss before the first step."""
        return self._twin._loss.at(self._start.numpy())

    @classmethod
    def conclude(cls, predictions: Iterable[Self]) -> None:
        """Computes the losses of predictions; of those with a common twin together, which takes far less time."""
        by_twin = dict[Self, list[Self]]()
        for prediction in predictions:
            by_twin.setdefault(prediction._twin, []).append(prediction)
        for twin, members in by_twin.items():
            twin._follow(members)

    def _follow(self, members: Sequence[Self]) -> None:
        """Computes the losses of predictions whose twin this one is."""
        if self._problem.is_cycle:
            fixed = self._fixed_batches
            with on_one_thread():
                for each in members:
                    each._conclude(fixed_batches.outcome(fixed, each._start.numpy(), each._descent))
            return
        batches, Vt = self._drawn_batches
        with on_one_thread():
            descents, starts = [each._descent for each in members], [(Vt @ each._start).numpy() for each in members]
            for number, outcome in drawn_batches.outcomes(batches, starts, descents):
                members[number]._conclude(outcome.turned(Vt.T.numpy()))

    def _concluded(self) -> tuple[ExpectedLoss, bool]:
        if self._conclusion is None:
            self.conclude([self])
        assert self._conclusion is not None
        return self._conclusion

    def _conclude(self, outcome: Outcome) -> None:
        rounding = 1e-5 if self.model.W.dtype == torch.float32 else 1e-9
        loss, objective = self._twin._loss, self._twin._objective
        grows = objective.expected(outcome) > objective.at(self._start.numpy())
        self._conclusion = expected_loss(outcome, loss, rounding), grows

    @cached_property
    def _loss(self) -> Loss:
        held_out = self._data.held_out
        if held_out is None:
            return self._objective
        rows = held_out.centered_at(self._center)
        R = rows.R / (rows.total_weight * rows.num_targets) ** 0.5
        columns, targets = R[:, : 1 + rows.num_features], R[:, 1 + rows.num_features :]
        return Loss((columns @ self._to_columns).numpy(), (columns @ self._settled - targets).numpy())

    @cached_property
    def _objective(self) -> Loss:
        factor = torch.cat([self._problem.factor, torch.zeros(1, self._problem.factor.shape[1]).double()])
        residual = torch.zeros(len(factor), self._data.num_targets, dtype=torch.float64)
        residual[-1, 0] = self._problem.optimum.objective**0.5
        return Loss(factor.numpy(), residual.numpy())

    def _rows(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Returns rows along u (n, Q), their residuals at the exact solution (n, K), and their weights (n, 1)."""
        x, y, *weights = batch
        D = x.shape[1]
        x, y = x.double() - self._center[:D], y.double() - self._center[D:]
        q = torch.addmm(self._to_columns[0], x, self._to_columns[1:])
        residuals = torch.addmm(self._settled[0], x, self._settled[1:]) - y
        return q, residuals, weights[0].double() if weights else torch.ones(len(x), 1, dtype=torch.float64)

    @cached_property
    def _drawn_batches(self) -> tuple[DrawnBatches, Tensor]:
        """Returns batches that are drawn anew, by a sample of the rows, and the Hessian's eigenvectors, as rows."""
        _, lengths, Vt = torch.linalg.svd(self._problem.factor)
        lengths = pad(lengths, (0, len(Vt) - len(lengths)))
        q, residuals, weights, shares = sample_rows(map(self._rows, self._data.watched_rows()))
        batches = DrawnBatches(
            eigenvalues=(2 * lengths.square()).numpy(),
            rows=(q @ Vt.T).numpy(),
            residuals=residuals.numpy(),
            weights=(weights / (shares * weights).sum()).numpy(),
            shares=shares.numpy(),
            batch_size=self._data.batch_size,
            num_rows=self._problem.num_rows,
        )
        return batches, Vt

    @cached_property
    def _fixed_batches(self) -> FixedBatches:
        """Describes the batches that are the same at every epoch."""
        data, optimum = self._data, self._problem.optimum
        penalty = optimum.penalty.high @ self._to_columns if optimum.is_penalized else self._to_columns[:0]
        pull = 2 * penalty.T @ (optimum.penalty.high @ self._settled)[: len(penalty)]  # of the penalty, at θ*
        batches = data.batches(range(data.steps_per_epoch))
        if data.new_noise:  # the noise of the first epoch is no other epoch's
            x, y = (torch.cat(parts) for parts in zip(*data.rows(), strict=True))
            batches = zip(torch.split(x, data.batch_size), torch.split(y, data.batch_size), strict=True)
        factor = 2 / data.num_targets / data.batch_size
        gradients = []
        for batch in batches:
            q, residuals, weights = self._rows(batch)
            gradients.append(factor * q.T @ (weights * residuals) + pull)
        hessians = self._problem.hessians
        return FixedBatches(
            hessians=hessians.numpy(),
            gradients=torch.stack(gradients)[: len(hessians)].numpy(),
            noise=(data.new_noise**2 * factor * (hessians - 2 * penalty.T @ penalty)).numpy(),
        )
