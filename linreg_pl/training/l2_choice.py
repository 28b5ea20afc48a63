"""Chooses l2 by cross-validation on the rows to fit: the largest within one standard error of the best."""

from dataclasses import dataclass

from linreg_pl.core.cross_validation import cross_validated
from linreg_pl.core.elastic_net_path import Axis
from linreg_pl.core.ridge_path import Posing, default_l2
from linreg_pl.core.threads import threads_that_pay
from linreg_pl.data.base import Rows
from linreg_pl.data.folds import FoldPlan
from linreg_pl.errors import InputError
from linreg_pl.training.hyper_parameters import HyperParameters


@dataclass(frozen=True)
class L2Choice:
    """The l2 that was chosen, and how, in words."""

    l2: float
    reason: str


def chosen_l2(data: Rows, settings: HyperParameters) -> L2Choice:
    """Returns the l2 chosen among the values that `linreg path` tries by default; takes a pass over the rows to fit.

    Raises:
        InputError: the rows can't be divided into folds.
    """
    plan, instead = FoldPlan(), "give --model.l2 a number"
    if data.num_rows_to_fit < plan.count:
        raise InputError(f"l2 is auto, and there are {data.num_rows_to_fit} rows for {plan.count} folds: {instead}")
    posing = Posing(settings.fit_intercept, settings.standardize, settings.fold_bias)
    try:
        folds = data.folds(plan)
    except InputError as refusal:
        raise InputError(f"l2 is auto: {str(refusal).partition(': give')[0]}: {instead}") from refusal
    with threads_that_pay(data.num_features**3):
        values = default_l2(folds.whole, posing)
        validation = cross_validated(folds, values, posing, Axis("l2", settings.l1))
    best, choice = validation.best, validation.within_one_standard_error
    l2, smallest = float(values[choice]), float(validation.errors[best])
    error, spread = float(validation.errors[choice]), float(validation.standard_errors[best])
    reason = f"{plan.in_words}: error {error:.6g}, smallest {smallest:.6g} ± {spread:.3g} at l2 {values[best]:.6g}"
    return L2Choice(l2, f"l2 {l2:.6g} chosen by {reason}")
