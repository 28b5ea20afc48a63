"""Words what the rows of a problem leave undetermined: coefficients, or their standard errors."""

from linreg_pl.core.statistics import Statistics
from linreg_pl.errors import quoted
from linreg_pl.training.problem import Problem


def data_warnings(problem: Problem, fit: Statistics, target_names: list[str]) -> list[str]:
    """Returns a sentence for each reason why coefficients or their standard errors are not determined.

    Args:
        problem: The problem.
        fit: Statistics of its exact solution.
        target_names: Names of the targets.
    """
    sentences = []
    constant = [name for name, is_constant in zip(target_names, fit.is_constant.tolist(), strict=True) if is_constant]
    if fit.is_saturated:
        sentences.append(too_few_rows(problem))
    elif constant:
        verb = "is constant" if len(constant) == 1 else "are constant"
        sentences.append(f"the target {quoted(constant)} {verb}: there is nothing to explain")
    perfect = (
        []
        if fit.is_saturated
        else [name for name, is_perfect in zip(target_names, fit.is_perfect.tolist(), strict=True) if is_perfect]
    )
    perfect = [name for name in perfect if name not in constant]
    if perfect:
        target = f" of {quoted(perfect)}" if len(target_names) > 1 else ""
        sentences.append(
            f"an essentially perfect fit{target}: standard errors would be only rounding; is the target made from a"
            " feature?"
        )
    if problem.constant_columns:
        verb = "is constant: its W is" if len(problem.constant_columns) == 1 else "are constant: their W are"
        sentences.append(f"{quoted(problem.constant_columns)} {verb} 0")
    is_chosen_by_l1 = problem.optimum.l1_term is not None and problem.optimum.data.is_wide
    if problem.dependent_columns and not fit.is_saturated and not is_chosen_by_l1:
        sentences.append(collinear(problem))
    return sentences


def too_few_rows(problem: Problem) -> str:
    """Says that no degrees of freedom are left, and what to do."""
    rows, coefficients = problem.optimum.data.num_rows, len(problem.optimum.theta.high[problem.optimum.free])
    has_many = problem.optimum.nullity and problem.optimum.l1_term is None
    many = ", and many W are exact, of which the smallest are shown" if has_many else ""
    return (
        f"{rows} row{'s leave' if rows != 1 else ' leaves'} no degrees of freedom for {coefficients} coefficients, so"
        f" there are no standard errors{many}: use fewer features or more rows; is an identifier among the features?"
    )


def collinear(problem: Problem) -> str:
    """Says which columns are collinear, and what determines their coefficients."""
    columns = quoted(problem.dependent_columns)
    if problem.optimum.l1_term is not None:
        return (
            f"{columns} are collinear: only the penalty, --model.l1 {problem.optimum.l1_term.l1:g}, chooses among them"
        )
    if problem.optimum.nullity:
        return f"{columns} are collinear: many W are exact, and the smallest of them is shown"
    return f"{columns} are collinear: only the penalty, --model.l2 {problem.l2:g}, determines their values"
