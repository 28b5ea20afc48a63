"""Plans the length of a run from the problem that its data poses, so that coefficients end close to the exact ones."""

import math

import torch
from torch import Tensor

from linreg_pl.core.learning_rate_schedules import Schedule, ScheduledRate
from linreg_pl.core.run_length import ExpectedDescent, Plan, PreconditionedDescent
from linreg_pl.core.statistics import statistics
from linreg_pl.training.hyper_parameters import HyperParameters
from linreg_pl.training.problem import Problem


def most_epochs(problem: Problem) -> int:
    """Returns the limit of an automatic length: 3000 steps, or 30 epochs for tables of more than 100 000 rows."""
    return 30 if problem.num_rows > 100_000 else max(1, 3000 // problem.steps_per_epoch)


def preconditioned_descent(problem: Problem, settings: HyperParameters, dtype: torch.dtype) -> PreconditionedDescent:
    """Returns the expected progress of preconditioned descent, of the target that is furthest from its exact W."""
    optimum, factor = problem.optimum, problem.whole_factor
    fit, entries = statistics(optimum), optimum.data.total_weight * optimum.W.shape[1]
    penalties = (optimum.penalty.high @ optimum.theta.high).square().sum(dim=0)
    explained = (fit.explained_squares / entries - penalties).clamp(min=0)
    start = (2 * settings.init_std * factor[:, int(optimum.fit_intercept) :]).square().sum()
    if settings.start_at_mean:  # the start is shortened to where predictions vary at most twice as much as the target
        variances = 4 * (fit.explained_squares + fit.residual_squares) / entries
        start = torch.where(variances > 0, torch.minimum(start, variances), start)
    gaps = explained + start
    sizes = explained + (problem.scaling.scales.unsqueeze(1) * optimum.W).square().sum(dim=0)
    rounding = torch.finfo(dtype).eps ** 2 * torch.where(sizes > 0, sizes, gaps)
    noise = torch.maximum(fit.residual_squares / entries + penalties, rounding)
    distances = torch.where(noise > 0, (gaps * problem.num_rows / noise).sqrt(), 0.0)
    return PreconditionedDescent(
        problem.steps_per_epoch,
        problem.safe_learning_rate(),
        float(distances.max()),
        problem.noise_bias,
        problem.noise_ratio,
        torch.finfo(dtype).eps,
    )


def planned_plain_descent(
    problem: Problem, W: Tensor, b: Tensor, learning_rate: float, momentum: float, schedule: Schedule
) -> Plan:
    """Plans plain descent from W (D, K) and b (K,) on, in at most `most_epochs`.

    It ends where a coefficient is on average a tenth of a standard error from its exact value. With l1, as
    many steps on all rows end a hundred times closer, and with the zeros of the exact solution.
    """
    errors, (_, lengths, Vt) = problem.errors(W, b), torch.linalg.svd(problem.factor, full_matrices=False)
    term = problem.optimum.l1_term
    loss = problem.optimum.objective - (0.0 if term is None else term.value)
    descent = ExpectedDescent(
        eigenvalues=2 * lengths.square(),
        errors=Vt @ problem.in_coordinates(errors),
        learning_rate=learning_rate,
        momentum=momentum,
        schedule=schedule,
        noise=loss / problem.batch_size if problem.steps_per_epoch > 1 else 0.0,
    )
    count, gap, close = problem.steps_per_epoch, problem.gap(errors), 0.1
    # What chance alone explains: a gap of so much is one standard error of each coefficient.
    size = problem.variance_explained or gap
    unit = max(loss, torch.finfo(W.dtype).eps ** 2 * size) * len(lengths) / problem.num_rows
    most = most_epochs(problem) * count
    steps = descent.steps_to(close**2 * unit, most)
    while term is not None and steps < most:
        rate = ScheduledRate(learning_rate, schedule, steps)
        course, gaps = problem.course(errors, steps, 1, rate.at, momentum)
        has_zeros = not course[-1][-len(W) :][term.minimum == 0].any()
        if len(course) > 1 and has_zeros and float(gaps[-1]) <= (close / 100) ** 2 * unit:
            break
        steps = min(2 * steps, most)
    distance = math.sqrt(descent.gap_after(steps) / unit) if unit else 0.0
    if learning_rate > problem.stable_learning_rates(momentum)["full_batch"]:  # the expected gap is that of small steps
        distance = math.inf
    return Plan(-(-steps // count), learning_rate, distance)
