"""Formats the exact solution as text, for the terminal and for `print`, and as HTML for notebooks."""

import html
import math
from collections.abc import Iterable

from linreg_pl.core.accuracy import fewest_digits
from linreg_pl.core.statistics import shown_coefficients
from linreg_pl.errors import printable, without_flags
from linreg_pl.exact.epochs_in_words import counted, shown_epochs
from linreg_pl.exact.estimates import Estimates

HEADER = ("estimate", "standard error", "t", "p", "95% interval")


def solution_lines(solution: Estimates) -> list[str]:
    """Returns the lines that `linreg solve` prints."""
    return [*fit_lines(solution), "", *convergence_lines(solution)]


def fit_lines(solution: Estimates) -> list[str]:
    """Returns the lines of the coefficients, and of how well they fit."""
    lines = [line for target in range(len(solution.target_names)) for line in _table(solution, target)]
    return [*lines, *(f"WARNING  {warning}" for warning in solution.warnings()), *_criteria(solution)]


def errors_in_words(solution: Estimates) -> str:
    """Describes the standard errors, where they are not simply those of least squares."""
    settings, robust, words = solution.settings, solution.inference.robust, list[str]()
    if settings.l1:
        return f"none, as --model.l1 is {settings.l1:g}"
    if robust is not None and robust.num_groups is not None:
        words.append(f"clustered, {robust.num_groups} clusters")
    elif robust is not None:
        words.append(f"{robust.kind}, for noise that differs between rows")
    if settings.l2:
        words.append(f"of the biased estimate, as --model.l2 is {settings.l2:g}")
    return "; ".join(words)


def zeros_in_words(solution: Estimates) -> list[str]:
    """Returns a line on the coefficients that l1 makes 0, and on what is then unknown; none without l1."""
    term, D = solution.problem.optimum.l1_term, len(solution.feature_names)
    if term is None:
        return []
    counts = [f"{D - number} of {D}" for number in term.num_nonzero.tolist()]
    targets = [""] if len(counts) == 1 else [f" of {printable(name)}" for name in solution.target_names]
    zeros = ", ".join(f"{count} coefficients{target}" for count, target in zip(counts, targets, strict=True))
    return [
        f"{zeros} are 0, as --model.l1 is {term.l1:g}; there are no standard errors, because the same rows choose which"
    ]


def _criteria(solution: Estimates) -> list[str]:
    """Returns the lines below the table."""
    inference, words = solution.inference, errors_in_words(solution)
    fit, loss = inference.fit, solution.problem.optimum.objective
    lines = [f"standard errors: {words}"] if words and not fit.is_saturated else []
    if solution.settings.l1:
        lines = zeros_in_words(solution)
    lines.append(
        f"{counted(solution.num_rows, 'row')}, loss {loss:.6g}, R² {_listed(fit.r_squared.tolist())},"
        f" residual deviation {_listed(fit.residual_std.tolist())}"
    )
    lines += _certain_digits(solution)
    if fit.is_saturated:
        return lines
    tests = inference.f_tests
    between, within = tests[0].degrees_of_freedom
    f_test = (
        f" F {_listed(test.statistic for test in tests)} on {between:.6g} and {within:.6g} degrees of freedom,"
        f" p {', '.join(_p_value(test.p_value) for test in tests)}"
    )
    return [
        *lines,
        f"adjusted R² {_listed(inference.adjusted_r_squared.tolist())},"
        + (f" {within:.6g} degrees of freedom" if solution.settings.l1 else f_test),
        f"log-likelihood {_listed(inference.log_likelihood.tolist())}, AIC {_listed(inference.aic.tolist())},"
        f" BIC {_listed(inference.bic.tolist())}",
        *([] if solution.settings.l1 or solution.settings.l2 else _inflation(solution)),
    ]


def _certain_digits(solution: Estimates, shown: int = 6) -> list[str]:
    """Returns a line on how many digits of the estimates are certain; none where no estimate is determined."""
    optimum = solution.problem.optimum
    fewest = fewest_digits(optimum)
    if fewest == math.inf:
        return []
    determined = " that the rows determine" if optimum.unidentified else ""
    all_shown = "" if fewest >= shown else f" of the {shown} that are shown"
    return [f"certain digits of the estimates{determined}: at least {int(fewest)}{all_shown}"]


def _inflation(solution: Estimates, notable: float = 10, most: int = 4) -> list[str]:
    """Returns a line with the largest variance inflation factors, as far as they exceed what is thought harmless.

    They describe least squares: with a penalty, standard errors do not grow by them.
    """
    factors = sorted(solution.vif.items(), key=lambda item: -item[1] if not math.isnan(item[1]) else 0.0)
    large = [(name, factor) for name, factor in factors if notable < factor < math.inf]
    shown = ", ".join(f"{printable(name)} {factor:.4g}" for name, factor in large[:most])
    more = f" and {len(large) - most} more" if len(large) > most else ""
    return [f"variance inflation factors above {notable:g}: {shown}{more}"] if large else []


