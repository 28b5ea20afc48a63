"""Checks the exact solution against rational arithmetic, scikit-learn and NumPy, and for optimality."""

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch import Tensor

from linreg_pl.core import objective
from linreg_pl.core.optimum import Optimum, optimum, penalty_rows
from linreg_pl.core.refinement import refined
from linreg_pl.core.scaling import Scaling, standardization, users_units
from linreg_pl.core.triangle import triangle_of
from tests.problems import problem
from tests.rationals import Matrix, Paraboloid, add, floats, product, rational, with_ones

# float64, on small random problems with condition numbers up to some hundreds.
CLOSE: Any = {"rtol": 1e-11, "atol": 1e-11}


class Setup(NamedTuple):
    """A least-squares problem with a unique solution, and the model's settings."""

    x: Tensor  # (N, D)
    y: Tensor  # (N, K)
    l2: float
    fit_intercept: bool
    fold_bias: bool
    scaling: Scaling

    def solved(self) -> Optimum:
        """Solves by the triangle."""
        penalty = penalty_rows(self.x.shape[1], self.l2, self.fold_bias, self.scaling)
        return optimum(triangle_of([(self.x, self.y)]), penalty, self.fit_intercept)

    def refined(self) -> Optimum:
        """Solves to all digits."""
        return refined(self.solved(), [(self.x, self.y)])

    @property
    def free(self) -> slice:
        """Returns the rows of θ that are fitted."""
        return slice(0 if self.fit_intercept else 1, None)

    def exact(self) -> Paraboloid:
        """Returns J in rational arithmetic; its θ has the fitted rows only."""
        D = self.x.shape[1]
        means, scales = rational(torch.stack([self.scaling.means, self.scaling.scales]))
        P = [[Fraction(self.fold_bias), *(self.fold_bias * mean for mean in means)]]  # b_z = b + means · W
        P += [[Fraction(), *(scales[i] if i == j else Fraction() for j in range(D))] for i in range(D)]
        columns = with_ones(rational(self.x))
        return Paraboloid(
            [row[self.free] for row in columns],
            rational(self.y),
            Fraction(self.l2),
            [row[self.free] for row in P],
        )


@st.composite
def setups(draw: st.DrawFn) -> Setup:
    num_features, fit_intercept = draw(st.integers(1, 3)), draw(st.booleans())
    x, y, W, _, l2 = problem(
        num_rows=draw(st.integers(num_features + 2, 8)),
        num_features=num_features,
        num_targets=draw(st.integers(1, 2)),
        l2=draw(st.sampled_from([0.0, 1e-10, 0.3, 7.1])),
        seed=draw(st.integers(0, 2**31)),
    )
    scaling = Scaling(W[:, 0], 0.1 + W[:, 0].abs()) if draw(st.booleans()) else users_units(num_features)
    if not fit_intercept:
        scaling = Scaling(torch.zeros_like(scaling.means), scaling.scales)
    return Setup(x, y, l2, fit_intercept, fit_intercept and draw(st.booleans()), scaling)


