"""Fits columns of any size: coefficients are right, or the column is refused by name."""

from typing import Any

import numpy as np
import pytest
import torch

import linreg_pl
from linreg_pl import InputError, LinearRegression
from tests.trainers import plain_trainer

RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 2))
Y = X @ [1.0, -2.0] + 3 + 0.1 * RNG.standard_normal(200)
COLUMNS = np.column_stack([np.ones(200), X])
THETA, (SQUARES,), *_ = np.linalg.lstsq(COLUMNS, Y, rcond=None)
ERRORS = np.sqrt(np.linalg.inv(COLUMNS.T @ COLUMNS).diagonal() * SQUARES / 197)
"""Exact coefficients, the intercept first, and standard errors; those of scaled columns are multiples of them."""

SIZES = [1e-300, 1e-160, 1e-140, 1e-120, 1e-27, 1e-12, 1.0, 1e18, 1e37, 1e60, 1e140, 1e300]


def assert_right(coefficients: dict[str, float], of_x: float, of_y: float, share: float) -> None:
    """Compares coefficients of X · of_x and y · of_y with NumPy's, allowing a share of a standard error."""
    units = np.array([of_y, of_y / of_x, of_y / of_x])
    np.testing.assert_array_less(np.abs(np.array(list(coefficients.values())) / units - THETA), share * ERRORS)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scaled", ["x", "y"])
def test_size_is_right_or_refused(scaled: str, size: float, caplog: pytest.LogCaptureFixture) -> None:
    of_x, of_y = (size, 1.0) if scaled == "x" else (1.0, size)
    x, y = X * of_x, Y * of_y
    if 1e-150 < size < 1e38:
        assert_right(linreg_pl.solve(x, y).coefficients, of_x, of_y, 1e-6)
        assert_right(linreg_pl.fit(x, y).coefficients().to_dict(), of_x, of_y, 0.01)
        assert not caplog.messages
        return
    for function in (linreg_pl.solve, linreg_pl.fit):
        with pytest.raises(InputError, match="'x0'" if scaled == "x" else "'y'"):
            function(x, y)


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"precondition": False},
    "given rate": {"precondition": False, "learning_rate": 0.3, "max_epochs": 30},
    "user's units": {"standardize": False},
    "no intercept": {"fit_intercept": False},
    "batches": {"batch_size": 50},
    "far start": {"start_at_mean": False},
    "far start, user's units": {"start_at_mean": False, "standardize": False},
}


@pytest.mark.parametrize("size", [1e-100, 1e30])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_at_any_size(name: str, size: float) -> None:
    """Coefficients are those of ordinary sizes, but for the unit."""
    model, scaled = linreg_pl.fit(X, Y, **SETTINGS[name]), linreg_pl.fit(X, Y * size, **SETTINGS[name])
    ours, theirs = (np.array(list(each.coefficients().to_dict().values())) for each in (model, scaled))
    np.testing.assert_array_less(np.abs(ours - theirs / size), 0.5 * ERRORS)


def test_targets_of_different_sizes() -> None:
    model = linreg_pl.fit(X, np.column_stack([Y, 1e-27 * Y, 1e12 * Y]))
    for number, size in enumerate((1.0, 1e-27, 1e12)):
        table = model.coefficients()[f"y{number}"]
        assert_right(table, 1.0, size, 0.01)


def test_noise_differs_between_targets() -> None:
    """The run is long enough for the target with the least noise."""
    x = RNG.standard_normal((3000, 2))
    noise = RNG.standard_normal(3000)
    y = np.column_stack([x @ [1.0, -2.0] + size * noise for size in (10, 1e-4)])
    model, solution = linreg_pl.fit(x, y, batch_size=100), linreg_pl.solve(x, y)
    for target, errors in solution.standard_errors.items():
        for name, error in errors.items():
            assert abs(model.coefficients()[target][name] - solution.coefficients[target][name]) < error


def test_loader_of_tiny_targets() -> None:
    x, y = torch.from_numpy(X), torch.from_numpy(1e-27 * Y).unsqueeze(1)
    model = LinearRegression(2)
    plain_trainer(10).fit(model, [(x[:100], y[:100]), (x[100:], y[100:])])
    assert_right(model.coefficients().to_dict(), 1.0, 1e-27, 0.3)


def test_far_end_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    settings: dict[str, Any] = {"precondition": False, "learning_rate": 1e-3}
    linreg_pl.fit(X, Y, max_epochs=2, **settings)
    assert caplog.messages == ["not converged after 2 epochs: train for more, or with learning_rate='auto'"]
    caplog.clear()
    linreg_pl.fit(X * 1e-20, Y, max_epochs=2, standardize=False, precondition=False)
    assert caplog.messages == [
        "not converged after 2 epochs: train for more, or with standardize=True and precondition=True"
    ]
    caplog.clear()
    linreg_pl.fit(X, Y)
    linreg_pl.fit([0, 1, 2], [1, 3, 5])
    linreg_pl.fit([0, 1, 2], [5, 5, 5])
    assert not [message for message in caplog.messages if "converged" in message]
