"""From Python: arrays and frames to a fitted model or the exact solution, named coefficients, predictions, loading."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

import linreg_pl
from linreg_pl import ArrayDataModule, InputError, LinearRegression, Solution, TableDataModule
from tests.commands import linreg
from tests.trainers import plain_trainer

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3)) * [1, 10, 0.1] + [0, 5, 100]
Y = X @ [1.0, -2.0, 30.0] + 4 + RNG.standard_normal(60)
W = RNG.uniform(0.5, 2, 60)
DIABETES = Path(__file__).parent.parent / "examples" / "diabetes.csv"


def exact(x: np.ndarray = X, y: np.ndarray = Y, w: np.ndarray | None = None) -> list[float]:
    """Returns b, then W, by NumPy."""
    roots = np.ones(len(x)) if w is None else np.sqrt(w)
    columns = np.column_stack([np.ones(len(x)), x]) * roots[:, None]
    return list(np.linalg.lstsq(columns, y * roots, rcond=None)[0])


ARRAYS: dict[str, tuple[Any, Any, list[str]]] = {
    "numpy": (X, Y, ["x0", "x1", "x2"]),
    "column-major": (np.asfortranarray(X), Y[:, None], ["x0", "x1", "x2"]),
    "other byte order": (X.astype(">f8"), Y.astype(np.longdouble), ["x0", "x1", "x2"]),
    "tensor": (torch.from_numpy(X).requires_grad_(), torch.from_numpy(Y), ["x0", "x1", "x2"]),
    "lists": (X.tolist(), Y.tolist(), ["x0", "x1", "x2"]),
    "pandas": (pd.DataFrame(X, columns=list("abc"), index=range(5, 65)), pd.Series(Y, index=range(5, 65)), list("abc")),
    "pandas, array": (pd.DataFrame(X, columns=list("abc")), Y, list("abc")),
    "numbered pandas": (pd.DataFrame(X), Y, ["0", "1", "2"]),
    "polars": (pl.DataFrame(X, schema=list("abc")), pl.Series(Y), list("abc")),
    "arrow": (pa.table(dict(zip("abc", X.T, strict=True))), Y, list("abc")),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_solve_takes_arrays(kind: str) -> None:
    x, y, names = ARRAYS[kind]
    solution = linreg_pl.solve(x, y)
    assert list(solution.coefficients) == ["intercept", *names]
    np.testing.assert_allclose(list(solution.coefficients.values()), exact(), rtol=1e-9)
    np.testing.assert_allclose(solution.predict(x), np.column_stack([np.ones(60), X]) @ exact(), rtol=1e-9)


@pytest.mark.parametrize("kind", ["f8", "f4", "f2", "i8", "u1", "O"])
def test_masked_values_are_missing(kind: str) -> None:
    numbers = (100 + 10 * RNG.standard_normal((60, 2))).astype("f4").astype(kind)
    x = np.ma.masked_array(numbers, numbers > 112)
    hides_x, hides_y, hides_weight = (numbers > 112).any(axis=1), np.median(Y) - 20 > Y, W < 0.7
    y, weights = np.ma.masked_array(Y, hides_y), np.ma.masked_array(W, hides_weight)
    kept = ~(hides_x | hides_y | hides_weight)
    assert 30 < kept.sum() < min((~hides_x).sum(), (~hides_y).sum(), (~hides_weight).sum())
    solution = linreg_pl.solve(x, y, weights=weights)
    expected = exact(numbers[kept].astype(float), Y[kept], W[kept])
    np.testing.assert_allclose(list(solution.coefficients.values()), expected, rtol=1e-9)
    np.testing.assert_array_equal(np.isnan(solution.predict(x)), hides_x)
    np.testing.assert_array_equal(np.isnan(linreg_pl.fit(x, y).predict(x)), hides_x)


def test_time_limit_keeps_the_planned_length() -> None:
    """A limit of time can only end a fit earlier."""
    models = [linreg_pl.fit(X, Y, trainer=trainer) for trainer in ({}, {"max_time": "00:00:01:00"})]
    free, limited = ((model.trainer.global_step, model.coefficients()["x1"]) for model in models)
    assert limited == free


@pytest.mark.parametrize("kind", ["numpy", "tensor", "pandas"])
def test_fit_takes_arrays(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.chdir(tmp_path)
    x, y, names = ARRAYS[kind]
    model = linreg_pl.fit(x, y)
    coefficients = model.coefficients()
    assert coefficients.keys() == ["intercept", *names]
    assert coefficients[names[1]] == pytest.approx(exact()[2], rel=1e-3)
    weights, b = coefficients
    assert weights.shape == (3, 1)
    assert coefficients["intercept"] == b.item()
    np.testing.assert_allclose(model.predict(x), np.column_stack([np.ones(60), X]) @ exact(), rtol=1e-3)
    assert list(tmp_path.iterdir()) == [], "no folder"
    assert capfd.readouterr().out == ""


def test_weights_by_array_and_by_name() -> None:
    frame = pd.DataFrame(X, columns=list("abc")).assign(y=Y, w=W)
    for solution in (
        linreg_pl.solve(X, Y, weights=W),
        linreg_pl.solve(frame, "y", weights="w"),
        linreg_pl.solve(frame, target="y", weights="w"),
        linreg_pl.solve(frame[["a", "b", "c"]], Y, weights=torch.from_numpy(W)),
    ):
        np.testing.assert_allclose(list(solution.coefficients.values()), exact(w=W), rtol=1e-8)
    model = linreg_pl.fit(X, Y, weights=W, l2=0.1, max_epochs=3)
    assert model.l2 == 0.1


def test_paths_and_clusters(tmp_path: Path) -> None:
    groups = [f"g{row % 7}" for row in range(60)]
    frame = pd.DataFrame(X, columns=list("abc")).assign(y=Y, group=groups)
    frame.to_csv(tmp_path / "t.csv", index=False)
    by_path = linreg_pl.solve(tmp_path / "t.csv", "y", cluster="group")
    by_array = linreg_pl.solve(X, Y, cluster=groups)
    by_frame = linreg_pl.solve(frame, target="y", cluster="group")
    for other in (by_array, by_frame):
        np.testing.assert_allclose(
            list(other.standard_errors.values()), list(by_path.standard_errors.values()), rtol=1e-9
        )
    assert "clustered, 7 clusters" in by_array.summary()
    assert linreg_pl.solve(X, Y, robust="HC3").standard_errors["x0"] > 0


def test_several_targets() -> None:
    y = np.column_stack([Y, 2 - Y])
    solution, model = linreg_pl.solve(X, y), linreg_pl.fit(X, y)
    assert solution.target_names == model.target_names == ["y0", "y1"]
    assert solution.coefficients["y1"]["x0"] == pytest.approx(-solution.coefficients["y0"]["x0"], rel=1e-9)
    assert model.coefficients()["y1"]["x0"] == pytest.approx(solution.coefficients["y1"]["x0"], rel=1e-2)
    assert model.predict(X).shape == solution.predict(X).shape == (60, 2)
    assert "y1" in repr(model.coefficients())
    assert dict(model.coefficients()) == model.coefficients().to_dict()
    assert model.coefficients().keys() == ["y0", "y1"]


def test_readable_as_text() -> None:
    solution = linreg_pl.solve(DIABETES, "progression")
    assert repr(solution) == "<Solution: progression from 10 features, 442 rows>"
    assert "adjusted R² 0.506559" in str(solution)
    model = linreg_pl.fit(DIABETES, "progression")
    lines = repr(model.coefficients()).splitlines()
    assert lines[0].split() == ["progression"]
    assert lines[1].split() == ["intercept", "152.133"]
    assert max(map(len, solution.summary().splitlines())) <= 100


def test_text_columns_are_encoded_alike() -> None:
    frame = pd.read_csv(DIABETES.parent / "flats.csv")
    settings: dict[str, Any] = {"categorical": ["floor"], "decimal": ".", "missing": "drop"}
    model, solution = linreg_pl.fit(frame, "price", **settings), linreg_pl.solve(frame, "price", **settings)
    rows = frame.dropna()[:5]
    predicted = model.predict(rows[list(reversed(rows.columns))].drop(columns="price"))
    np.testing.assert_allclose(predicted, solution.predict(rows), rtol=1e-2)
    by_path = solution.predict(DIABETES.parent / "flats.csv")
    assert np.isnan(by_path).any(), "rows that lack a value"
    np.testing.assert_allclose(by_path[rows.index], solution.predict(rows), rtol=1e-12)


def test_model_can_be_copied() -> None:
    model = linreg_pl.fit(pd.DataFrame(X, columns=list("abc")), Y)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.coefficients().to_dict() == model.coefficients().to_dict()


REFUSED: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "lengths": (X, Y[:5], {}, r"X has shape \(60, 3\), and y has shape \(5,\)"),
    "weights": (X, Y, {"weights": W[:2]}, r"X has shape \(60, 3\), and weights has shape \(2,\)"),
    "wide weights": (X, Y, {"weights": X}, "one number for each row"),
    "no target": (X, None, {}, "give the targets as y"),
    "target of arrays": (X, None, {"target": "y"}, "X is an array without names"),
    "two targets": (X, "y", {"target": "z"}, "give one of them"),
    "cube": (np.zeros((2, 2, 2)), Y, {}, r"X has shape \(2, 2, 2\)"),
    "complex": (X + 1j, Y, {}, "complex"),
    "ragged": ([[1.0], [1.0, 2.0]], Y, {}, "different lengths"),
    "unknown": (X, Y, {"learning_rat": 1}, "did you mean learning_rate"),
    "capital letter": (X, Y, {"L2": 1.0}, "L2 is no setting of the model or of the data; did you mean l2?"),
    "name in scikit-learn": (X, Y, {"alpha": 1.0}, "did you mean l2?"),
    "of CSV files": (X, Y, {"delimiter": ","}, "^'delimiter': this setting is for CSV files, and X is in memory"),
    "unlike any name": (X, Y, {"frobnicate": 1}, "see LinearRegression and TableDataModule"),
    "number": (3, Y, {}, "X has type int"),
    "same name": (pd.DataFrame({"a": [1.0, 2.0]}), pd.Series([1.0, 2.0], name="a"), {}, "'a' is a column of both"),
    "missing": (np.array([[1.0], [np.nan], [2.0]]), [1.0, 2.0, 3.0], {"missing": "error"}, "row 2"),
    "file and array": ("t.csv", Y, {}, "X is a file"),
    "no rows": (X[:0], Y[:0], {}, "X has no rows"),
    "no columns": (pd.DataFrame(index=range(60)), Y, {}, "X has no columns"),
    "texts": (X, ["a", "b"] * 30, {}, "y has texts"),
    "dict with a target": ({"a": Y}, "a", {}, r"a frame is pandas\.DataFrame\(X\)"),
    "name elsewhere": (X, Y, {"lr": 0.1}, "did you mean learning_rate"),
    "other index": (pd.DataFrame(X), pd.Series(Y, index=range(1, 61)), {}, "X and y have different indexes"),
    "target without values": (X, Y * np.nan, {}, "column 'y': no row of 60 has a value: leave it out, or predict"),
    "no values but means": (X, Y * np.nan, {"missing": "mean"}, "no row has a target and a weight above 0"),
    "apostrophe": (pd.DataFrame({"it's": ["3", "4", "ground"] * 20}), Y, {}, r"give categorical=\[\"it's\"\], missing"),
    "odd text": (pd.DataFrame({"a": ["3", "4", "ground"] * 20}), Y, {}, r"give categorical=\['a'\], missing_values=\["),
    "dict": ({"a": Y}, Y, {}, r"a frame is pandas\.DataFrame\(X\)"),
    "lazy": (pl.LazyFrame({"a": Y}), Y, {}, r"collect it: X\.collect\(\)"),
    "no number": (X, Y, {"l2": "x"}, "^l2 is 'x': give a number or 'auto'$"),
    "negative": (X, Y, {"l2": -1}, "^l2 is -1.0: give l2 a finite number"),
    "batch": (X, Y, {"batch_size": 0}, "give batch_size a whole number from 1 to 60$"),
    "no column": (pd.DataFrame({"a": Y}), "b", {}, "^the DataFrame: there is no column 'b'; it has 'a'$"),
    "no value": (np.array([[np.nan, 1.0]] * 2), [1.0, 2.0], {}, "column 'x0': no row of 2 has a value: leave it out"),
    "dashes in a name": ("my--path.csv", "y", {}, "^my--path.csv: there is no such file; give X a table$"),
    "no file": ("no.csv", "y", {}, "^no.csv: there is no such file; give X a table$"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_sentence(case: str) -> None:
    x, y, settings, words = REFUSED[case]
    for function in (linreg_pl.solve, linreg_pl.fit):
        with pytest.raises(InputError, match=words) as refused:
            function(x, y, **settings)
        assert len(str(refused.value)) < 300


def test_dropped_rows_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """By each way to fit, also under a plain trainer."""
    x = X.copy()
    x[:9, 0] = np.nan
    data = linreg_pl.ArrayDataModule(x, Y)
    for use in (
        lambda: linreg_pl.solve(x, Y),
        lambda: linreg_pl.fit(x, Y),
        lambda: linreg_pl.path(x, Y),
        lambda: plain_trainer(2).fit(linreg_pl.LinearRegression(3), datamodule=data),
    ):
        caplog.clear()
        use()
        assert caplog.text.count("dropped 9 of 60 rows with a missing value: 'x0' in 9") == 1


def test_wrong_rows_to_predict() -> None:
    solution = linreg_pl.solve(pd.DataFrame(X, columns=list("abc")), Y)
    with pytest.raises(InputError, match=r"X has shape \(60, 2\), but the fit has 3 columns"):
        solution.predict(X[:, :2])
    with pytest.raises(InputError, match="'c'"):
        solution.predict(pd.DataFrame(X[:, :2], columns=list("ab")))
    with pytest.raises(InputError, match="between 0 and 1"):
        solution.predict(X, interval=95)
    with pytest.raises(InputError, match=r"X has shape \(3,\), .*one row is X\[None\], of shape \(1, 3\)"):
        solution.predict(X[0])
    with pytest.raises(InputError, match="there is no interval, as l1 leaves no standard errors"):
        linreg_pl.solve(X, Y, l1=0.1).predict(X, interval=0.95)
    with pytest.raises(InputError, match=r"robust is no setting .*: give it to linreg_pl\.solve"):
        linreg_pl.fit(X, Y, robust="HC3")
    frame = pd.DataFrame(X, columns=list("abc"))
    with pytest.raises(InputError, match=r"X\.to_frame\(\)\.T is one of one row"):
        solution.predict(frame.iloc[0])
    np.testing.assert_allclose(solution.predict(frame.iloc[0].to_frame().T), solution.predict(X[:1]))
    assert solution.predict(frame.iloc[:0]).shape == (0,)
    assert linreg_pl.solve(X[:, 0], Y).predict(pl.Series(X[:5, 0])).shape == (5,)


def test_arrays_under_a_plain_trainer(tmp_path: Path) -> None:
    data = ArrayDataModule(X, Y, batch_size=20, val_fraction=0.2)
    model = LinearRegression(data.num_features)
    trainer = lightning.Trainer(
        max_epochs=5, default_root_dir=tmp_path, enable_progress_bar=False, accelerator="cpu", log_every_n_steps=1
    )
    trainer.fit(model, data)
    assert model.feature_names == ["x0", "x1", "x2"]
    loaded = LinearRegression.load(tmp_path / "lightning_logs" / "version_0")
    assert loaded.coefficients().to_dict() == model.coefficients().to_dict()
    np.testing.assert_allclose(loaded.predict(X), model.predict(X), rtol=1e-12)
    [path] = tmp_path.glob("lightning_logs/version_0/checkpoints/*.ckpt")
    assert "60" not in str(torch.load(path, weights_only=True)["datamodule_hyper_parameters"].get("path"))
    plain = LinearRegression.load_from_checkpoint(path, weights_only=True)
    assert plain.feature_names == model.feature_names


def test_run_folders_are_taken(tmp_path: Path) -> None:
    flags = [
        "--data=TableDataModule",
        f"--data.path={DIABETES}",
        "--data.target=progression",
        "--data.val_fraction=0.2",
    ]
    assert linreg("fit", *flags, "--model.l2=0.01", cwd=tmp_path).code == 0
    run = "lightning_logs/version_0"
    model = LinearRegression.load(tmp_path / run)
    assert model.feature_names[2] == "bmi"
    assert model.predict(DIABETES).shape == (442,)
    for command in ("validate", "test", "predict"):
        done = linreg(command, "--ckpt_path", run, cwd=tmp_path)
        assert done.code == 0, done.stderr
    solved = linreg("solve", "--ckpt_path", run, cwd=tmp_path)
    assert solved.code == 0, solved.stderr
    by_config = linreg("solve", "--config", f"{run}/config.yaml", cwd=tmp_path)
    assert by_config.code == 0, by_config.stderr
    direct = linreg("solve", *flags, "--model.l2=0.01", cwd=tmp_path)
    assert direct.stdout == solved.stdout == by_config.stdout
    with pytest.raises(InputError, match="no checkpoint in this folder"):
        LinearRegression.load(tmp_path)


def test_users_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a user's script; `make types` checks its types strictly."""
    monkeypatch.chdir(tmp_path)
    X, y = np.random.default_rng(1).standard_normal((2, 9, 2))
    solution: Solution = linreg_pl.solve(X, y[:, 0], robust="HC3")
    assert solution.standard_errors["x0"] > 0
    assert solution.intervals(0.9)["x0"][0] < solution.coefficients["x0"]
    lower: np.ndarray = solution.predict(X, interval=0.9).lower
    predicted: np.ndarray = solution.predict(X)
    assert (lower < predicted).all()
    assert solution.aic > -np.inf
    text: str = solution.summary()
    numbers: dict[str, object] = solution.to_dict()
    assert "x0" in text
    assert numbers
    model: LinearRegression = linreg_pl.fit(X, y[:, 0], l2=0.1)
    W, b = model.coefficients()
    assert W.shape == (2, 1)
    assert b.shape == (1,)
    assert model.predict(X).mean() == pytest.approx(y[:, 0].mean())
    load: Callable[[str], LinearRegression] = LinearRegression.load
    assert callable(load)
    data: TableDataModule = ArrayDataModule(X, y[:, 0])
    assert data.num_features == 2


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("solve", {"missing": "median"}, "missing is 'median': give 'error' or 'drop' or 'mean' or 'indicator'"),
        ("solve", {"rare": "few"}, "rare is 'few': give 'error' or 'other'"),
        ("solve", {"robust": "HC9"}, "robust is 'HC9': give 'HC0' or 'HC1' or 'HC2' or 'HC3'"),
        ("solve", {"fit_intercept": "false"}, "fit_intercept is 'false': give True or False"),
        ("solve", {"drop_first": 1}, "drop_first is 1: give True or False"),
        ("solve", {"l2": None}, "l2 is None: give a number or 'auto'"),
        ("solve", {"l1": "auto"}, "l1 is 'auto': give a number"),
        ("fit", {"l1": [0.1]}, r"l1 is \[0.1\]: give a number"),
        ("fit", {"schedule": "one cycle"}, "schedule is 'one cycle': give 'constant' or 'cosine' or 'one_cycle'"),
        ("fit", {"max_epochs": 2.5}, "max_epochs is 2.5: give a whole number"),
        ("fit", {"epochs": 3}, "did you mean max_epochs?"),
        ("fit", {"batch_size": 32.5}, "batch_size is 32.5: give a whole number"),
        (
            "fit",
            {"trainer": {"max_epoch": 3}},
            "max_epoch is no argument of lightning.Trainer; did you mean max_epochs?",
        ),
        ("fit", {"trainer": ["logger"]}, "trainer is of type list: give the arguments of lightning.Trainer as a dict"),
        ("fit", {"val_fraction": "0.2"}, "val_fraction is '0.2': give a number"),
        (
            "path",
            {"by": np.arange(60), "in_order": True},
            "^folds of groups have no order: give by or in_order, not both",
        ),
        ("solve", {"cluster": W, "robust": "HC1"}, "^clusters have robust .*: give robust or cluster, not both"),
        ("path", {"folds": 2.5}, "folds is 2.5: give a whole number"),
        ("subsets", {"search": "best"}, "search is 'best': give 'forward' or 'backward' or 'all'"),
    ],
)
def test_wrong_types_are_refused(name: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        getattr(linreg_pl, name)(X, Y, **given)


def test_numbers_of_any_library() -> None:
    by_hand = linreg_pl.path(X, Y, l2=[0.01, 0.1, 1.0], folds=3)
    numpys: dict[str, Any] = {"l2": np.array([0.01, 0.1, 1.0]), "folds": np.int64(3)}
    assert linreg_pl.path(X, Y, **numpys).best == by_hand.best
    others: dict[str, Any] = {"l2": torch.tensor(0.5), "batch_size": np.int32(30), "max_epochs": np.int64(2)}
    model = linreg_pl.fit(X, Y, **others)
    assert (model.l2, model.current_epoch) == (0.5, 2)
