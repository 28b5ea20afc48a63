"""Moments of the rows, against sums over the rows; runs that are followed together, against each alone."""

import numpy as np
import pytest

from linreg_pl.core import drawn_batches
from linreg_pl.core.expected_loss import Descent
from linreg_pl.core.row_moments import RowMoments
from tests.test_expected_loss import Rows


@pytest.mark.parametrize("most_directions", [45, 0])
@pytest.mark.parametrize("num_targets", [1, 3])
def test_moments(num_targets: int, most_directions: int) -> None:
    """Each is the average over the rows, however it is computed."""
    random = np.random.default_rng(1)
    rows, residuals = random.normal(size=(20, 4)), random.normal(size=(20, num_targets))
    weights, shares = random.uniform(0.5, 1.5, size=(20, 1)), random.dirichlet(np.ones(20))[:, None]
    moments = RowMoments(rows, residuals, weights, shares, most_directions)
    factors, extended = 2 / num_targets * weights[:, 0], np.hstack([rows, residuals])
    P = extended.shape[1]
    values, carried = random.normal(size=(5, 2, P, P)), random.normal(size=(5, num_targets, 4, 2, P))
    forms = np.einsum("ni,abij,nj->abn", extended, values, extended)
    expected = np.einsum("n,abn,ni,nj->abij", shares[:, 0] * factors**2, forms, rows, rows)
    np.testing.assert_allclose(moments.quadratic(values), expected, rtol=1e-12, atol=1e-12)

    of_rows = np.einsum("n,nq,skqdp,np->nskqd", factors, rows, carried, extended)
    of_rows = of_rows - np.einsum("n,nskqd->skqd", shares[:, 0], of_rows)
    flat = of_rows.reshape(20, 5, -1)
    covariance = np.einsum("n,nsa,nsb->sab", shares[:, 0], flat, flat)
    np.testing.assert_allclose(moments.covariance(carried), covariance, rtol=1e-12, atol=1e-12)
    pull = np.einsum("n,n,na,nb,nskb->ska", shares[:, 0], factors, rows, rows, of_rows[..., 0])
    np.testing.assert_allclose(moments.pull(carried[..., 0, :]), pull, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "epochs"), [(6, 3), (30, 100)])
def test_runs_together(size: int, epochs: int) -> None:
    """Runs of different settings, some of which diverge, end as each of them does alone."""
    rows = Rows(123, 2)
    batches, steps, bound = rows.batches(size), epochs * (123 // size), 2 / float(rows.eigenvalues[-1])
    descents = [
        Descent(share * bound, steps, momentum, schedule, averaged)
        for share in (0.02, 0.3, 5)
        for momentum in (0.0, 0.4, 0.9)
        for schedule in ("constant", "cosine")
        for averaged in (0, steps // 3)
    ]
    starts = [rows.start * (1 + number) for number in range(len(descents))]
    for most_numbers in (10**6, 1000):
        found = dict(drawn_batches.outcomes(batches, starts, descents, most_numbers))
        assert sorted(found) == list(range(len(descents)))
        assert {outcome.is_finite for outcome in found.values()} == {True, False}
        for number, (start, descent) in enumerate(zip(starts, descents, strict=True)):
            alone = drawn_batches.outcome(batches, start, descent)
            np.testing.assert_allclose(found[number].mean, alone.mean, rtol=1e-9)
            np.testing.assert_allclose(
                found[number].covariance, alone.covariance, rtol=1e-9, atol=1e-12 * np.abs(alone.covariance).max()
            )
