"""Checks the tails of the t and F distributions against mpmath and SciPy."""

import math

import mpmath
import pytest
from scipy import stats

from linreg_pl.core.incomplete_beta import f_tail, t_tails
from linreg_pl.core.student_t import student_quantile

DEGREES = [1, 2, 5, 10.4, 23, 431, 53_916, 5e6]


@pytest.mark.parametrize("between", [1, 2, 3.7, 10, 100])
@pytest.mark.parametrize("within", DEGREES)
def test_f_tail_equals_mpmath(between: float, within: float) -> None:
    checked = 0
    with mpmath.workdps(40):
        for f in (1e-6, 0.3, 0.99, 1.0, 1.3, 4.0, 46.27, 1e4):
            x = mpmath.mpf(within) / (mpmath.mpf(within) + mpmath.mpf(between) * mpmath.mpf(f))
            if within / 2 * mpmath.log(x) < -1000:  # the tail is below the smallest float64, and mpmath is slow there
                assert f_tail(f, between, within) < 1e-300
                continue
            try:
                tail = mpmath.betainc(mpmath.mpf(within) / 2, mpmath.mpf(between) / 2, 0, x, regularized=True)
            except (mpmath.libmp.libhyper.NoConvergence, ValueError):
                continue
            checked += 1
            if tail > 1e-300:
                assert f_tail(f, between, within) == pytest.approx(float(tail), rel=1e-12), f
    assert checked >= 4


@pytest.mark.parametrize("degrees", DEGREES)
def test_t_tails_equal_scipys(degrees: float) -> None:
    for t in (0.0, -0.5, 1.0, -1.96, 3.0, 9.0, 30.0):
        assert t_tails(t, degrees) == pytest.approx(2 * stats.t.sf(abs(t), degrees), rel=1e-12), t


@pytest.mark.parametrize("degrees", [1, 4, 999, 1000, 10**6])
def test_quantile_has_its_tail(degrees: int) -> None:
    assert t_tails(student_quantile(0.95, degrees), degrees) == pytest.approx(0.05, rel=1e-11)


def test_closed_forms() -> None:
    """With two degrees between, the tail is (1 + 2 f / d)^(-d/2); one degree of t gives the Cauchy distribution."""
    assert f_tail(3.0, 2, 7) == pytest.approx((1 + 6 / 7) ** -3.5, rel=1e-14)
    assert t_tails(5.0, 1) == pytest.approx(2 * math.atan(1 / 5) / math.pi, rel=1e-14)


def test_ends_of_the_range() -> None:
    assert f_tail(0.0, 3, 5) == f_tail(-1.0, 3, 5) == 1
    assert f_tail(math.inf, 3, 5) == 0
    assert t_tails(1e6, 5e6) == 0, "below the smallest float64"
    for f, between, within in ((math.nan, 1, 1), (1, 0, 1), (1, 1, 0), (1, -1, 3)):
        assert math.isnan(f_tail(f, between, within))
