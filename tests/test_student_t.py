"""Checks the quantile of Student's t distribution against SciPy's."""

import math

import pytest
from scipy import stats

from linreg_pl.core.student_t import student_quantile

DEGREES = [*range(1, 41), 99, 100, 321, 998, 999, 1000, 1001, 5000, 123_457, 10**9, 10**15]


@pytest.mark.parametrize("probability", [0.001, 0.5, 0.9, 0.95, 0.99, 0.9999])
def test_quantile_equals_scipys(probability: float) -> None:
    for degrees in DEGREES:
        expected = stats.t.ppf((1 + probability) / 2, degrees)
        # (1 + p) / 2 is rounded to float64, which near 1 changes the tail 1 - p by a relative 1e-16 / (1 - p).
        assert student_quantile(probability, degrees) == pytest.approx(expected, rel=1e-11), degrees


def test_closed_forms() -> None:
    """One degree gives the Cauchy distribution; two give t = p √(2 / (1 - p²))."""
    assert student_quantile(0.95, 1) == pytest.approx(math.tan(0.95 * math.pi / 2), rel=1e-13)
    assert student_quantile(0.95, 2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), rel=1e-13)


def test_no_degrees_give_infinity() -> None:
    assert student_quantile(0.95, 0) == math.inf


@pytest.mark.parametrize("probability", [0.0, 1.0, 1.5, -0.1, math.nan])
def test_invalid_probability_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match=f"probability is {probability}: give a number between 0 and 1"):
        student_quantile(probability, 5)