def _table(solution: Estimates, target: int) -> list[str]:
    """Returns a line a coefficient of one target, below a header."""
    names = [printable(name) for name, _ in solution.rows()]
    width = max(9, *map(len, names))
    title = "" if len(solution.target_names) == 1 else printable(solution.target_names[target])
    lines = [f"{title:{width}}  {HEADER[0]:>12}  {HEADER[1]:>14}  {HEADER[2]:>9}  {HEADER[3]:>9}    {HEADER[4]}"]
    if solution.settings.l1:
        estimates = zip(names, (texts[0] for texts in cells(solution, target)), strict=True)
        return [f"{title:{width}}  {HEADER[0]:>12}", *(f"{name:{width}}  {text:>12}" for name, text in estimates)]
    for name, (estimate, error, t, p, interval) in zip(names, cells(solution, target), strict=True):
        line = f"{name:{width}}  {estimate:>12}  {error:>14}"
        lines.append(line + (f"  {t:>9}  {p:>9}    {interval}" if interval else ""))
    return lines


def cells(solution: Estimates, target: int) -> list[tuple[str, str, str, str, str]]:
    """Returns the texts of a target's table: estimate, standard error, t, p and interval of each coefficient."""
    W, b = shown_coefficients(solution.problem.optimum)
    inference, rows = solution.inference, []
    for _, row in solution.rows():
        estimate = float(W[row - 1, target] if row else b[target])
        error = float(inference.standard_errors[row, target])
        if not error > 0:
            rows.append((f"{estimate:.6g}", "unknown", "", "", ""))
            continue
        low, high = solution.interval(row, target)
        p = _p_value(float(inference.p_values[row, target]))
        rows.append((f"{estimate:.6g}", f"{error:.6g}", f"{estimate / error:.4g}", p, f"{low:.6g} … {high:.6g}"))
    return rows


def _p_value(p: float) -> str:
    if math.isnan(p):
        return "unknown"
    return f"{p:.3g}" if p > 1e-300 else "<1e-300"


def convergence_lines(solution: Estimates) -> list[str]:
    """Returns the lines of how fast gradient descent converges, and of what would help."""
    rate_labels = {
        "full_batch": "on all rows",
        "worst_batch": "on the worst batch alone",
        "cycle": "over the cycle",
        "mean_square": "in the mean square",
    }
    rates = solution.learning_rates
    return [
        _condition_line(solution),
        "largest stable learning rate " + ", ".join(f"{rate:.5g} {rate_labels[name]}" for name, rate in rates.items()),
        *([] if solution.settings.l1 else _direction_lines(solution)),
        *filter(None, [solution.convergence.advice()]),
    ]


def _condition_line(solution: Estimates) -> str:
    """Returns the condition number: of the standardized columns where steps are preconditioned."""
    problem = solution.problem
    if solution.convergence.is_preconditioned:
        apart = problem.optimum.constant or problem.optimum.nullity
        rest = ", apart from the constant and the collinear directions" if apart else ""
        return f"condition number of the standardized columns {problem.optimum.condition:.4g}{rest}"
    return f"condition number {problem.condition_number:.4g}"


def _direction_lines(solution: Estimates, most: int = 12) -> list[str]:
    """Returns a line a direction below a heading; none where steps are preconditioned.

    Of more than `most`, only the fastest and the slowest are shown, as the JSON has them all.
    """
    convergence = solution.convergence
    if convergence.is_preconditioned:
        return []
    heading = f"epochs in which an error halves, at learning rate {convergence.learning_rate:.4g}:"
    halving_epochs = [(printable(name), epochs) for name, epochs in convergence.halving_epochs]
    width = max(len(name) for name, _ in halving_epochs)
    lines = [
        f"  {name:{width}}  {f'{epochs:.1f}' if epochs < 1e4 else shown_epochs(epochs):>9}"
        for name, epochs in halving_epochs
    ]
    if len(lines) <= most:
        return [heading, *lines]
    half = most // 2
    return [heading, *lines[:half], f"  and {len(lines) - 2 * half} more in between", *lines[-half:]]


def solution_html(solution: Estimates) -> str:
    """Returns the same table, and the lines below it, as HTML."""
    tables = []
    num_columns = 1 if solution.settings.l1 else len(HEADER)
    for target, title in enumerate(solution.target_names):
        header = "".join(f"<th>{each}</th>" for each in ("", *HEADER[:num_columns]))
        body = "".join(
            f"<tr><th>{html.escape(name)}</th>{''.join(f'<td>{text}</td>' for text in texts[:num_columns])}</tr>"
            for (name, _), texts in zip(solution.rows(), cells(solution, target), strict=True)
        )
        tables.append(f"<table><caption>{html.escape(title)}</caption><tr>{header}</tr>{body}</table>")
    notes = [*(f"WARNING {warning}" for warning in solution.warnings()), *_criteria(solution)]
    return "".join([*tables, *(f"<p>{html.escape(without_flags(note))}</p>" for note in notes)])


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.6g}" if math.isfinite(value) else "unknown" for value in values)
