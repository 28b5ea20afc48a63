"""Checks solutions of columns at any offset and scale against rational arithmetic on the same float64 values."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

import linreg_pl
from linreg_pl import InputError, LinearRegression, TableDataModule
from linreg_pl.core.metrics import evaluation_of
from linreg_pl.core.optimum import Optimum, optimum, penalty_rows
from linreg_pl.core.refinement import refined
from linreg_pl.core.scaling import standardization, users_units
from linreg_pl.core.statistics import statistics
from linreg_pl.core.triangle import center_of, triangle_of
from linreg_pl.exact.solution import solve
from linreg_pl.training.hyper_parameters import HyperParameters
from tests.least_squares import LeastSquares, to_float
from tests.problems import problem
from tests.rationals import rational
from tests.trainers import plain_trainer

EPS = torch.finfo(torch.float64).eps
SHARE = 1e-6
"""Of a standard error, by which a result may differ from the exact one of the rounded values."""


class Table(NamedTuple):
    """Rows, of which columns `kept` are linearly independent; the others are constant or copies of these."""

    x: Tensor  # (N, D)
    y: Tensor  # (N, 1)
    weights: Tensor | None = None  # (N, 1)
    constant: tuple[int, ...] = ()
    copies: tuple[tuple[int, int], ...] = ()  # pairs of equal columns

    @property
    def kept(self) -> list[int]:
        """Returns the columns that the exact solution needs."""
        others = {*self.constant, *(copy for _, copy in self.copies)}
        return [column for column in range(self.x.shape[1]) if column not in others]

    @property
    def exact(self) -> LeastSquares:
        """Solves exactly."""
        return LeastSquares.of(self.x, self.y, self.weights, self.kept)

    def chunks(self, size: int) -> list[tuple[Tensor, ...]]:
        """Returns the rows in chunks of so many."""
        tensors = (self.x, self.y) if self.weights is None else (self.x, self.y, self.weights)
        return list(zip(*(tensor.split(size) for tensor in tensors), strict=True))

    def varies(self, share: float = 1e-3) -> bool:
        """Tests whether float64's rounding is below a share of the spread of every column that is kept, and of y."""
        columns = torch.cat([self.x[:, self.kept], self.y], dim=1)
        columns = columns if self.weights is None else columns[self.weights[:, 0] > 0]
        rounding = EPS * columns.abs().amax(dim=0)
        return bool((rounding < share * columns.std(dim=0)).all())


def solved(table: Table, chunk: int, standardize: bool = True) -> tuple[Optimum, LinearRegression]:
    """Solves as a run does, from the rows in chunks, and returns a module with the solution."""
    chunks = table.chunks(chunk)
    D = table.x.shape[1]
    data = triangle_of(chunks, center_of(*chunks[0]))
    scaling = standardization(data)
    center = scaling.center(1) if standardize else torch.zeros(D + 1, dtype=torch.float64)
    units = scaling.centered if standardize else users_units(D)
    solution = optimum(data.centered_at(center), penalty_rows(D, 0.0, scaling=units), True, scaling.scales)
    solution = refined(solution, chunks)
    model = LinearRegression(num_features=D, precondition=False).double()
    model.x_mean.copy_(scaling.means)
    model.x_scale.copy_(scaling.scales)
    model.y_mean.copy_(scaling.target_means)
    theta = scaling.centered.inverse @ solution.theta.high
    model.W.data.copy_(theta[1:])
    model.b.data.copy_(theta[0])
    return solution, model


def assert_right(table: Table, chunk: int = 1000) -> None:
    """Compares slopes, intercept, standard errors, R² and predictions with the exact ones."""
    solution, model = solved(table, chunk)
    exact, fit = table.exact, statistics(solution)
    assert_close(table, exact, solution.W[:, 0], float(solution.b[0]), fit.standard_errors[:, 0])
    assert fit.degrees_of_freedom == pytest.approx(len(exact.y) - 1 - len(exact.slopes), abs=1e-6)
    assert fit.r_squared.item() == pytest.approx(exact.r_squared, abs=1e-9)
    assert fit.r_squared.item() >= 0
    assert evaluation_of(solution.data, solution.theta.high).r2 == pytest.approx(exact.r_squared, abs=1e-9)
    assert solution.constant == [1 + column for column in table.constant]
    assert solution.dependent == sorted(1 + column for pair in table.copies for column in pair)
    assert_predicts(table, exact, model)


