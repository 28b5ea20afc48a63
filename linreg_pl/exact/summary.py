"""Formats the exact solution for the terminal, as `linreg solve` prints it."""

import math

from torch import Tensor

from linreg_pl.core.statistics import shown_coefficients
from linreg_pl.exact.epochs_in_words import counted, shown_epochs
from linreg_pl.exact.solution import Solution


def solution_lines(solution: Solution) -> list[str]:
    """Returns the lines that `linreg solve` prints."""
    problem, statistics = solution.problem, solution.statistics
    rate_labels = {
        "full_batch": "on all rows",
        "worst_batch": "on the worst batch alone",
        "cycle": "over the cycle",
        "mean_square": "in the mean square",
    }
    rates = problem.stable_learning_rates(solution.model.momentum)
    lines = [line for target in range(solution.data.num_targets) for line in _table(solution, target)]
    lines += [f"WARNING  {warning}" for warning in solution.warnings()]
    rows = counted(problem.optimum.data.num_rows, "row")
    return [
        *lines,
        f"{rows}, loss {problem.optimum.objective:.6g},"
        f" R² {_listed(statistics.r_squared)}, residual deviation {_listed(statistics.residual_std)}",
        "",
        _condition_line(solution),
        "largest stable learning rate " + ", ".join(f"{rate:.5g} {rate_labels[name]}" for name, rate in rates.items()),
        *_direction_lines(solution),
        *filter(None, [solution.advice()]),
    ]


def _condition_line(solution: Solution) -> str:
    """Returns the condition number: of the standardized columns where steps are preconditioned."""
    problem = solution.problem
    if solution.is_preconditioned:
        apart = problem.optimum.constant or problem.optimum.null.shape[1]
        rest = ", apart from the constant and the collinear directions" if apart else ""
        return f"condition number of the standardized columns {problem.optimum.condition:.4g}{rest}"
    return f"condition number {problem.condition_number:.4g}"


def _table(solution: Solution, target: int) -> list[str]:
    """Returns a line a coefficient of one target, below a header."""
    names = ["intercept", *solution.data.feature_names]
    width = max(len(name) for name in names)
    title = "" if solution.data.num_targets == 1 else solution.data.target_names[target]
    lines = [f"{title:{width}}      estimate  standard error    95% interval"]
    W, b = shown_coefficients(solution.problem.optimum)
    for row, name in enumerate(names):
        if row == 0 and not solution.model.fit_intercept:
            continue
        entry = solution.estimate(row, target)
        error, (low, high) = entry["standard_error"], entry["confidence_interval"]
        uncertainty = f"{error:14.6g}    {low:.6g} … {high:.6g}" if error is not None else f"{'unknown':>14}"
        estimate = float(W[row - 1, target] if row else b[target])
        lines.append(f"{name:{width}}  {estimate:12.6g}  {uncertainty}")
    return lines


def _direction_lines(solution: Solution, most: int = 12) -> list[str]:
    """Returns a line a direction below a heading; none where steps are preconditioned.

    Of more than `most`, only the fastest and the slowest are shown, as the JSON has them all.
    """
    if solution.is_preconditioned:
        return []
    heading = f"epochs in which an error halves, at learning rate {solution.learning_rate:.4g}:"
    width = max(len(name) for name, _ in solution.halving_epochs)
    lines = [
        f"  {name:{width}}  {f'{epochs:.1f}' if epochs < 1e4 else shown_epochs(epochs):>9}"
        for name, epochs in solution.halving_epochs
    ]
    if len(lines) <= most:
        return [heading, *lines]
    half = most // 2
    return [heading, *lines[:half], f"  and {len(lines) - 2 * half} more in between", *lines[-half:]]


def _listed(values: Tensor) -> str:
    return ", ".join(f"{value:.6g}" if math.isfinite(value) else "unknown" for value in values.tolist())
