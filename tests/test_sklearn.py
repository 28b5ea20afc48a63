"""The estimators pass scikit-learn's checks, agree with its own estimators, and work in its tools."""

import importlib
import pickle
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import ElasticNet, LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import linreg_pl
from linreg_pl.sklearn import ExactRegressor, LinregRegressor
from tests.commands import Result, run_python

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3)) * [1, 10, 0.1] + [0, 5, 100]
Y = X @ [1.0, -2.0, 30.0] + 4 + RNG.standard_normal(60)
Y2 = np.column_stack([Y, X[:, 1] - RNG.standard_normal(60)])
W = RNG.uniform(0.5, 2, 60) * (np.arange(60) % 7 > 0)  # some are 0


def test_scikit_learns_checks(tmp_path: Path) -> None:
    """All pass and none is skipped; nothing is printed, warned of or written; linreg_pl alone needs no scikit-learn."""
    code = """
import sys
import linreg_pl
linreg_pl.fit, linreg_pl.solve
assert "sklearn" not in sys.modules
from collections import Counter
from sklearn.utils.estimator_checks import check_estimator
from linreg_pl.sklearn import ExactRegressor, LinregRegressor
for estimator in (ExactRegressor(), LinregRegressor()):
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    assert len(results) >= 60
    print({f"{r['check_name']} {r['status']} {r['exception']}" for r in results if r["status"] != "passed"})
"""
    done = run_python(code, tmp_path, env={"SCIPY_ARRAY_API": "1"})  # without it a check is skipped
    assert done == Result(0, "set()\nset()\n", "")
    assert list(tmp_path.iterdir()) == []


CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "plain": (Y, None, {}),
    "weights": (Y, W, {}),
    "two targets": (Y2, None, {}),
    "a column": (Y[:, None], W, {}),
    "no intercept": (Y, W, {"fit_intercept": False}),
    "ridge": (Y, W, {"l2": 0.1}),
    "ridge of two targets": (Y2, W, {"l2": 0.1}),
    "elastic net": (Y, W, {"l1": 2.0, "l2": 0.1}),
    "ridge in the user's units": (Y, None, {"l2": 0.01, "standardize": False}),
}


def oracle(y: np.ndarray, weights: np.ndarray | None, settings: dict[str, Any]) -> Any:
    """Returns scikit-learn's own estimator of the same optimum, fitted."""
    weights = np.ones(len(X)) if weights is None else weights
    intercept = settings.get("fit_intercept", True)
    if "l2" not in settings:
        return LinearRegression(fit_intercept=intercept).fit(X, y, weights)
    ridge: Any = Ridge(settings["l2"] * weights.sum() * y[0].size, tol=1e-12)
    if l1 := settings.get("l1"):
        alpha = l1 / 2 + settings["l2"]
        ridge = ElasticNet(alpha=alpha, l1_ratio=l1 / 2 / alpha, tol=1e-13, max_iter=100_000)
    if not settings.get("standardize", True):
        return ridge.fit(X, y, weights)
    scaler = StandardScaler().fit(X, sample_weight=weights)
    ridge.fit(scaler.transform(X), y, weights)
    ridge.coef_ = ridge.coef_ / scaler.scale_
    ridge.intercept_ = ridge.intercept_ - ridge.coef_ @ scaler.mean_
    return ridge


@pytest.mark.parametrize("kind", [ExactRegressor, LinregRegressor])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_scikit_learn(kind: Any, case: str) -> None:
    y, weights, settings = CASES[case]
    ours, theirs = kind(**settings).fit(X, y, sample_weight=weights), oracle(y, weights, settings)
    # Standardizing is a preconditioner: in the user's units, descent takes more steps than it is given.
    tolerance = 1e-8 if kind is ExactRegressor or settings.get("standardize", True) else 1e-5
    # With l1 it ends once the zeros are right, and the others within a thousandth of a standard error.
    tolerance = 1e-4 if kind is LinregRegressor and "l1" in settings else tolerance
    assert ((ours.coef_ == 0) == (theirs.coef_ == 0)).all()
    assert (ours.coef_.shape, np.shape(ours.intercept_)) == (theirs.coef_.shape, np.shape(theirs.intercept_))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=tolerance)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=tolerance)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=tolerance)
    assert ours.score(X, y, weights) == pytest.approx(theirs.score(X, y, weights), abs=max(1e-8, tolerance / 100))