def random_like(theta: Tensor, seed: int) -> Tensor:
    return torch.randn(theta.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(setups(), st.integers(0, 25), st.integers(0, 2**31))
@settings(max_examples=40)
def test_tiny_gap_keeps_its_digits(setup: Setup, exponent: int, seed: int) -> None:
    """J - J* is about 10^-exponent of J*: below 1e-16 a float64 difference would lose all of it."""
    solution, exact = setup.refined(), setup.exact()
    smallest, minimum = exact.value(exact.minimum()), exact.minimum()
    offset = random_like(solution.theta.high, seed)
    offset[: setup.free.start] = 0
    best = solution.theta.high
    offset *= (float(smallest) * 10.0**-exponent / solution.gap(best[1:] + offset[1:], best[0] + offset[0])) ** 0.5
    theta = best + offset
    exact_theta: Matrix = rational(theta)[setup.free]
    gap = exact.value(exact_theta) - smallest
    assert gap == product_gap(exact, add(exact_theta, minimum, factor=-1))
    assert solution.gap(theta[1:], theta[0]) == pytest.approx(float(gap), rel=1e-9)
    gradient = solution.gradient(theta[1:], theta[0])[setup.free]
    torch.testing.assert_close(
        gradient, floats(exact.gradient(exact_theta)), rtol=1e-8, atol=1e-9 * float(gradient.abs().max())
    )


def product_gap(exact: Paraboloid, error: Matrix) -> Fraction:
    """Sums error' · half Hessian · error over the targets."""
    image = product(exact.hessian, error)
    return sum(
        (a * m for left, right in zip(error, image, strict=True) for a, m in zip(left, right, strict=True)), Fraction()
    )


@given(setups())
@settings(max_examples=40)
def test_minimum_equals_rational(setup: Setup) -> None:
    solution, exact = setup.solved(), setup.exact()
    assert solution.objective == pytest.approx(float(exact.value(exact.minimum())), rel=1e-10)
    torch.testing.assert_close(solution.theta.high[setup.free], floats(exact.minimum()), **CLOSE)
    assert solution.fit_intercept == setup.fit_intercept
    assert not solution.dependent


@given(setups())
@settings(max_examples=40)
def test_refined_has_all_digits(setup: Setup) -> None:
    """A pair has 106 bits, 32 digits; the refined error is float64's rounding squared, times the condition number."""
    minimum = setup.exact().minimum()
    pair = setup.refined().theta
    error = add(add(rational(pair.high), rational(pair.low))[setup.free], minimum, factor=-1)
    assert floats(error).abs().max() < 1e-26 * max(1, float(floats(minimum).abs().max()))


@given(setups(), st.integers(0, 2**31))
@settings(max_examples=40)
def test_gradient_equals_the_objectives(setup: Setup, seed: int) -> None:
    """In the user's units, with b penalised or not; autograd through J is a second reference."""
    x, y, l2 = setup.x, setup.y, setup.l2
    solution = setup._replace(scaling=users_units(x.shape[1])).solved()
    theta = random_like(solution.theta.high, seed)
    theta[: setup.free.start] = 0
    W, b = theta[1:].clone().requires_grad_(), theta[0].clone().requires_grad_()
    loss = objective.objective(x, y, W, b, l2) + (objective.penalty(b, l2) if setup.fold_bias else 0)
    loss.backward()
    step = objective.value_and_gradient(x, y, W, b, l2)
    step = objective.with_penalized_bias(step, b, l2) if setup.fold_bias else step
    gradient = solution.gradient(W, b)
    assert W.grad is not None
    assert b.grad is not None
    torch.testing.assert_close(gradient[1:], W.grad, **CLOSE)
    torch.testing.assert_close(gradient[1:], step.grad_W, **CLOSE)
    if setup.fit_intercept:
        torch.testing.assert_close(gradient[0], b.grad, **CLOSE)
        torch.testing.assert_close(gradient[0], step.grad_b, **CLOSE)
        assert solution.objective + solution.gap(W, b) == pytest.approx(loss.item(), rel=1e-11)


@given(setups())
@settings(max_examples=40)
def test_gradient_vanishes_at_the_optimum(setup: Setup) -> None:
    """Autograd's gradient of J is 0, with J written out in the units that are penalised."""
    solution = setup.solved()
    theta = solution.theta.high.clone().requires_grad_()
    W_z = setup.scaling.scales.unsqueeze(1) * theta[1:]
    b_z = theta[0] + setup.scaling.means @ theta[1:]
    loss = objective.objective(setup.x, setup.y, theta[1:], theta[0], 0.0) + objective.penalty(W_z, setup.l2)
    loss = loss + (objective.penalty(b_z, setup.l2) if setup.fold_bias else 0)
    loss.backward()
    assert theta.grad is not None
    assert theta.grad[setup.free].abs().max() < 1e-11 * max(1.0, float(theta.detach().abs().max()))
    assert loss.item() == pytest.approx(solution.objective, rel=1e-11)


@pytest.mark.parametrize("fold_bias", [False, True])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("num_targets", [1, 3])
def test_ridge_equals_scikit_learns(num_targets: int, standardize: bool, fold_bias: bool) -> None:
    """A penalised b equals scikit-learn's Ridge without an intercept, on an additional column of ones."""
    x, y, W, *_ = problem(50, 4, num_targets, 0.0, seed=3)
    x = 5 * x * W[:, 0] + 3
    data = triangle_of([(x, y)])
    scaling = standardization(data) if standardize else users_units(4)
    solution = optimum(data, penalty_rows(4, 0.2, fold_bias, scaling))
    z = (x - x.mean(0)) / x.std(0, correction=0) if standardize else x
    if fold_bias:
        z = torch.cat([torch.ones(50, 1, dtype=torch.float64), z], dim=1)
    peer = Ridge(alpha=50 * num_targets * 0.2, fit_intercept=not fold_bias).fit(z.numpy(), y.numpy())
    ours = x @ solution.W + solution.b
    np.testing.assert_allclose(ours.numpy(), peer.predict(z.numpy()).reshape(50, -1), rtol=0, atol=1e-11)
    W_z = (scaling.inverse @ solution.theta.high)[1:].T.numpy()
    np.testing.assert_allclose(W_z, np.atleast_2d(peer.coef_)[:, -4:], rtol=0, atol=1e-11)


DEPENDENT = {  # the linearly dependent columns of [1, x], apart from the constant ones
    "more features than rows": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    "a column twice": [2, 4],
    "a combination": [1, 3, 4],
    "a constant column": [],
    "shifted and in other units": [0, 1, 3],
    "one of each kind": [0, 1, 2, 3, 4],
    "no difference": [],
}
CONSTANT = {"a constant column": [2], "no difference": [1, 2, 3, 4]}


def deficient(kind: str) -> tuple[Tensor, Tensor]:
    """Returns rows whose columns are linearly dependent."""
    wide = kind == "more features than rows"
    x, y, *_ = problem(6 if wide else 30, 9 if wide else 4, 2, 0.0, seed=4)
    if kind == "a column twice":
        x[:, 3] = x[:, 1]
    elif kind == "a combination":
        x[:, 2] = 3 * x[:, 0] - x[:, 3]
    elif kind == "a constant column":
        x[:, 1] = 0.1
    elif kind == "shifted and in other units":
        x[:, 2] = 1e9 * x[:, 0] + 1e8
    elif kind == "one of each kind":
        x = torch.eye(4, dtype=torch.float64)[torch.arange(30) % 4]
    elif kind == "no difference":
        x[:] = 0
    return x, y


@pytest.mark.parametrize("kind", DEPENDENT)
def test_smallest_of_many_solutions(kind: str) -> None:
    """W is NumPy's minimum-norm solution on centred data; b follows from the means."""
    x, y = deficient(kind)
    solution = optimum(triangle_of([(x, y)]), penalty_rows(x.shape[1], 0.0))
    W, *_ = np.linalg.lstsq((x - x.mean(0)).numpy(), (y - y.mean(0)).numpy(), rcond=1e-12)
    # Units of 1e9 leave NumPy, which does not scale columns, fewer digits.
    np.testing.assert_allclose(solution.W.numpy(), W, rtol=0, atol=1e-6 if "units" in kind else 1e-11)
    b = y.mean(0).numpy() - x.mean(0).numpy() @ solution.W.numpy()
    np.testing.assert_allclose(solution.b.numpy(), b, rtol=0, atol=1e-10)
    assert solution.dependent == solution.unidentified == DEPENDENT[kind]
    assert solution.constant == CONSTANT.get(kind, [])
    J = objective.objective(x, y, solution.W, solution.b, 0.0).item()
    assert solution.objective == pytest.approx(J, rel=1e-12, abs=1e-20)


@pytest.mark.parametrize("kind", ["more features than rows", "a column twice", "one of each kind", "no difference"])
def test_smallest_is_the_limit_of_ridge(kind: str) -> None:
    """Ridge in rational arithmetic, with a penalty of 1e-40, is within about 1e-40 of its limit.

    Only for the kinds whose columns are linearly dependent in float64 to the last bit.
    """
    x, y = deficient(kind)
    size = 1 + x.shape[1]
    penalized = [[Fraction(i == j and i > 0) for j in range(size)] for i in range(size)]
    exact = Paraboloid(with_ones(rational(x)), rational(y), Fraction(1, 10**40), penalized)
    solution = optimum(triangle_of([(x, y)]), penalty_rows(x.shape[1], 0.0))
    torch.testing.assert_close(solution.theta.high, floats(exact.minimum()), **CLOSE)


@pytest.mark.parametrize("num_rows", [100, 5000])
@pytest.mark.parametrize("num_features", [1, 6])
def test_constant_column_is_named_apart(num_rows: int, num_features: int) -> None:
    x, y, *_ = problem(num_rows, num_features, 1, 0.0, seed=5)
    x[:, 0] = 0.1
    solution = optimum(triangle_of([(x, y)]), penalty_rows(num_features, 0.0))
    assert (solution.constant, solution.dependent, solution.unidentified) == ([1], [], [])
    assert solution.W[0] == 0, "b already explains it"


def test_penalty_makes_the_solution_unique() -> None:
    x, y = deficient("a column twice")
    solution = optimum(triangle_of([(x, y)]), penalty_rows(4, 1e-6))
    assert solution.dependent == [2, 4], "by the data alone"
    torch.testing.assert_close(solution.W[1], solution.W[3], rtol=0, atol=1e-9)  # 1e-16 by a condition of 1e3
    assert not optimum(triangle_of([(x, y)]), penalty_rows(4, 1e-5)).unidentified
    hardly = optimum(triangle_of([(x, y)]), penalty_rows(4, 1e-10))
    assert hardly.dependent == hardly.unidentified == [2, 4]


def test_dependent_columns_without_an_intercept() -> None:
    x, y = deficient("a column twice")
    solution = optimum(triangle_of([(x, y)]), penalty_rows(4, 0.0), fit_intercept=False)
    assert solution.dependent == [2, 4]
    assert torch.equal(solution.b, torch.zeros(2, dtype=torch.float64))


def test_penalised_bias_shares_with_a_constant_column() -> None:
    """The gradient by autograd vanishes there: the constant column's W takes a part of the intercept."""
    x, y, *_ = problem(60, 3, 1, 0.0, seed=8)
    x[:, 1], y = 2.0, y + 5
    solution = optimum(triangle_of([(x, y)]), penalty_rows(3, 0.1, fold_bias=True))
    W, b = solution.W.clone().requires_grad_(), solution.b.clone().requires_grad_()
    J = objective.objective(x, y, W, b, 0.1) + 0.1 * b.square().sum()
    J.backward()
    assert not solution.constant
    assert solution.objective == pytest.approx(J.item(), rel=1e-12)
    for gradient in (W.grad, b.grad):
        assert gradient is not None
        assert gradient.abs().max() < 1e-12


def test_refined_without_features() -> None:
    """The intercept alone is the mean of y."""
    x, y = torch.zeros(5, 0, dtype=torch.float64), torch.arange(5, dtype=torch.float64).unsqueeze(1)
    solution = refined(optimum(triangle_of([(x, y)]), penalty_rows(0, 0.0)), [(x, y)])
    assert solution.b.tolist() == [2]
