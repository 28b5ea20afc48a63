"""Cross-validated ridge paths equal scikit-learn's refits, and an oracle of 60 digits where those lose theirs."""

from typing import Any

import numpy as np
import pytest
import torch
from mpmath import lu_solve, matrix, mp, mpf
from sklearn.linear_model import Ridge
from sklearn.model_selection import TimeSeriesSplit
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from linreg_pl.core.cross_validation import CrossValidation, cross_validated
from linreg_pl.core.folds import Folds, fold_triangles
from linreg_pl.core.ridge_path import Posing, RidgePath, default_l2
from linreg_pl.core.subsets import Criterion
from linreg_pl.core.triangle import center_of, triangle_of

L2 = torch.logspace(-6, 2, 9, dtype=torch.float64)


def table(num_rows: int = 90, targets: int = 1, mean: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws correlated columns of different sizes, targets, and weights with zeros."""
    random = np.random.default_rng(3)
    x = random.normal(size=(num_rows, 5)) @ random.normal(size=(5, 5)) * [1, 0.01, 30, 1, 2] + mean
    y = x @ random.normal(size=(5, targets)) + 2 * random.normal(size=(num_rows, targets)) + mean
    return x, y, random.integers(0, 4, size=num_rows).astype(float)


def folds_of(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, numbers: np.ndarray, **settings: Any) -> Folds:
    """Returns the triangles of the folds."""
    tensors = [torch.from_numpy(part) for part in (x, y, *([] if weights is None else [weights[:, None]]))]
    chunk = (*tensors, torch.from_numpy(numbers))
    return Folds(fold_triangles([chunk], int(numbers.max()) + 1, center_of(*tensors[:2])), **settings)


def refitted(
    train: np.ndarray, test: np.ndarray, x: np.ndarray, y: np.ndarray, weights: np.ndarray, posing: Posing, l2: float
) -> float:
    """Returns the mean squared error of scikit-learn's ridge on held-out rows; features have their training scales."""
    w = weights[train]
    scaler = StandardScaler(with_mean=posing.fit_intercept).fit(x[train], sample_weight=w)
    z = scaler.transform(x) if posing.standardize else x
    alpha = l2 * w.sum() * y.shape[1]
    model = Ridge(alpha=alpha, fit_intercept=posing.fit_intercept, solver="svd").fit(z[train], y[train], w)
    predicted = model.predict(z[test]).reshape(len(test), -1)
    return float(np.average(((predicted - y[test]) ** 2).mean(axis=1), weights=weights[test]))


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mean", [0.0, 1e4])
@pytest.mark.parametrize("posing", [Posing(), Posing(standardize=False), Posing(fit_intercept=False)], ids=str)
def test_errors_of_refits(targets: int, weighted: bool, mean: float, posing: Posing) -> None:
    x, y, weights = table(targets=targets, mean=mean)
    numbers = np.arange(90) * 7 % 5
    validation = cross_validated(folds_of(x, y, weights if weighted else None, numbers), L2, posing)
    w = weights if weighted else np.ones(90)
    splits = [(np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)) for fold in range(5)]
    expected = [[refitted(*split, x, y, w, posing, float(l2)) for l2 in L2] for split in splits]
    np.testing.assert_allclose(validation.fold_errors.numpy(), expected, rtol=1e-9)
    sizes = np.array([w[numbers == f].sum() for f in range(5)])
    np.testing.assert_allclose(validation.errors.numpy(), sizes @ expected / sizes.sum(), rtol=1e-9)


def test_time_series_split() -> None:
    x, y, _ = table(92)
    splits = list(TimeSeriesSplit(4).split(x))
    numbers = np.zeros(92, dtype=np.int64)
    for fold, (_, test) in enumerate(splits, 1):
        numbers[test] = fold
    validation = cross_validated(folds_of(x, y, None, numbers, in_order=True), L2, Posing())
    expected = [[refitted(train, test, x, y, np.ones(92), Posing(), float(l2)) for l2 in L2] for train, test in splits]
    np.testing.assert_allclose(validation.fold_errors.numpy(), expected, rtol=1e-9)