@pytest.mark.parametrize("weights", [None, W])
@pytest.mark.parametrize("sizes", [[30], [1, 1, 1, 57], [3, 4, 5], [59]])
@pytest.mark.parametrize("settings", [{}, {"l2": 0.1}])
def test_any_split_of_rows(weights: np.ndarray | None, sizes: list[int], settings: dict[str, Any]) -> None:
    """Both by `partial_fit` and by `merge`, the result is that of all rows at once: to the rounding of X near 100."""
    w = np.ones(60) if weights is None else weights + 1e-3  # a part needs a weight above 0
    whole = ExactRegressor(**settings).fit(X, Y2, w)
    parts = [(X[rows], Y2[rows], w[rows]) for rows in np.split(np.arange(60), np.cumsum(sizes)) if len(rows)]
    in_turn = reduce(lambda estimator, part: estimator.partial_fit(*part), parts, ExactRegressor(**settings))
    merged = reduce(ExactRegressor.merge, [ExactRegressor(**settings).fit(*part) for part in reversed(parts)])
    for other in (in_turn, merged):
        np.testing.assert_allclose(other.coef_, whole.coef_, rtol=1e-11)
        np.testing.assert_allclose(other.intercept_, whole.intercept_, rtol=1e-11)
        for name in ("aic", "condition_number", "num_rows"):
            assert getattr(other.solution_, name) == pytest.approx(getattr(whole.solution_, name), rel=1e-9)


@pytest.mark.parametrize("settings", [{}, {"l2": 0.1}, {"fit_intercept": False}])
def test_solution_is_that_of_solve(settings: dict[str, Any]) -> None:
    frame = pd.DataFrame(X, columns=list("abc"))
    ours = ExactRegressor(**settings).fit(frame, Y, sample_weight=W).solution_
    theirs = linreg_pl.solve(frame, Y, weights=W, **settings)
    assert without_digits(ours.summary()) == without_digits(theirs.summary())
    np.testing.assert_allclose(list(ours.standard_errors.values()), list(theirs.standard_errors.values()), rtol=1e-9)
    assert ours.learning_rates == pytest.approx(theirs.learning_rates)
    np.testing.assert_allclose(ours.predict(frame[["c", "a", "b"]]), theirs.predict(frame), rtol=1e-9)


def without_digits(summary: str) -> list[str]:
    """Leaves the line of the digits out, which a further pass over the rows makes more."""
    return [line for line in summary.splitlines() if not line.startswith("certain digits")]


def test_refused_rows_change_nothing() -> None:
    frame = pd.DataFrame(X, columns=list("abc"))
    estimator = ExactRegressor().fit(frame, Y)
    before = pickle.dumps(estimator.coef_)
    renamed = frame.rename(columns={"a": "d"})
    refused: list[tuple[Any, tuple[Any, ...], str]] = [
        (estimator.partial_fit, (renamed, Y), "feature names"),
        (estimator.partial_fit, (frame, Y2), r"a row of y has shape \(2,\), but \(\) in the rows before"),
        (estimator.partial_fit, (frame, Y, -W), "[Nn]egative"),
        (estimator.partial_fit, (frame * 1e200, Y), "'a', 'b', 'c': values are larger than 1e150"),
        (estimator.merge, (ExactRegressor().fit(renamed, Y),), "one has the columns"),
        (estimator.merge, (ExactRegressor().fit(frame, Y2),), "a row of y has shape"),
        (estimator.merge, (ExactRegressor(),), "not fitted"),
        (estimator.merge, (ExactRegressor(l2=3.0).fit(frame, Y),), "one has the settings"),
        (ExactRegressor().merge, (estimator,), "not fitted"),
        (ExactRegressor(l2=-1).fit, (X, Y), "l2 is -1"),
        (ExactRegressor().fit, (X, Y, 0 * W), "non-zero"),
        (ExactRegressor().fit, (pd.DataFrame(X, columns=list("aab")), Y), "unique column names"),
        (ExactRegressor().fit, (X * 1e-200, Y), "values differ by less than 1e-150"),
        (LinregRegressor().fit, (pd.DataFrame(X, columns=list("aab")), Y), "unique column names"),
        (LinregRegressor(learning_rate=-1).fit, (X, Y), "learning_rate is -1"),
        (LinregRegressor(fit_intercept=False).fit, (0 * X, Y), "all features are 0"),
    ]
    for method, arguments, words in refused:
        with pytest.raises(ValueError, match=words):
            method(*arguments)
    assert pickle.dumps(estimator.coef_) == before
    with pytest.raises(NotFittedError):
        ExactRegressor().predict(X)