def assert_close(table: Table, exact: LeastSquares, W: Tensor, b: float, errors: Tensor) -> None:
    """Compares coefficients and their standard errors."""
    copied = {column for pair in table.copies for column in pair}
    for column, slope, error in zip(table.kept, map(to_float, exact.slopes), exact.standard_errors, strict=True):
        same = [column, *(copy for original, copy in table.copies if original == column)]
        assert float(W[same].sum()) == pytest.approx(slope, rel=4 * EPS, abs=SHARE * error)
        assert float(W[same].max() - W[same].min()) <= SHARE * error + 4 * EPS * abs(slope)
        if column not in copied:
            assert float(errors[1 + column]) == pytest.approx(error, rel=SHARE)
    error = exact.standard_error_at([0] * len(exact.slopes))  # type: ignore[list-item]
    assert b == pytest.approx(to_float(exact.intercept), rel=4 * EPS, abs=SHARE * error)
    assert float(errors[0]) == pytest.approx(error, rel=SHARE)
    for column in table.constant:
        assert W[column] == 0
    assert errors[[1 + column for column in (*table.constant, *copied)]].isnan().all()


def assert_predicts(table: Table, exact: LeastSquares, model: LinearRegression) -> None:
    """Compares predictions for the rows, in the user's units."""
    with torch.no_grad():
        predictions = model(table.x)[:, 0].tolist()
    for row, prediction in zip(rational(table.x[:, table.kept]), predictions, strict=True):
        expected, error = to_float(exact.prediction(row)), exact.standard_error_at(row)
        assert prediction == pytest.approx(expected, rel=4 * EPS, abs=SHARE * error)


@st.composite
def tables(draw: st.DrawFn, most_features: int = 3) -> Table:
    """Draws small tables, some with weights: a third of them 0."""
    num_features = draw(st.integers(1, most_features))
    num_rows = draw(st.integers(2 * num_features + 6, 14))
    x, y, W, *_ = problem(num_rows, num_features, 1, 0.0, seed=draw(st.integers(0, 2**31)))
    y = x @ W + y
    weights = None
    if draw(st.booleans()):
        weights = (1 + torch.arange(num_rows).double()).unsqueeze(1) * draw(st.sampled_from([1.0, 1e-3]))
        weights[::3] = 0
    return Table(x, y, weights)


offsets = st.builds(lambda exponent, sign: sign * 10.0**exponent, st.floats(0, 15), st.sampled_from([-1.0, 1.0]))
chunk_sizes = st.integers(1, 14)
long_numbers = st.one_of(st.integers(1, 10**19).map(float), st.floats(1e-12, 1e19), st.sampled_from([0.0, 0.1, 1.0]))


@given(tables(), offsets, st.data(), chunk_sizes, st.sampled_from([1.0, 300.0, 1e5]))
@settings(max_examples=30)
def test_offsets_change_nothing_else(
    table: Table, offset: float, data: st.DataObject, chunk: int, spread: float
) -> None:
    """A column at an offset of up to 1e15, or the target, or both."""
    columns = torch.cat([table.x, table.y], dim=1) * spread
    for column in data.draw(st.sets(st.integers(0, columns.shape[1] - 1), min_size=1)):
        columns[:, column] += offset
    moved = table._replace(x=columns[:, :-1].clone(), y=columns[:, -1:].clone())
    assume(moved.varies())
    assert_right(moved, chunk)


@given(tables(), st.data(), chunk_sizes)
@settings(max_examples=30)
def test_units_change_nothing_else(table: Table, data: st.DataObject, chunk: int) -> None:
    columns = torch.cat([table.x, table.y], dim=1)
    for column in range(columns.shape[1]):
        columns[:, column] += data.draw(st.sampled_from([0.0, 100.0]))
        columns[:, column] *= data.draw(st.sampled_from([1e-12, 1.0, 1e12]))
    assert_right(table._replace(x=columns[:, :-1].clone(), y=columns[:, -1:].clone()), chunk)


@given(tables(), long_numbers, st.data(), chunk_sizes)
@settings(max_examples=30)
def test_constant_columns_change_nothing_else(table: Table, value: float, data: st.DataObject, chunk: int) -> None:
    """Of any number of digits, 19 too."""
    place = data.draw(st.integers(0, table.x.shape[1]))
    constant = torch.full((len(table.x), 1), value, dtype=torch.float64)
    x = torch.cat([table.x[:, :place], constant, table.x[:, place:]], dim=1)
    x, y = x + 0, table.y + data.draw(st.sampled_from([0.0, 1e9]))
    assert_right(table._replace(x=x, y=y, constant=(place,)), chunk)


@given(tables(), offsets, st.data(), chunk_sizes)
@settings(max_examples=30)
def test_copied_columns_change_nothing_else(table: Table, offset: float, data: st.DataObject, chunk: int) -> None:
    column = data.draw(st.integers(0, table.x.shape[1] - 1))
    x = table.x.clone()
    x[:, column] += offset
    copied = table._replace(x=torch.cat([x, x[:, column : column + 1]], dim=1), copies=((column, x.shape[1]),))
    assume(copied.varies())
    assert_right(copied, chunk)