def precise_error(train: np.ndarray, test: np.ndarray, x: np.ndarray, y: np.ndarray, l2: float, scales: bool) -> float:
    """Returns the held-out error of ridge regression in 60 digits."""
    with mp.workdps(60):
        columns = [[mpf(float(value)) for value in column] for column in (*x.T, *y.T)]
        means = [sum(column[i] for i in train) / len(train) for column in columns]
        centered = [[value - mean for value in column] for column, mean in zip(columns, means, strict=True)]
        variances = [sum(column[i] ** 2 for i in train) / len(train) for column in centered[:-1]]
        units = [mp.sqrt(variance) if scales else mpf(1) for variance in variances]
        z = [[value / unit for value in column] for column, unit in zip(centered[:-1], units, strict=True)]
        gram = matrix([[sum(a[i] * b[i] for i in train) / len(train) for a in z] for b in z])
        for j in range(len(z)):
            gram[j, j] += mpf(l2)
        right = matrix([sum(a[i] * centered[-1][i] for i in train) / len(train) for a in z])
        W = lu_solve(gram, right)
        residuals = [sum(a[i] * w for a, w in zip(z, W, strict=True)) - centered[-1][i] for i in test]
        return float(sum(r**2 for r in residuals) / len(test))


@pytest.mark.parametrize("kind", ["collinear", "of different sizes"])
def test_condition_number_of_1e8(kind: str) -> None:
    """Columns of means 1e4, of which two nearly agree, or of sizes that differ by 1e8."""
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 3))
    if kind == "collinear":
        x[:, 2] = x[:, 1] + 1e-8 * random.normal(size=40)
        x[:, :2] += 1e4
        x[:, 2] += 1e4
    else:
        x *= [1, 1e-8, 1e-4]
    y = x @ [[1.0], [-1.0], [2.0]] + random.normal(size=(40, 1))
    numbers = np.arange(40) % 4
    l2 = torch.tensor([0, 1e-18, 1e-16, 1e-12, 1e-6, 1e-2], dtype=torch.float64)
    posing = Posing(standardize=kind == "collinear")
    validation = cross_validated(folds_of(x, y, None, numbers), l2, posing)
    splits = [(np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)) for fold in range(4)]
    expected = [[precise_error(*split, x, y, float(each), posing.standardize) for each in l2] for split in splits]
    actual, precise = validation.fold_errors.numpy(), np.array(expected)
    np.testing.assert_allclose(actual[:, 3:], precise[:, 3:], rtol=1e-9)
    # Without a penalty that is felt, a condition number of 1e8 costs eight of float64's sixteen digits.
    np.testing.assert_allclose(actual[:, :3], precise[:, :3], rtol=3e-8 if kind == "collinear" else 1e-9)


