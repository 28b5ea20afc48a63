"""Checks the conversion between the user's units and those of standardized features."""

import torch
from hypothesis import given, settings

from linreg_pl.core.objective import predict
from linreg_pl.core.scaling import Scaling, standardization, users_units
from linreg_pl.core.triangle import triangle_of
from tests.problems import Problem, problem, problems


@given(problems())
@settings(max_examples=40)
def test_scaling_keeps_predictions(given_problem: Problem) -> None:
    x, _, W_z, b_z, _ = given_problem
    means, scales = x[0], 0.1 + x[-1].abs()
    scaling = Scaling(means, scales)
    theta = scaling.matrix @ torch.cat([b_z.unsqueeze(0), W_z])
    torch.testing.assert_close(predict(x, theta[1:], theta[0]), predict((x - means) / scales, W_z, b_z))
    torch.testing.assert_close(scaling.inverse @ scaling.matrix, torch.eye(len(scaling.matrix), dtype=torch.float64))


def test_standardization() -> None:
    x, y, *_ = problem(50, 3, 1, 0.0, seed=11)
    x[:, 1] = 0.1
    scaling = standardization(triangle_of([(x, y)]))
    z = (x - scaling.means) / scaling.scales
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-14)
    expected = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)  # a constant column stays constant, and is centred
    torch.testing.assert_close(z.std(dim=0, correction=0), expected, rtol=0, atol=1e-13)
    assert scaling.scales[1] == 1


def test_no_centring_without_an_intercept() -> None:
    x, y, *_ = problem(50, 3, 1, 0.0, seed=11)
    scaling = standardization(triangle_of([(x + 7, y)]), fit_intercept=False)
    assert torch.equal(scaling.means, torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(scaling.scales, x.std(dim=0, correction=0))


def test_users_units_are_the_identity() -> None:
    assert torch.equal(users_units(2).matrix, torch.eye(3, dtype=torch.float64))
    assert torch.equal(users_units(2).inverse, torch.eye(3, dtype=torch.float64))