@given(tables(), offsets, st.integers(1, 5))
@settings(max_examples=30)
def test_sorted_rows_at_an_offset(table: Table, offset: float, chunk: int) -> None:
    """The first chunk is far from the mean: a first estimate of the center may be poor."""
    x = table.x.clone()
    x[:, 0] = torch.sort(x[:, 0]).values * 10
    x[chunk:, 0] += abs(offset)  # the first chunk is at 0
    apart = table._replace(x=x)
    assume(apart.varies())
    assert_right(apart, chunk)


@given(tables(), chunk_sizes)
@settings(max_examples=30)
def test_rows_of_weight_0_are_absent(table: Table, chunk: int) -> None:
    """Whatever they hold."""
    weights = torch.ones_like(table.y) if table.weights is None else table.weights.clone()
    weights[1] = 0
    x, y = table.x.clone(), table.y.clone()
    x[1], y[1] = 1e9, -1e12
    weighted, absent = Table(x, y, weights), weights[:, 0] > 0
    assert_right(weighted, chunk)
    whole = statistics(solved(weighted, chunk)[0])
    without = statistics(solved(Table(x[absent], y[absent], weights[absent]), chunk)[0])
    torch.testing.assert_close(whole.standard_errors, without.standard_errors, rtol=1e-6, atol=0)
    torch.testing.assert_close(whole.residual_std, without.residual_std, rtol=1e-6, atol=0)
    assert whole.degrees_of_freedom == pytest.approx(without.degrees_of_freedom, abs=1e-6)


@given(tables(), offsets, st.sampled_from([1.0, 1e-6, 1e12]))
@settings(max_examples=30)
def test_r2_is_never_negative(table: Table, offset: float, spread: float) -> None:
    """Also where rounding leaves little of a column, or nothing."""
    x = table.x * spread + offset
    fit = statistics(solved(table._replace(x=x, y=table.y + offset), 5)[0])
    assert fit.r_squared.isnan().all() or 0 <= fit.r_squared.item() <= 1
    fit = statistics(solved(table._replace(x=x), 5)[0])
    assert 0 <= fit.r_squared.item() <= 1


@pytest.mark.parametrize("seed", range(20))
def test_r2_of_constant_columns_is_0(seed: int) -> None:
    """RSS and TSS then differ by rounding alone, up or down."""
    x, y, W, *_ = problem(12, 3, 1, 0.0, seed=seed)
    solution, _ = solved(Table(torch.ones_like(x), x @ W + y, 1 + torch.arange(12).double().unsqueeze(1)), 5)
    assert 0 <= statistics(solution).r_squared.item() < 1e-14
    assert evaluation_of(solution.data, solution.theta.high).r2 == 0


def test_r2_is_negative_where_b_is_penalised() -> None:
    """It then tells that the mean of y predicts better."""
    y = 100 + torch.arange(6, dtype=torch.float64)
    solution = linreg_pl.solve(np.eye(6)[:, :2], y.numpy(), l2=10.0, fold_bias=True)
    residuals = y.numpy() - solution.predict(np.eye(6)[:, :2])
    assert solution.r_squared == pytest.approx(1 - (residuals @ residuals) / 17.5, rel=1e-9)
    assert solution.r_squared < -100


def nasty(kind: str) -> Table:
    """Returns 40 rows of two features; the first one, or the target, is of this kind."""
    x, y, *_ = problem(40, 2, 1, 0.0, seed=1)
    steps, one = torch.arange(40, dtype=torch.float64), torch.ones(40, dtype=torch.float64)
    y = 0.5 * y + x @ torch.tensor([[1.0], [-2.0]]).double()
    changes = {
        "counter beyond 2^49": lambda: 2.0**50 + 3 * steps,
        "nanoseconds": lambda: 1.7e18 + 3.6e12 * steps,
        "row number and time": lambda: 1.7e9 + 86400 * steps,
        "metres from the equator": lambda: 5.3e6 + 0.1 * x[:, 0],
        "one row differs": lambda: torch.where(steps == 17, one * (1e6 + 1), 1e6 * one),
        "one row differs by little": lambda: torch.where(steps == 17, one * (0.1 + 2.0**-40), 0.1 * one),
        "first row is far": lambda: torch.where(steps == 0, -1e12 * one, x[:, 0]),
        "1e-300": lambda: 1e-300 * x[:, 0],
        "1e300": lambda: 1e300 * x[:, 0],
        "1e150": lambda: 1e150 * x[:, 0],
        "1e-150": lambda: 1e-150 * x[:, 0],
        "subnormal": lambda: 1e-310 * x[:, 0],
    }
    if kind in changes:
        x[:, 0] = changes[kind]()
        y = y + (steps / 40).unsqueeze(1)
    else:
        y = {
            "target at 1.7e9": 1.7e9 + 30 * x[:, :1] + 0.5 * y,
            "target at -1e15": -1e15 + 1e3 * y,
            "target of 1e300": 1e300 * y,
            "target of 1e-300": 1e-300 * y,
        }[kind]
    return Table(x, y)