@pytest.mark.parametrize("posing", [Posing(), Posing(fit_intercept=False), Posing(fold_bias=True)], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_gcv_from_the_hat_matrix(posing: Posing, weighted: bool) -> None:
    x, y, weights = table(targets=2)
    w = weights if weighted else np.ones(90)
    tensors: list[Tensor] = [torch.from_numpy(part) for part in (x, y, w[:, None])]
    path = RidgePath(triangle_of([tuple(tensors)]), posing)
    means = np.average(x, axis=0, weights=w)
    scales = np.sqrt(np.average((x - means) ** 2, axis=0, weights=w))
    z = (x - means if posing.fit_intercept else x) / scales
    columns = np.column_stack([np.ones(90), z]) if posing.fit_intercept else z
    roots = np.sqrt(w)[:, None]
    degrees, gcv, training = [], [], []
    for l2 in L2.numpy():
        penalty = l2 * w.sum() * 2 * np.eye(columns.shape[1])
        if posing.has_free_bias:
            penalty[0, 0] = 0
        hat = roots * columns @ np.linalg.solve((roots * columns).T @ (roots * columns) + penalty, (roots * columns).T)
        residuals = roots * y - hat @ (roots * y)
        training.append((residuals**2).sum() / w.sum() / 2)
        degrees.append(np.trace(hat))
        gcv.append(training[-1] / (1 - degrees[-1] / (w > 0).sum()) ** 2)
        W, b = path.coefficients(torch.tensor([l2]))
        predicted = x @ W[0].numpy() + b[0].numpy()
        np.testing.assert_allclose(roots * predicted, hat @ (roots * y), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(path.degrees_of_freedom(L2).numpy(), degrees, rtol=1e-9)
    np.testing.assert_allclose(path.training_error(L2).numpy(), training, rtol=1e-9)
    np.testing.assert_allclose(path.gcv(L2).numpy(), gcv, rtol=1e-9)


def test_constant_and_equal_columns() -> None:
    x, y, _ = table()
    x = np.column_stack([x, np.full(90, 7.3), x[:, 0]])
    path = RidgePath(triangle_of([(torch.from_numpy(x), torch.from_numpy(y))]), Posing())
    W, _ = path.coefficients(torch.tensor([0.0, 1e-12]).double())
    assert path.degrees_of_freedom(torch.zeros(1).double()).tolist() == pytest.approx([6])
    assert W[:, 5].abs().max() < 1e-12
    torch.testing.assert_close(W[:, 0], W[:, 6])


@pytest.mark.parametrize("posing", [Posing(), Posing(fold_bias=True), Posing(fit_intercept=False)], ids=str)
def test_column_that_is_constant_in_a_fold(posing: Posing) -> None:
    """Without a penalty, a category of one row predicts nothing where that row is held out."""
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 3)) + 3
    x[:, 2] = np.arange(300) == 7
    y, numbers = x[:, :1] + random.normal(size=(300, 1)), np.arange(300) % 5
    columns = np.column_stack([np.ones(300), x]) if posing.fit_intercept else x
    squares = 0.0
    for fold in range(5):
        train, test = numbers != fold, numbers == fold
        theta = np.linalg.lstsq(columns[train], y[train], rcond=1e-10)[0]
        squares += float(((y[test] - columns[test] @ theta) ** 2).sum())
    folds = folds_of(x, y, None, numbers)
    assert float(cross_validated(folds, torch.zeros(1).double(), posing).errors) == pytest.approx(squares / 300)
    groups = (0, 1, 2)
    if posing != Posing(fold_bias=True):
        criterion = Criterion("CV", folds, groups, posing.fit_intercept)
        assert float(criterion.values(criterion.of_subset(groups))) == pytest.approx(squares / 300)


def test_more_columns_than_rows() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(30, 80)), random.normal(size=(30, 1))
    numbers = np.arange(30) % 3
    validation = cross_validated(folds_of(x, y, None, numbers), L2, Posing())
    splits = [(np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)) for fold in range(3)]
    expected = [[refitted(*split, x, y, np.ones(30), Posing(), float(l2)) for l2 in L2] for split in splits]
    np.testing.assert_allclose(validation.fold_errors.numpy(), expected, rtol=1e-9)


def test_choices_by_hand() -> None:
    fold_errors = torch.tensor([[4.0, 1.0, 1.0, 1.5, 9.0], [4.0, 3.0, 3.0, 3.5, 9.0]]).double()
    validation = CrossValidation(fold_errors, torch.tensor([1.0, 1.0]).double())
    assert validation.errors.tolist() == [4, 2, 2, 2.5, 9]
    assert validation.standard_errors.tolist() == [0, 1, 1, 1, 0]
    assert (validation.best, validation.within_one_standard_error) == (2, 3)
    weighted = CrossValidation(fold_errors, torch.tensor([3.0, 1.0]).double())
    assert weighted.errors.tolist() == [4, 1.5, 1.5, 2, 9]
    assert weighted.standard_errors.tolist() == pytest.approx([0, 0.75**0.5, 0.75**0.5, 0.75**0.5, 0])


@pytest.mark.parametrize(
    ("targets", "posing", "size"),
    [(1, Posing(), 1.0), (4, Posing(), 0.1), (1, Posing(standardize=False), 1e3), (3, Posing(standardize=False), 1e2)],
)
def test_default_values(targets: int, posing: Posing, size: float) -> None:
    """The size is the mean variance of a penalised column, divided by the number of targets, as a power of ten."""
    x, y, _ = table(targets=targets)
    assert size == 10.0 ** round(np.log10((x.var(axis=0).mean() if not posing.standardize else 1.0) / targets))
    l2 = default_l2(triangle_of([(torch.from_numpy(x), torch.from_numpy(y))]), posing)
    assert len(l2) == 46
    assert [float(l2[0]), float(l2[30]), float(l2[-1])] == pytest.approx([1e-6 * size, size, 1e3 * size])
