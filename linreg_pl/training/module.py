"""The model: W and b, and one step of stochastic gradient descent.

prediction = X W + b                 X (N, D), W (D, K), b (K,)
W ← W - learning_rate · dJ/dW        b ← b - learning_rate · dJ/db
With l1, W ← soft(W, learning_rate · l1) follows, see `training/proximal_step.py`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from linreg_pl.core import objective
from linreg_pl.core.learning_rate_schedules import Schedule, share
from linreg_pl.core.threads import threads_that_pay
from linreg_pl.data.loaders import Batch
from linreg_pl.errors import Diverged, InputError
from linreg_pl.training.due import may_be_stopped
from linreg_pl.training.execute import execute
from linreg_pl.training.executions import Execution
from linreg_pl.training.hyper_parameters import HyperParameters
from linreg_pl.training.late_check import LateCheck
from linreg_pl.training.observed import ObservedModule
from linreg_pl.training.proximal_step import require_plain_descent, shrink
from linreg_pl.training.tail_average import TailAverage
from linreg_pl.tutorial import model_settings


class LinearRegression(ObservedModule):
    """Linear regression by mini-batch gradient descent on J, `mean((X W + b - y)²) + l2 · sum(W²)`.

    Trains under any `lightning.Trainer` on batches `(x, y)` of shapes (N, D) and (N, K). With weights (N, 1), a batch
    is `(x, y, weights)`, and J is `mean(weights · (X W + b - y)²) + l2 · sum(W²)`. Steps use Lightning's manual
    optimization and a gradient in closed form, which takes half the time of autograd. A subclass that overrides `loss`
    trains on another loss of each residual.

    Args:
        num_features: D, columns of X.
        num_targets: K, columns of y.
        learning_rate: Step size of SGD; `auto` takes half of the largest stable one, once the data is known, or less
            where a preconditioned run on a cosine schedule covers the distance with less.
        l2: Factor of the penalty on W, in the units in which W is trained (see standardize); b has no penalty. `auto`
            takes the largest within one standard error of the best, by five folds of the rows to fit.
        l1: Factor of a further term of J, `l1 · sum|W|` in the same units, which makes some of W exactly 0. Without l2,
            scikit-learn's `Lasso(alpha=K*l1/2)` has the same solution. Steps are then not preconditioned.
        momentum: Momentum coefficient, as in `torch.optim.SGD`; 0 is plain SGD.
        schedule: Learning rate over the run's steps: constant, cosine (down to 0), or one_cycle (up and down). The
            scheduler of a subclass replaces it.
        tail_averaging: Fraction of the run, at its end, over which W and b are averaged; 0 keeps the last step's.
        fit_intercept: Train b; it is 0 otherwise.
        fold_bias: Penalise b too, as if it were the weight of a column of ones.
        standardize: Train on features of mean 0 and standard deviation 1, and penalise their weights, like
            scikit-learn's `StandardScaler` followed by `Ridge(alpha=N*K*l2)`. Targets are centered too. The module
            stores means and scales as float64 buffers; `forward` takes and gives the user's units.
        precondition: Multiply each gradient by the inverse of J's Hessian over all rows, so that the error shrinks
            alike in every direction, whatever the columns' units and correlations. Directions in which the rows do not
            vary keep the smallest W. From 2048 features on it has no effect.
        start_at_mean: Start b at the targets' means, its exact value if the features' means are 0. A trained or loaded
            module keeps its b.
        init_std: Standard deviation of the normal distribution of the initial W and b, truncated at twice that.
        init_seed: Seed of the initial W and b; whole number from 0 to 2^63 - 1.

    Raises:
        InputError: a value that cannot be used for training.

    >>> linreg_pl.LinearRegression(num_features=3, l2=0.1).W.shape
    torch.Size([3, 1])
    """

    largest_update = 1e15
    """A longer step counts as divergence, before its squares exceed the largest float32, 3e38; in float64, 1e150."""

    late_check: LateCheck | None = None

    def __init__(
        self,
        num_features: int = 1,
        num_targets: int = 1,
        learning_rate: float | Literal["auto"] = "auto",
        l2: float | Literal["auto"] = 0.0,
        l1: float = 0.0,
        momentum: float = 0.0,
        schedule: Schedule = "cosine",
        tail_averaging: float = 0.0,
        fit_intercept: bool = True,
        fold_bias: bool = False,
        standardize: bool = True,
        precondition: bool = True,
        start_at_mean: bool = True,
        init_std: float = 0.01,
        init_seed: int = 0,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        self.settings = settings = HyperParameters(**given)
        self.save_hyperparameters()
        unchanged = [name for name, value in given.items() if self.hparams[name] == value]  # a subclass may change some
        for kept in (self.hparams, self._hparams_initial):
            kept.update({name: getattr(settings, name) for name in unchanged})
        self.automatic_optimization = False
        self._total_steps = 0  # length of the run; 0 without a schedule or an average
        self._tail: TailAverage | None = None
        self._newest = NewestStep()
        self.learning_rate = math.nan if settings.learning_rate == "auto" else settings.learning_rate
        self.l2 = math.nan if settings.l2 == "auto" else settings.l2
        self.l1 = settings.l1
        self.momentum = settings.momentum
        self.schedule: Schedule = settings.schedule
        self.tail_averaging = settings.tail_averaging
        self.fit_intercept = settings.fit_intercept
        self.fold_bias = settings.fold_bias
        self.standardize = settings.standardize
        self.precondition = settings.preconditions
        num_features, num_targets, init_std = settings.num_features, settings.num_targets, settings.init_std
        generator = torch.Generator("cpu").manual_seed(settings.init_seed)
        self.W = nn.Parameter(truncated_normal((num_features, num_targets), init_std, generator))
        b = truncated_normal((num_targets,), init_std, generator)
        self.b = nn.Parameter(b if fit_intercept else torch.zeros_like(b))
        if standardize:
            for name, size in (("x_mean", num_features), ("x_scale", num_features), ("y_mean", num_targets)):
                self.register_buffer(name, torch.full((size,), torch.nan, dtype=torch.float64))
        if self.precondition:
            self.register_buffer("preconditioner", torch.full((1 + num_features,) * 2, torch.nan, dtype=torch.float64))
        if tail_averaging:
            self.register_buffer("mean_theta", torch.zeros(1 + num_features, num_targets))
            self.register_buffer("num_averaged", torch.zeros((), dtype=torch.int64))

    @classmethod
    def tutorial(cls, num_features: int = 1, num_targets: int = 1, **overrides: Any) -> Self:
        """Builds the tutorial's model: plain gradient descent on x as it is, with the tutorial's learning rate and l2.

        `overrides` are other arguments of the class.

        >>> linreg_pl.LinearRegression.tutorial().learning_rate
        1e-10
        """
        return cls(num_features, num_targets, **{**model_settings(), **overrides})

    @property
    def newest_step(self) -> objective.Step | None:
        """Returns J and its gradient before the newest update; None before the first."""
        return self._newest.step

    def newest_losses(self) -> dict[str, Tensor]:
        """Returns J and its mean squared error before the newest update; empty before the first.

        Uses as many threads as a training step: another number would round the sum over a large batch differently.
        """
        step = self._newest.step
        if step is None:
            return {}
        with threads_that_pay(len(step.residuals) * self.W.numel()):
            return {"loss": step.loss, "mse": step.mse}

    def on_train_start(self) -> None:
        """Reads the run's length, if a schedule or an average depends on it.

        In a run that only a callback can end, the learning rate keeps its full value, and there is no average.

        Raises:
            InputError: the run has no end at all, or l1 does not go with its optimizer.
        """
        self._is_new, self._total_steps, self._tail = False, 0, None
        self.hold_rows_on(self.W.device)
        if self.l1:
            require_plain_descent(self.trainer.optimizers)
        if not self.depends_on_length:
            return
        steps = self.total_steps()
        if steps == math.inf:
            if not may_be_stopped(self.trainer):
                has_length = self.trainer.num_training_batches != math.inf
                missing = "max_epochs or max_steps" if has_length else "max_steps, as the loader has no length"
                raise InputError(f"a schedule, an average and l1 need a run with an end: give {missing}")
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = self.learning_rate  # a checkpoint may have another, of a run with an end
            return
        self._total_steps = int(steps)
        if self.tail_averaging:
            self._tail = TailAverage(self.tail_averaging, self._total_steps)
            if int(self.num_averaged) != self._tail.num_averaged(self.trainer.global_step):
                self.num_averaged.zero_()  # the average belongs to an earlier run, or to another length
                self._tail = replace(self._tail, started_at=self.trainer.global_step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns torch's SGD, fused: one call updates both parameters. Learns from a user's own loader before.

        It has no `weight_decay`, which would penalise b too: the penalty is part of J.
        """
        self.learn_from_loader()
        return torch.optim.SGD(self.parameters(), lr=self.learning_rate, momentum=self.momentum, fused=True)

    def training_step(self, batch: Batch | Execution, batch_idx: int) -> dict[str, Tensor]:
        """Takes one optimizer step for each batch; returns J and its mean squared error before the last update.

        Raises:
            Diverged: a number exceeds float32; W and b keep their values from before that step.
        """
        optimizer, schedulers = self.optimizers(), self._schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        if self._has_raw_batches:
            batch = self.prepared(batch)
        num_rows = batch.batch_size if isinstance(batch, Execution) else len(batch[0])
        with threads_that_pay(num_rows * self.W.numel()), torch.no_grad():
            if isinstance(batch, Execution):
                execute(self, batch, optimizer, schedulers)
            else:
                self.descend(batch, optimizer.step, schedulers)
            return self.newest_losses()

    def descend(self, batch: Batch, update: Callable[[], object], schedulers: Sequence[Any]) -> None:
        """Takes one step of SGD; `update` is the optimizer's step.

        Raises:
            Diverged: a number exceeds float32; W and b keep their values from before this step.
        """
        (x, y, *rest), W, b, steps = batch, self.W, self.b, self.shared_steps or objective
        weights = rest[0] if rest else None
        step: objective.Step = steps.value_and_gradient(x, y, W, b, self.l2, weights, self.l1)
        if self.has_own_loss:
            step = objective.with_loss(step, self.loss, x, W, weights)
        if self.fold_bias:
            step = objective.with_penalized_bias(step, b, self.l2)
        if not self.fit_intercept:
            step = replace(step, grad_b=torch.zeros_like(step.grad_b))
        W.grad, b.grad = step.grad_W, step.grad_b
        if self._share_of_rows != 1:
            W.grad, b.grad = self._share_of_rows * step.grad_W, self._share_of_rows * step.grad_b
        if self.precondition:
            gradient = torch.cat([b.grad.unsqueeze(0), W.grad]).double()
            gradient = (self.preconditioner @ (self.preconditioner.T @ gradient)).to(W.dtype)
            W.grad, b.grad = gradient[1:], gradient[0]
        sizes = torch.linalg.vector_norm(W.grad), torch.linalg.vector_norm(b.grad), step.squares
        if self.late_check is not None:
            self.late_check.note(torch.stack(sizes))
        elif not self.are_in_range(W.dtype, *(sizes if W.is_cpu else torch.stack(sizes).tolist())):
            raise self._diverged(step)
        steps_taken = self.trainer.global_step if self._total_steps else 0
        if self._total_steps and not schedulers:
            rate = self.learning_rate * share(self.schedule, steps_taken / self._total_steps)
            self.trainer.optimizers[0].param_groups[0]["lr"] = rate
        update()
        if self.l1:
            shrink(W, self.trainer.optimizers[0], self._share_of_rows * self.l1)
        if self._tail is not None:
            self._tail.include(steps_taken + 1, W, b, self.mean_theta, self.num_averaged)
        if self.l1 and steps_taken + 1 == self._total_steps:
            self.set_zeros()
        for scheduler in schedulers:
            scheduler.step()
        self._newest.step = step

    def _schedulers(self) -> list[Any]:
        schedulers = self.lr_schedulers()
        return schedulers if isinstance(schedulers, list) else [] if schedulers is None else [schedulers]

    def are_in_range(self, dtype: torch.dtype, norm_of_W: Any, norm_of_b: Any, squares: Any) -> bool:
        """Tests the sizes of a step: the norms of its changes of W and b per learning rate, and `Step.squares`."""
        largest = self.largest_update if dtype == torch.float32 else self.largest_update**10
        return self.learning_rate * math.hypot(norm_of_W, norm_of_b) < largest and math.isfinite(squares)

    def _diverged(self, step: objective.Step) -> Diverged:
        number, steps_per_epoch = self.trainer.global_step + 1, self.trainer.num_training_batches
        return Diverged(
            f"diverged at step {number} (epoch {(number - 1) // steps_per_epoch:.0f}) with learning_rate"
            f" {self.learning_rate:g}: the loss is {float(step.loss):.3g}, the gradient's norm {step.grad_norm:.3g}"
        )


@dataclass
class NewestStep:
    """Holds the newest step in a plain attribute: `nn.Module.__setattr__` would cost a tenth of a step."""

    step: objective.Step | None = None


def truncated_normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> Tensor:
    """Returns a sample of a normal distribution, truncated at twice its standard deviation `std`.

    It is drawn on the CPU, so that all devices get the same.
    """
    sample = nn.init.trunc_normal_(torch.empty(shape, device="cpu"), a=-2, b=2, generator=generator)
    return std * sample.to(torch.get_default_device())
