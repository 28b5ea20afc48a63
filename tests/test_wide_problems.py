"""Tables with many more columns than rows: right against NumPy, and no array has columns times columns elements."""

import math
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from linreg_pl import LinearRegression, TableDataModule
from linreg_pl.core import parallel
from linreg_pl.core import triangle as triangle_module
from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.pseudo_inverse import PseudoInverse
from linreg_pl.core.refinement import refined
from linreg_pl.core.scaling import Scaling, users_units
from linreg_pl.core.statistics import statistics
from linreg_pl.core.triangle import Triangle, center_of, triangle_of
from linreg_pl.exact.solution import Solution, solve
from linreg_pl.exact.summary import solution_lines
from linreg_pl.training.hyper_parameters import HyperParameters


def rows(num_rows: int, num_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws X and y, whose columns differ in size and are not centered."""
    random = np.random.default_rng(num_features)
    x = random.normal(size=(num_rows, num_features)) * np.geomspace(0.1, 100, num_features) + random.normal(size=7)[:1]
    return x, x[:, :3] @ [1.0, -2.0, 3.0] + random.normal(size=num_rows) + 50


def table(x: np.ndarray, y: np.ndarray, **settings: Any) -> TableDataModule:
    """Returns a data module of these rows, set up for training."""
    frame = pd.DataFrame(x, columns=[f"x{index}" for index in range(x.shape[1])]).assign(y=y)
    data = TableDataModule(frame, "y", **settings)
    data.prepare_data()
    data.setup("fit")
    return data


class LargestTensor(TorchDispatchMode):
    """Notes the number of bytes of the largest tensor that an operation returns.

    Of a view, that is its own share of the memory: a few rows of a buffer, or one number that is repeated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = 0

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                num_bytes = min(leaf.untyped_storage().nbytes(), leaf.numel() * leaf.element_size())
                self.num_bytes = max(self.num_bytes, num_bytes)
        return result


class InThisThread:
    """A pool that runs each task at once, as a dispatch mode sees one thread only."""

    def submit(self, task: Callable[..., Any], *args: Any) -> "Future[Any]":
        """Runs the task."""
        done: Future[Any] = Future()
        done.set_result(task(*args))
        return done


def test_largest_tensor_is_noted() -> None:
    with LargestTensor() as largest:
        torch.eye(30, dtype=torch.float64) @ torch.zeros(30, 1, dtype=torch.float64)
        torch.zeros(1, 1).expand(1000, 1000)
    assert largest.num_bytes == 8 * 30 * 30


def test_memory_grows_with_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Solving, planning and following a run by default settings take no tensor of D x D, nor of a tenth of it."""
    monkeypatch.setattr(parallel, "workers", lambda num_threads: InThisThread())
    num_rows, num_features = 12, 2100
    data, model = table(*rows(num_rows, num_features)), LinearRegression(num_features=num_features)
    with LargestTensor() as largest:
        solution = solve(data, model.settings)
        assert len(solution_lines(solution)) > num_features
        assert len(solution.to_dict()["coefficients"]) == num_features
        assert model.planned(data).epochs >= 1
        problem = model.problem(data)
        errors = problem.errors(model.W, model.b)
        assert problem.gap(errors) > 0
        assert problem.gradient(errors).shape == (1 + num_features, 1)
        model.coefficients()
    assert 8 * num_rows * num_features <= largest.num_bytes < 8 * num_features**2 / 10


def minimum_norm(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the W and b of least squares whose W, times the columns' deviations, is shortest, by NumPy."""
    means, mean = np.average(x, axis=0, weights=weights), np.average(y, weights=weights)
    scales = np.sqrt(np.average((x - means) ** 2, axis=0, weights=weights))
    roots = np.sqrt(weights)
    inverse = np.linalg.pinv((x - means) / scales * roots[:, None], rcond=1e-10)  # centering takes a direction away
    W = inverse @ ((y - mean) * roots) / scales
    return W, float(mean - means @ W)


@pytest.mark.parametrize(("num_rows", "num_features"), [(2, 40), (15, 150), (40, 1300), (100, 2500), (30, 35)])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_solution_equals_numpys(num_rows: int, num_features: int, batch_size: int | None) -> None:
    x, y = rows(num_rows, num_features)
    settings = {} if batch_size is None else {"batch_size": min(batch_size, num_rows)}
    solution = solve(table(x, y, **settings), HyperParameters(num_features=num_features))
    W, b = minimum_norm(x, y, np.ones(num_rows))
    np.testing.assert_allclose(solution.problem.optimum.W[:, 0], W, rtol=1e-9, atol=1e-11 * np.abs(W).max())
    np.testing.assert_allclose(solution.problem.optimum.b, [b], rtol=1e-9)
    assert solution.problem.optimum.nullity == num_features - (num_rows - 1)
    assert solution.condition_number == math.inf
    assert solution.inference.fit.is_saturated
    assert solution.inference.fit.r_squared.item() == pytest.approx(1, abs=1e-12)


def test_weighted_solution_equals_numpys() -> None:
    x, y = rows(30, 300)
    weights = np.random.default_rng(0).uniform(0.1, 3, 30)
    weights[[3, 8]] = 0
    frame = pd.DataFrame(x, columns=[f"x{index}" for index in range(300)]).assign(y=y, w=weights)
    data = TableDataModule(frame, "y", weight="w")
    data.setup("fit")
    optimum = solve(data, HyperParameters(num_features=300)).problem.optimum
    W, b = minimum_norm(x, y, weights)
    np.testing.assert_allclose(optimum.W[:, 0], W, rtol=1e-9, atol=1e-11 * np.abs(W).max())
    np.testing.assert_allclose(optimum.b, [b], rtol=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_few_directions_in_many_columns(fit_intercept: bool) -> None:
    """Where columns span fewer directions than there are rows, residuals and degrees of freedom are NumPy's."""
    random = np.random.default_rng(4)
    x = random.normal(size=(30, 4)) @ random.normal(size=(4, 90)) + fit_intercept * random.normal(size=90)
    y = x[:, 0] + random.normal(size=30)
    A = np.column_stack([np.ones(30), x]) if fit_intercept else x
    residual = y - A @ np.linalg.pinv(A, rcond=1e-10) @ y
    chunks = [(torch.from_numpy(x[:20]), torch.from_numpy(y[:20, None]))]
    chunks += [(torch.from_numpy(x[20:]), torch.from_numpy(y[20:, None]))]
    data = triangle_of(chunks, center_of(*chunks[0]))
    solution = refined(optimum(data, penalty_rows(90, 0.0), fit_intercept), chunks)
    fit, rank = statistics(solution), 4 + int(fit_intercept)
    assert solution.nullity == 86
    assert solution.null.shape == (91, 86)
    A[:, -90:] -= solution.data.center[:90].numpy()
    assert float(np.abs(A @ solution.null[solution.free].numpy()).max()) < 1e-10
    assert fit.degrees_of_freedom == pytest.approx(30 - rank, abs=1e-9)
    assert fit.residual_std.item() == pytest.approx(math.sqrt(residual @ residual / (30 - rank)), rel=1e-9)
    assert [column for column in solution.dependent if column] == list(range(1, 91))
    assert (0 in solution.dependent) == fit_intercept
    assert fit.known_errors[1:].isnan().all()


def test_dependence_on_the_intercept() -> None:
    """Columns that add up to no constant leave the intercept determined."""
    x, y = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), torch.arange(9.0)
    copies = x.repeat(1, 8)
    data = triangle_of([(copies, y.unsqueeze(1).double())])
    assert data.is_wide
    assert optimum(data, penalty_rows(24, 0.0)).dependent == list(range(1, 25))
    one_hot = torch.eye(3, dtype=torch.float64).repeat(3, 8)
    data = triangle_of([(one_hot, y.unsqueeze(1).double())])
    assert optimum(data, penalty_rows(24, 0.0)).dependent == list(range(25))


@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 40), st.integers(0, 2**31))
@settings(max_examples=60)
def test_triangle_of_rows_in_chunks(num_features: int, chunk: int, num_rows: int, seed: int) -> None:
    """R has as many rows as the table, at most as many as columns, however the rows come."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_rows, num_features, dtype=torch.float64, generator=generator) + 100
    y = torch.randn(num_rows, 2, dtype=torch.float64, generator=generator)
    chunks = list(zip(x.split(chunk), y.split(chunk), strict=True))
    triangle = triangle_of(chunks, center_of(*chunks[0]))
    columns = torch.cat([torch.ones(num_rows, 1).double(), x, y], dim=1)
    columns[:, 1:] -= triangle.center
    gram = columns.T @ columns
    assert triangle.R.shape == (min(num_rows, num_features + 3), num_features + 3)
    assert triangle.num_targets == 2
    torch.testing.assert_close(triangle.R.T @ triangle.R, gram, rtol=1e-12, atol=1e-12 * float(gram.abs().max()))
    center, whole = columns[0, 1:], triangle_module.with_rows(triangle.R, num_features + 3)
    errors = (Triangle(R, num_rows, num_features, 1.0, center).errors for R in (triangle.R, whole))
    torch.testing.assert_close(next(errors), next(errors), rtol=1e-14, atol=0)


@given(st.integers(1, 6), st.integers(7, 20), st.integers(1, 6), st.integers(0, 2**31))
@settings(max_examples=60)
def test_determined_products(num_rows: int, num_columns: int, rank: int, seed: int) -> None:
    """A product is determined if NumPy finds its row in the span of T's rows."""
    random = np.random.default_rng(seed)
    rank = min(rank, num_rows)
    T = random.normal(size=(num_rows, rank)) @ random.normal(size=(rank, num_columns))
    inverse = PseudoInverse(torch.from_numpy(T), 1e-13 * torch.from_numpy(np.linalg.norm(T, axis=0)))
    assert inverse.nullity == num_columns - rank
    assert inverse.null.shape == (num_columns, num_columns - rank)
    assert inverse.determines(torch.from_numpy(random.normal(size=num_rows) @ T))
    assert not inverse.determines(torch.from_numpy(random.normal(size=num_columns)))
    assert not inverse.determines(inverse.null[:, 0] * inverse.null[:, 0].norm())
    assert inverse.dependent.all()


