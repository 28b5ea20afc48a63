"""Cross-validated paths with l1 equal scikit-learn's refits, and their degrees of freedom those of the rows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet
from torch import Tensor

import linreg_pl
from linreg_pl import InputError
from linreg_pl.core.cross_validation import cross_validated
from linreg_pl.core.elastic_net import L1Problem
from linreg_pl.core.elastic_net_path import Axis, ElasticNetPath, default_l1
from linreg_pl.core.folds import Folds, fold_triangles
from linreg_pl.core.ridge_path import Posing, RidgePath
from linreg_pl.core.triangle import center_of, triangle_of
from linreg_pl.exact.path import axis_of

TABLE = Path(__file__).parent.parent / "examples" / "diabetes.csv"


def table(num_rows: int = 90, targets: int = 1, num_features: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws correlated columns of different sizes and means, targets that a third of them explain, and weights."""
    random = np.random.default_rng(5)
    x = random.normal(size=(num_rows, num_features)) @ random.normal(size=(num_features, num_features))
    y = x[:, : num_features // 3] @ random.normal(size=(num_features // 3, targets))
    x = x * np.logspace(-1, 1, num_features) + np.arange(num_features)
    return x, y + random.normal(size=y.shape), random.integers(0, 4, size=num_rows).astype(float)


def refitted(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, posing: Posing, l1: float, l2: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns scikit-learn's W (D, K) and b (K,) in the units of x, which is standardized by its own rows."""
    means = np.average(x, axis=0, weights=weights) * posing.fit_intercept
    scales = np.sqrt(np.average((x - np.average(x, axis=0, weights=weights)) ** 2, axis=0, weights=weights))
    scales = scales if posing.standardize else np.ones(len(scales))
    K = y.shape[1]
    alpha = l1 * K / 2 + l2 * K
    model = ElasticNet(
        alpha=alpha, l1_ratio=l1 * K / 2 / alpha, fit_intercept=posing.fit_intercept, tol=1e-13, max_iter=1_000_000
    )
    W, b = np.zeros((x.shape[1], K)), np.zeros(K)
    for k in range(K):
        model.fit((x - means) / scales, y[:, k], sample_weight=weights)
        W[:, k] = model.coef_ / scales
        b[k] = model.intercept_ - means @ W[:, k]
    return W, b


@pytest.mark.parametrize(
    ("targets", "weighted", "posing", "axis", "values"),
    [
        (1, False, Posing(), Axis("l1"), [0.01, 0.1, 0.4, 2]),
        (1, True, Posing(standardize=False), Axis("l1", other=0.1), [0.01, 0.1, 1]),
        (2, True, Posing(), Axis("l1", other=0.1), [0.01, 0.2]),
        (1, False, Posing(fit_intercept=False), Axis("l2", other=0.2), [0, 0.01, 1]),
    ],
    ids=str,
)
def test_path_of_refits(targets: int, weighted: bool, posing: Posing, axis: Axis, values: list[float]) -> None:
    x, y, weights = table(targets=targets)
    w, numbers = weights if weighted else np.ones(90), np.arange(90) * 7 % 4
    tensors = [torch.from_numpy(part) for part in (x, y, w[:, None])]
    folds = Folds(fold_triangles([(*tensors, torch.from_numpy(numbers))], 4, center_of(*tensors[:2])))
    grid = torch.tensor(values, dtype=torch.float64)
    validation, (W, b) = cross_validated(folds, grid, posing, axis), axis.path(folds.whole, posing).coefficients(grid)
    for index, value in enumerate(values):
        expected_W, expected_b = refitted(x, y, w, posing, *axis.pair(value))
        np.testing.assert_allclose(W[index], expected_W, rtol=0, atol=1e-8)
        np.testing.assert_allclose(b[index], expected_b, rtol=0, atol=1e-8)
        assert ((W[index] == 0).numpy() == (expected_W == 0)).all()
        for fold in range(4):
            train, test = numbers != fold, numbers == fold
            W_of_fold, b_of_fold = refitted(x[train], y[train], w[train], posing, *axis.pair(value))
            squares = ((x[test] @ W_of_fold + b_of_fold - y[test]) ** 2).mean(axis=1)
            assert float(validation.fold_errors[fold, index]) == pytest.approx(
                np.average(squares, weights=w[test]), rel=1e-8
            )


def test_more_columns_than_rows() -> None:
    """The gap of each solution is 1e-10 of the variance at most, also in columns of which some are equal."""
    x, y, _ = table(30, num_features=60)
    x[:, 7], x[:, 8] = x[:, 9], 3.7
    rows = triangle_of([(torch.from_numpy(x), torch.from_numpy(y))])
    values, posing = default_l1(rows, Posing()), Posing()
    W, _ = Axis("l1").path(rows, posing).coefficients(values)
    z, centered = torch.from_numpy(x - x.mean(axis=0)), torch.from_numpy(y - y.mean())
    scales = z.square().mean(dim=0).sqrt()
    scales[8] = 1
    problem = L1Problem(z / scales / 30**0.5, centered / 30**0.5)
    assert values[-1] == pytest.approx(problem.largest_l1)
    assert not W[-1].any()
    assert W[-2].count_nonzero() == 1
    for l1, each in zip(values.tolist(), W, strict=True):
        assert problem.duality_gap(scales.unsqueeze(1) * each, l1) <= 1e-10 * float(centered.square().mean())
    assert not W[:, 8].any()


def test_rounding_of_a_constant_column() -> None:
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(1000, columns, generator=generator).double() for columns in (3, 1))
    x[:, 1] = 1e6 / 3
    parts = [(x[:500], x[:500, :1] + noise[:500]), (x[500:], x[500:, :1] + noise[500:])]
    rows = triangle_of(parts, torch.zeros(4, dtype=torch.float64))
    W, _ = Axis("l1").path(rows, Posing()).coefficients(torch.tensor([1e-14]).double())
    assert W.flatten().sign().abs().tolist() == [1, 0, 1]


def test_degrees_of_freedom() -> None:
    """They are the coefficients that are not 0; with l2, the trace of the matrix that maps y to its prediction."""
    x, y, _ = table()
    rows, values = triangle_of([(torch.from_numpy(x), torch.from_numpy(y))]), torch.tensor([0.0, 0.2, 0.7]).double()
    lasso, both = (ElasticNetPath(rows, Posing(), Axis("l1", other)) for other in (0.0, 0.3))
    counts = (lasso.coefficients(values)[0] != 0).sum(dim=(1, 2))
    assert 1 < counts[2] < counts[1] < 6
    assert lasso.degrees_of_freedom(values).tolist() == pytest.approx((counts + 1).tolist())
    ridge = RidgePath(rows, Posing())
    torch.testing.assert_close(both.coefficients(values)[0][:1], ridge.coefficients(torch.tensor([0.3]).double())[0])
    assert float(both.degrees_of_freedom(values)[0]) == pytest.approx(
        float(ridge.degrees_of_freedom(torch.tensor([0.3])))
    )
    chosen = (both.coefficients(values)[0][1, :, 0] != 0).numpy()
    z = ((x - x.mean(axis=0)) / x.std(axis=0))[:, chosen]
    hat = z @ np.linalg.solve(z.T @ z + 90 * 0.3 * np.eye(z.shape[1]), z.T)
    assert float(both.degrees_of_freedom(values)[1]) == pytest.approx(1 + np.trace(hat))


def test_streamed_path_has_the_same_bits() -> None:
    in_memory, streamed = (
        linreg_pl.path(str(TABLE), "progression", l1=[0.1, 1, 5], memory_limit=limit) for limit in (1e9, 0)
    )
    assert in_memory.to_dict() == streamed.to_dict()
    assert in_memory.num_nonzero == [10, 8, 7]
    solved = linreg_pl.solve(str(TABLE), "progression", l1=5)
    assert in_memory.coefficients(2) == pytest.approx(solved.coefficients, rel=1e-9)
    lines = in_memory.lines()
    assert lines[0].split()[:3] == ["l1", "not", "0"]
    assert lines[-1] == "largest l1 within one standard error of the smallest error: --model.l1 5"


def test_which_penalty_varies() -> None:
    def listed(values: Tensor | None) -> list[float] | None:
        return None if values is None else values.tolist()

    cases = {
        (None, None): (Axis("l2"), None),
        ("auto", 0.5): (Axis("l2", 0.5), None),
        (3.0, 0.5): (Axis("l2", 0.5), [3.0]),
        ((1, 2, 4), (0.5,)): (Axis("l2", 0.5), [1, 2, 4]),
        (None, "auto"): (Axis("l1"), None),
        (0.5, (1, 0, 2)): (Axis("l1", 0.5), [0, 1, 2]),
    }
    for (l2, l1), (axis, values) in cases.items():
        chosen = axis_of(l2, l1)  # type: ignore[arg-type]
        assert (chosen[0], listed(chosen[1])) == (axis, values)
    with pytest.raises(InputError, match="both have several values"):
        axis_of([1, 2, 3], "auto")
    with pytest.raises(InputError, match="l1 is"):
        axis_of(None, -1.0)
    with pytest.raises(InputError, match=r"l1 penalises W alone: leave out fold_bias$"):
        linreg_pl.path(str(TABLE), "progression", l1="auto", fold_bias=True)