ORDINARY = ["counter beyond 2^49", "nanoseconds", "row number and time", "metres from the equator", "one row differs"]
ORDINARY += ["one row differs by little", "first row is far", "target at 1.7e9", "target at -1e15"]
EXTREME = ["1e-300", "1e300", "1e150", "1e-150", "subnormal", "target of 1e300", "target of 1e-300"]


@pytest.mark.parametrize("chunk", [7, 40])
@pytest.mark.parametrize("kind", ORDINARY)
def test_nasty_columns(kind: str, chunk: int) -> None:
    assert_right(nasty(kind), chunk)


def module_of(table: Table, folder: Path, **settings: float | bool) -> TableDataModule:
    """Writes a CSV file with all digits."""
    names = [*(f"x{i}" for i in range(table.x.shape[1])), "y"]
    lines = [",".join(map(repr, row)) for row in torch.cat([table.x, table.y], dim=1).tolist()]
    (folder / "t.csv").write_text("\n".join([",".join(names), *lines]))
    return TableDataModule(str(folder / "t.csv"), "y", **settings)  # type: ignore[arg-type]


def assert_solves_and_fits(table: Table, data: TableDataModule) -> None:
    """Compares the exact solution of `solve` and of `fit`, and the predictions after a fit."""
    exact, D = table.exact, table.x.shape[1]
    data.setup("solve")
    solution = solve(data, HyperParameters(num_features=D))
    optimum = solution.problem.optimum
    errors = solution.inference.fit.standard_errors[:, 0]
    assert_close(table, exact, optimum.W[:, 0], float(optimum.b[0]), errors)
    assert solution.inference.fit.r_squared.item() == pytest.approx(exact.r_squared, abs=1e-9)
    data.setup("fit")
    model = LinearRegression(num_features=D)
    plain_trainer(10).fit(model, datamodule=data)
    optimum = model.problem(data).optimum
    assert_close(table, exact, optimum.W[:, 0], float(optimum.b[0]), errors)
    with torch.no_grad():
        predictions = model(table.x)
    assert predictions.dtype == torch.float64
    for row, prediction in zip(rational(table.x[:, table.kept]), predictions[:, 0].tolist(), strict=True):
        expected, error = to_float(exact.prediction(row)), exact.standard_error_at(row)
        assert prediction == pytest.approx(expected, rel=4 * EPS, abs=0.3 * error)


@pytest.mark.parametrize("streamed", [False, True], ids=["in memory", "streamed"])
@pytest.mark.parametrize("kind", ORDINARY)
def test_nasty_tables(kind: str, streamed: bool, tmp_path: Path) -> None:
    table = nasty(kind)
    assert_solves_and_fits(table, module_of(table, tmp_path, **({"memory_limit": 1e-9} if streamed else {})))


@pytest.mark.parametrize("value", [3.0, 1234567890123456.0, 1234567890123456789.0, 0.1])
def test_table_with_a_constant_column(value: float, tmp_path: Path) -> None:
    """Whatever its length, it has W = 0, no standard error, and changes nothing else; at any penalty it is named."""
    table = nasty("target at 1.7e9")
    x = torch.cat([table.x, torch.full((40, 1), value, dtype=torch.float64)], dim=1)
    constant = Table(x, table.y, constant=(2,))
    data = module_of(constant, tmp_path)
    assert_solves_and_fits(constant, data)
    for l2 in (0.0, 1e-10, 1.0):
        model = LinearRegression(num_features=3, l2=l2)
        model.learn_from(data)
        assert model.problem(data).constant_columns == ["x2"]


@pytest.mark.parametrize("kind", EXTREME)
def test_extreme_sizes_are_right_or_refused(kind: str, tmp_path: Path) -> None:
    assert refusal(nasty(kind), tmp_path) in ("", "the column is named")


def refusal(table: Table, folder: Path) -> str:
    """Checks the results, or the refusal."""
    try:
        assert_solves_and_fits(table, module_of(table, folder))
    except InputError as error:
        return "the column is named" if "x0" in str(error) or "'y'" in str(error) else str(error)
    return ""