def test_decomposition_of_large_matrices() -> None:
    """A large matrix is reduced to a triangle first: the pseudo-inverse is NumPy's all the same."""
    T = torch.from_numpy(rows(60, 1500)[0])
    inverse = PseudoInverse(T, 1e-13 * torch.linalg.vector_norm(T, dim=0))
    right = torch.ones(60, 1, dtype=torch.float64)
    ours = inverse.shortest(inverse.solve(right), torch.ones(1500).double())
    np.testing.assert_allclose(ours, np.linalg.pinv(T.numpy()) @ right.numpy(), rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("standardize", [True, False])
def test_forecast_in_the_space_of_the_rows(standardize: bool) -> None:
    """Of 1100 coefficients, eigenvalues, rate and gap are those of descent on all of them."""
    x, y = rows(6, 1100)
    model = LinearRegression(num_features=1100, precondition=False, standardize=standardize, init_std=1)
    solution = solve(table(x, y), model.settings)
    problem = solution.problem
    z = (x - x.mean(axis=0)) / x.std(axis=0) if standardize else x
    A = np.column_stack([np.ones(6), z])
    eigenvalues = np.linalg.eigvalsh(2 / 6 * A @ A.T)[::-1]
    assert problem.coordinates.shape == (1101, 6)
    np.testing.assert_allclose(problem.eigenvalues, eigenvalues, rtol=1e-9)
    rate = problem.safe_learning_rate()
    assert rate == pytest.approx(1 / eigenvalues[0], rel=1e-9)
    theta = torch.cat([model.b.detach().unsqueeze(0), model.W.detach()]).double().numpy()
    target = (y - y.mean() if standardize else y)[:, None]
    expected = []
    for _ in range(11):
        expected.append(np.mean((A @ theta - target) ** 2))
        theta = theta - rate * 2 / 6 * A.T @ (A @ theta - target)
    gaps = problem.forecast_of_gap(problem.errors(model.W, model.b), 1, 10, rate)
    np.testing.assert_allclose(gaps, expected, rtol=1e-6)
    assert solution.convergence.halving_epochs[-1] == ("every other direction", math.inf)
    assert solution_lines(solution)[-1].split() == ["every", "other", "direction", "never"]


def test_names_of_directions() -> None:
    """A direction is named by the columns that it moves."""
    x = np.zeros((3, 1100))
    x[0, 7], x[1, 500] = 30, 2
    solution: Solution = solve(
        table(x, x[:, 7] + x[:, 500]),
        HyperParameters(num_features=1100, precondition=False, standardize=False, fit_intercept=False),
    )
    assert [name for name, _ in solution.convergence.halving_epochs] == ["W/x7", "W/x500", "every other direction"]


def test_scaling_without_its_matrix() -> None:
    generator = torch.Generator().manual_seed(2)
    for num_features in (1, 2, 3, 10, 200):
        scaling = Scaling(
            torch.randn(num_features, dtype=torch.float64, generator=generator),
            0.1 + torch.rand(num_features, dtype=torch.float64, generator=generator),
        )
        theta = torch.randn(1 + num_features, 3, dtype=torch.float64, generator=generator)
        torch.testing.assert_close(scaling.to_users(theta), scaling.matrix @ theta, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(scaling.from_users(theta), scaling.inverse @ theta, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(scaling.of_rows(theta.T), theta.T @ scaling.matrix, rtol=1e-13, atol=1e-13)
        assert torch.equal(users_units(num_features).to_users(theta), theta)
