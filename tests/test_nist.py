"""Counts the correct digits of the exact solution on NIST's sets, against rational arithmetic."""

import pytest
import torch

from linreg_pl.core.statistics import statistics
from tests.nist import NistSet, nist_sets

SETS = nist_sets()

# Digits of the worst coefficient, by streaming QR in float64 and then refined: the measured ones, less half a digit or
# more for processors that round in another order. For Norris, Pontius and Wampler 2 the rounding of y to float64 sets
# the limit; Filip's condition number of 5e9 multiplies the first solution's error by 5e9 · 1e-16.
DIGITS = {
    "norris": (11.8, 13.5),
    "pontius": (11.8, 13.0),
    "noint1": (15.0, 15.9),
    "noint2": (15.0, 15.9),
    "filip": (6.8, 12.0),
    "longley": (11.1, 15.0),
    "wampler1": (8.0, 15.0),
    "wampler2": (12.5, 12.5),
    "wampler3": (8.0, 15.0),
    "wampler4": (7.5, 15.0),
    "wampler5": (5.5, 15.0),
}


@pytest.fixture(params=SETS)
def nist_set(request: pytest.FixtureRequest) -> NistSet:
    return SETS[request.param]


def test_rational_equals_certified(nist_set: NistSet) -> None:
    """The rows are copied correctly. Certified values have 15 digits."""
    for key, exact in (
        ("coefficients", [float(value) for value in nist_set.coefficients]),
        ("standard_errors", nist_set.standard_errors),
        ("residual_std", nist_set.residual_std),
        ("r_squared", nist_set.r_squared),
    ):
        if nist_set.certified[key] is not None:
            assert exact == pytest.approx(nist_set.certified[key], rel=2e-14), key


def test_coefficients(nist_set: NistSet) -> None:
    first, refined = nist_set.solved(), nist_set.refined()
    first_digits, refined_digits = (
        nist_set.digits(solution.theta.high[solution.free]) for solution in (first, refined)
    )
    print(f"{nist_set.name}: {first_digits:.1f}, refined {refined_digits:.1f}")
    assert first_digits >= DIGITS[nist_set.name][0]
    assert refined_digits >= DIGITS[nist_set.name][1]
    assert not first.dependent, "even Filip's ten powers are independent"
    assert not first.constant


def test_standard_errors_and_residuals(nist_set: NistSet) -> None:
    fit = statistics(nist_set.refined())
    rows = slice(0 if nist_set.fit_intercept else 1, None)
    # Where the fit is exact the residuals are y's rounding to float64, of numbers up to 1e7.
    rounding = 1e-15 * max(abs(float(value)) for (value,) in nist_set.y)
    spread = 0.0 if nist_set.residual_std else 1e-9
    assert fit.residual_std.item() == pytest.approx(nist_set.residual_std, rel=1e-6, abs=rounding)
    assert fit.standard_errors[rows].flatten().tolist() == pytest.approx(nist_set.standard_errors, rel=1e-6, abs=spread)
    assert fit.r_squared.item() == pytest.approx(nist_set.r_squared, abs=1e-9)
    assert fit.degrees_of_freedom == pytest.approx(len(nist_set.y) - len(nist_set.coefficients), abs=1e-9)
    if not nist_set.fit_intercept:
        assert torch.equal(fit.standard_errors[0], torch.zeros(1, dtype=torch.float64))
