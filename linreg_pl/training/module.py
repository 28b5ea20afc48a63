"""The model: W and b, and one step of stochastic gradient descent.

prediction = X W + b                 X (N, D), W (D, K), b (K,)
W ← W - learning_rate · dJ/dW        b ← b - learning_rate · dJ/db
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from linreg_pl.core import objective
from linreg_pl.core.learning_rate_schedules import Schedule, share
from linreg_pl.core.scaling import Scaling, standardization, theta_of, users_units
from linreg_pl.core.triangle import Triangle
from linreg_pl.data.base import BatchDataModule
from linreg_pl.data.loaders import Batch
from linreg_pl.data.threads import threads_that_pay
from linreg_pl.errors import Diverged, InputError
from linreg_pl.training.checkpoint_contents import CheckpointContents, DescentSettings, add_to_checkpoint
from linreg_pl.training.evaluation import EvaluatedModule
from linreg_pl.training.executions import Executions, bare_step
from linreg_pl.training.problem import Problem, problem

ABSURD = 1e15
"""No sane step moves the weights so far; from there the next squares would leave float32, which ends at 3e38."""


class LinearRegression(EvaluatedModule):
    """Linear regression by mini-batch gradient descent on `mean((X W + b - y)²) + l2 · sum(W²)`.

    Trains under any `lightning.Trainer` on batches `(x, y)` of shapes (N, D) and (N, K), or `(x, y, weights)` with
    weights (N, 1), where J is `mean(weights · (X W + b - y)²) + l2 · sum(W²)`. The step is Lightning's manual
    optimization with the gradient in closed form: the formula is simpler than a graph, and takes half the time.

    Args:
        num_features: D, columns of X.
        num_targets: K, columns of y.
        learning_rate: Step size of SGD; `auto` takes half of the largest stable one, once the data is known.
        l2: Factor of the penalty on W as it is trained, standardized or not (see standardize); not on b.
        momentum: Share of the last step that is taken again, as in `torch.optim.SGD`; 0 is plain SGD.
        schedule: Of the learning rate over the run's steps: constant, cosine (down to 0), or one_cycle (up and down).
        tail_averaging: Share of the run's steps, its last ones, of whose W and b the last step leaves the mean.
        fit_intercept: Train b; it is 0 otherwise.
        fold_bias: Penalise b as the weight of a column of ones, as if it were folded into W.
        standardize: Train on features of mean 0 and standard deviation 1, and penalise their weights, as scikit-learn's
            `StandardScaler` and behind it `Ridge(alpha=N*K*l2)` do; means and scales are buffers of the module, and
            `forward` takes x as it is.
        start_at_mean: Let b start at the targets' means, where it ends too if the features' means are 0; a module that
            was trained or loaded goes on from its own b.
        init_std: W and b start from a normal of this standard deviation, truncated at twice it.
        init_seed: Of that start; whole number from 0 to 2^63 - 1.

    Raises:
        InputError: a value with which nothing can be trained.
    """

    x_mean: Tensor  # (D,), where features are standardized; NaN until the data is known
    x_scale: Tensor  # (D,), likewise
    mean_theta: Tensor  # (1+D, K), of b over W where iterates are averaged
    num_averaged: Tensor  # (), of these

    def __init__(
        self,
        num_features: int = 1,
        num_targets: int = 1,
        learning_rate: float | Literal["auto"] = 1e-10,
        l2: float = 1e-10,
        momentum: float = 0.0,
        schedule: Schedule = "constant",
        tail_averaging: float = 0.0,
        fit_intercept: bool = True,
        fold_bias: bool = False,
        standardize: bool = False,
        start_at_mean: bool = False,
        init_std: float = 0.01,
        init_seed: int = 0,
    ) -> None:
        super().__init__()
        # A checkpoint holds plain types only: NumPy's numbers would need code to load.
        learning_rate = learning_rate if learning_rate == "auto" else float(learning_rate)
        l2, momentum, init_std, tail_averaging = float(l2), float(momentum), float(init_std), float(tail_averaging)
        num_features, num_targets, init_seed = int(num_features), int(num_targets), int(init_seed)
        for name, size in (("num_features", num_features), ("num_targets", num_targets)):
            if size < 1:
                raise InputError(f"{name} is {size}: give a whole number from 1 on")
        if learning_rate != "auto" and not 0 < learning_rate < math.inf:
            raise InputError(
                f"learning_rate is {learning_rate}: give --model.learning_rate a finite number above 0, or auto"
            )
        if not 0 <= momentum < 1:
            raise InputError(f"momentum is {momentum}: give --model.momentum a number from 0 up to below 1")
        if not 0 <= tail_averaging <= 1:
            raise InputError(f"tail_averaging is {tail_averaging}: give --model.tail_averaging a number from 0 to 1")
        for name, value in (("l2", l2), ("init_std", init_std)):
            if not 0 <= value < math.inf:
                raise InputError(f"{name} is {value}: give --model.{name} a finite number, 0 or more")
        if not 0 <= init_seed < 2**63:
            raise InputError(f"init_seed is {init_seed}: give --model.init_seed a whole number from 0 to 2^63 - 1")
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.executions: Executions | None = None
        """Whether a `training_step` takes more steps than the one on its batch."""
        self._problem: tuple[Triangle, Scaling, Problem] | None = None
        self._is_new = True  # neither trained nor loaded
        self._total_steps = 0  # of a run that has a schedule or an average
        self.newest_step: objective.Step | None = None
        """J and its gradient before the newest update."""
        self.learning_rate = math.nan if learning_rate == "auto" else learning_rate
        self.l2 = l2
        self.momentum = momentum
        self.schedule: Schedule = schedule
        self.tail_averaging = tail_averaging
        self.fit_intercept = fit_intercept
        self.fold_bias = fold_bias
        self.standardize = standardize
        generator = torch.Generator().manual_seed(init_seed)
        self.W = nn.Parameter(truncated_normal((num_features, num_targets), init_std, generator))
        b = truncated_normal((num_targets,), init_std, generator)
        self.b = nn.Parameter(b if fit_intercept else torch.zeros_like(b))
        if standardize:
            for name in ("x_mean", "x_scale"):
                self.register_buffer(name, torch.full((num_features,), torch.nan))
        if tail_averaging:
            self.register_buffer("mean_theta", torch.zeros(1 + num_features, num_targets))
            self.register_buffer("num_averaged", torch.zeros((), dtype=torch.int64))

    def __setattr__(self, name: str, value: Any) -> None:
        """Spares what is set at every step nn.Module's search of its parameters, which costs a tenth of one."""
        if name in ("_current_fx_name", "newest_step"):
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @property
    def scaling(self) -> Scaling:
        """Between the user's units and those in which W and b are trained."""
        if not self.standardize:
            return users_units(len(self.W))
        return Scaling(self.x_mean.to("cpu", torch.float64), self.x_scale.to("cpu", torch.float64))

    @property
    def is_laid_out(self) -> bool:
        """Whether what a step does depends on the run's length."""
        return self.schedule != "constant" or self.tail_averaging > 0

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """W (D, K) and b (K,) in the user's units, float64, on the CPU."""
        theta = theta_of(self.W, self.b)
        theta = self.scaling.matrix @ theta if self.standardize else theta
        return theta[1:], theta[0]

    def problem(self, data: BatchDataModule) -> Problem:
        """What training on this data is heading for; takes a pass over it, once."""
        scaling = self.scaling
        if self._problem is None or self._problem[0] is not data.triangle or not self._problem[1].equals(scaling):
            found = problem(data, self.l2, self.fit_intercept, self.fold_bias, scaling)
            self._problem = data.triangle, scaling, found
        return self._problem[2]

    def forward(self, x: Tensor) -> Tensor:
        """Predictions `x W + b`, shape (N, K), for `x` (N, D) in the user's units."""
        return objective.predict(self._scaled(x), self.W, self.b)

    def standardize_like(self, data: BatchDataModule) -> None:
        """Takes the features' means and scales from the rows that training draws from."""
        scaling = standardization(data.triangle, self.fit_intercept)
        self.x_mean.copy_(scaling.means)
        self.x_scale.copy_(scaling.scales)
        self.x_scale[self.x_scale == 0] = 1  # too small for float32

    def _scaled(self, x: Tensor) -> Tensor:
        return (x - self.x_mean) / self.x_scale if self.standardize else x

    def setup(self, stage: str) -> None:
        """Takes from the data what the settings leave to it: means and scales, the learning rate.

        Raises:
            InputError: the data does not come from a data module that knows them.
        """
        needs = {
            "standardize": self.standardize,
            "start_at_mean": self.hparams["start_at_mean"],
            "learning_rate auto": self.hparams["learning_rate"] == "auto",
        }
        if stage != "fit" or not any(needs.values()):
            return
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, BatchDataModule):
            name = next(name for name, needed in needs.items() if needed)
            raise InputError(f"{name} takes a pass over the data: train with a SyntheticDataModule or TableDataModule")
        self.learn_from(data)

    def learn_from(self, data: BatchDataModule) -> None:
        """Takes from the data what the settings leave to it: means and scales, the start, the learning rate."""
        if self.standardize and self.x_scale.isnan().any():  # else W and b are already in these units
            self.standardize_like(data)
        if self.hparams["start_at_mean"] and self.fit_intercept and self._is_new:
            self.b.data.copy_(data.triangle.means[data.num_features :])
        if self.hparams["learning_rate"] == "auto":
            self.learning_rate = self.problem(data).safe_learning_rate(self.momentum)

    def on_train_start(self) -> None:
        """Learns the run's length, where a schedule or an average is laid out over it.

        Raises:
            InputError: it has no end.
        """
        self._is_new = False
        if not self.is_laid_out:
            return
        steps = self.trainer.estimated_stepping_batches
        if steps == math.inf:
            raise InputError("a schedule and an average need a run with an end: give max_epochs or max_steps")
        self._total_steps = int(steps)
        if self.tail_averaging and int(self.num_averaged) != max(0, self.trainer.global_step - self._tail_begins):
            self.num_averaged.zero_()  # they are of a run before, or of one of another length

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """torch's; W and b are then no start of ours."""
        self._is_new = False
        return super().load_state_dict(*args, **kwargs)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lets the learning rate and momentum of this module win over the saved optimizer's, where they differ.

        So does its choice to average iterates. In 64-true the module becomes float64 here: Lightning would load the
        weights first, and lose half their bits. Means and scales are the checkpoint's already when the learning rate
        is learnt from the data, which may be other data.
        """
        contents = CheckpointContents.from_dict(checkpoint)
        for name in ("mean_theta", "num_averaged"):
            if self.tail_averaging:
                contents.state_dict.setdefault(name, getattr(self, name))
            else:
                contents.state_dict.pop(name, None)
        if self._trainer is not None and self.trainer.precision == "64-true":
            self.double()
        data = getattr(self._trainer, "datamodule", None)
        if self.standardize and isinstance(data, BatchDataModule) and self.trainer.state.fn == "fit":
            for name in ("x_mean", "x_scale"):
                getattr(self, name).copy_(contents.state_dict.get(name, getattr(self, name)))
            self.learn_from(data)
        contents.change_descent(self._descent_settings())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the learning rate that was in force, where the hyper-parameter says `auto`."""
        add_to_checkpoint(checkpoint, descent=self._descent_settings())

    def _descent_settings(self) -> DescentSettings:
        return DescentSettings(lr=self.learning_rate, momentum=self.momentum)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD, with one call for both parameters.

        No `weight_decay`: the penalty is part of J, where b escapes it.
        """
        return torch.optim.SGD(self.parameters(), lr=self.learning_rate, momentum=self.momentum, fused=True)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """One step of SGD, or several; returns J and its mean squared error, both before the last update.

        Raises:
            Diverged: the numbers left float32; the weights are those of the step before.
        """
        optimizer, schedulers = self.optimizers(), self._schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        with threads_that_pay(batch[0].numel() * batch[1].shape[-1]), torch.no_grad():
            try:
                self.descend(batch, optimizer.step, schedulers)
                if self.executions is not None:
                    update = bare_step(optimizer.optimizer)
                    for further in self.executions.further_batches(self, like=self.W):
                        self.descend(further, update, schedulers)
            finally:  # J here, wherever it is shown: on other threads its sum rounds otherwise
                step = self.newest_step
                newest = {} if step is None else {"loss": step.loss, "mse": step.mse}
        return newest

    def descend(self, batch: Batch, update: Callable[[], object], schedulers: Sequence[Any]) -> None:
        """One step of SGD; `update` is the optimizer's.

        Raises:
            Diverged: the numbers left float32; the weights are those of the step before.
        """
        (x, y, *rest), W, b = batch, self.W, self.b
        weights = rest[0] if rest else None
        if self.standardize:
            step = objective.value_and_gradient(x - self.x_mean, y, W, b, self.l2, weights, self.x_scale)
        else:
            step = objective.value_and_gradient(x, y, W, b, self.l2, weights)
        if self.fold_bias:
            step = objective.with_penalized_bias(step, b, self.l2)
        if not self.fit_intercept:
            step = replace(step, grad_b=torch.zeros_like(step.grad_b))
        self._require_sane(step)
        W.grad, b.grad = step.grad_W, step.grad_b
        taken = self.trainer.global_step if self._total_steps else 0
        if self._total_steps:
            rate = self.learning_rate * share(self.schedule, taken / self._total_steps)
            self.trainer.optimizers[0].param_groups[0]["lr"] = rate
        update()
        if self.tail_averaging:
            self._average(taken + 1)
        for scheduler in schedulers:
            scheduler.step()
        self.newest_step = step

    @property
    def _tail_begins(self) -> int:
        return self._total_steps - round(self.tail_averaging * self._total_steps)

    @torch.no_grad()
    def _average(self, number: int) -> None:
        """Takes W and b after step `number` into the mean, once the tail has begun; the last step ends at it."""
        if number <= self._tail_begins:
            return
        self.num_averaged += 1
        self.mean_theta.lerp_(torch.cat([self.b.unsqueeze(0), self.W]), 1 / int(self.num_averaged))
        if number == self._total_steps:
            self.b.copy_(self.mean_theta[0])
            self.W.copy_(self.mean_theta[1:])

    def _schedulers(self) -> list[Any]:
        schedulers = self.lr_schedulers()
        return schedulers if isinstance(schedulers, list) else [] if schedulers is None else [schedulers]

    def _require_sane(self, step: objective.Step) -> None:
        norm = step.grad_norm
        if self.learning_rate * norm < ABSURD and step.is_finite:
            return
        number, steps_per_epoch = self.trainer.global_step + 1, self.trainer.num_training_batches
        raise Diverged(
            f"diverged at step {number} (epoch {(number - 1) // steps_per_epoch:.0f}) with learning_rate"
            f" {self.learning_rate:g}: the loss is {float(step.loss):.3g}, the gradient's norm {norm:.3g}"
        )

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Predictions (N, K); targets in the batch are ignored."""
        prediction: Tensor = self(batch if isinstance(batch, Tensor) else batch[0])
        return prediction


def truncated_normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> Tensor:
    """Normal of standard deviation `std`, redrawn beyond two of them."""
    return std * nn.init.trunc_normal_(torch.empty(shape), a=-2, b=2, generator=generator)