@pytest.mark.parametrize("kind", [ExactRegressor, LinregRegressor])
@pytest.mark.parametrize("value", [0.0, 2.0])
def test_nothing_to_explain(kind: Any, value: float) -> None:
    np.testing.assert_allclose(kind().fit(X, np.full(60, value)).predict(X), value, atol=1e-12)
    np.testing.assert_allclose(kind().fit(np.full_like(X, value), Y).predict(X), Y.mean(), rtol=1e-12)


def test_seed_decides() -> None:
    """With batches of some rows, the order of the rows shows in the last digits."""
    settings: dict[str, Any] = {"batch_size": 10, "max_epochs": 20}
    first, second, other = (
        LinregRegressor(random_state=seed, **settings).fit(X, Y).coef_.tolist() for seed in (1, 1, 2)
    )
    assert first == second
    assert first != other
    generator = np.random.RandomState(1)
    assert LinregRegressor(random_state=generator, **settings).fit(X, Y).coef_.tolist() == first
    assert LinregRegressor(random_state=generator, **settings).fit(X, Y).coef_.tolist() != first


def test_warns_where_training_ends_early() -> None:
    with pytest.warns(ConvergenceWarning, match="not converged: the cost is .* train for more epochs than 2"):
        LinregRegressor(max_epochs=2, learning_rate=1e-3).fit(X, Y)
    with pytest.warns(ConvergenceWarning):
        LinregRegressor(trainer={"max_steps": 1}, learning_rate=1e-3).fit(X, Y)


@pytest.mark.parametrize("kind", [ExactRegressor, LinregRegressor])
def test_copies_and_names(kind: Any) -> None:
    frame = pd.DataFrame(X, columns=list("abc"))
    estimator = kind(l2=0.1).fit(frame, Y)
    assert (estimator.n_features_in_, list(estimator.feature_names_in_)) == (3, ["a", "b", "c"])
    dumped = pickle.dumps(estimator)
    assert len(dumped) < 1e5, "it holds no rows"
    np.testing.assert_array_equal(pickle.loads(dumped).predict(frame), estimator.predict(frame))
    again = clone(estimator)
    assert (again.l2, hasattr(again, "coef_")) == (0.1, False)
    model = estimator.model_ if kind is LinregRegressor else estimator.solution_
    assert model.feature_names == ["a", "b", "c"]
    assert getattr(model, "_trainer", None) is None, "it would hold the rows"
    np.testing.assert_allclose(model.predict(frame), estimator.predict(frame), rtol=1e-12)


@pytest.mark.parametrize("kind", [ExactRegressor, LinregRegressor])
def test_in_scikit_learns_tools(kind: Any) -> None:
    frame = pd.DataFrame(X, columns=list("abc"))
    pipeline = make_pipeline(StandardScaler(), kind()).set_output(transform="pandas")
    search = GridSearchCV(pipeline, {f"{kind.__name__.lower()}__l2": [0.0, 10.0]}, cv=2).fit(frame, Y)
    assert search.best_params_ == {f"{kind.__name__.lower()}__l2": 0.0}
    assert list(search.best_estimator_[-1].feature_names_in_) == ["a", "b", "c"]
    scores = cross_val_score(kind(), X, Y, cv=2)
    np.testing.assert_allclose(scores, cross_val_score(LinearRegression(), X, Y, cv=2), rtol=1e-6)
    with sklearn.config_context(enable_metadata_routing=True):
        weighted = kind().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        theirs = LinearRegression().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        ours, expected = (
            cross_validate(each, X, Y, cv=2, params={"sample_weight": W})["test_score"] for each in (weighted, theirs)
        )
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    assert not np.allclose(ours, scores, rtol=1e-6)


def test_lack_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "linreg_pl.sklearn")
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(ImportError, match=r"linreg_pl.sklearn needs scikit-learn .*: pip install"):
        importlib.import_module("linreg_pl.sklearn")
