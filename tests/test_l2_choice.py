"""`l2 auto` takes the largest l2 within one standard error of the best, from the rows to fit alone."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.metrics import mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import linreg_pl
from linreg_pl import InputError, LinearRegression, SyntheticDataModule, TableDataModule
from linreg_pl.cli.command import LinregCLI
from linreg_pl.data.folds import FoldPlan
from linreg_pl.sklearn import ExactRegressor
from tests.runs import DIABETES
from tests.trainers import plain_trainer

GRID = np.logspace(-6, 3, 46)


def table(num_rows: int = 80) -> pa.Table:
    """Draws rows whose y depends weakly on four of eight columns of different sizes."""
    random = np.random.default_rng(4)
    x = random.normal(size=(num_rows, 8)) * np.logspace(1, -1, 8) + 50
    y = x[:, :4] @ [0.4, -0.3, 0.2, 0.1] + 1.5 * random.normal(size=num_rows)
    return pa.table({**{f"x{column}": x[:, column] for column in range(8)}, "y": y})


def refitted_choice(x: np.ndarray, y: np.ndarray, l1: float = 0.0) -> float:
    """Chooses l2 by scikit-learn's refits of five folds, as the one-standard-error rule says."""
    numbers = FoldPlan().of_rows(0, len(x), len(x)).numpy()
    errors = np.empty((5, len(GRID)))
    for fold in range(5):
        train, test = numbers != fold, numbers == fold
        for index, l2 in enumerate(GRID):
            model: Any = Ridge(alpha=l2 * train.sum())
            if l1:
                alpha = l2 + l1 / 2
                model = ElasticNet(alpha=alpha, l1_ratio=l1 / 2 / alpha, tol=1e-10, max_iter=100_000)
            model = make_pipeline(StandardScaler(), model).fit(x[train], y[train])
            errors[fold, index] = mean_squared_error(y[test], model.predict(x[test]))
    counts = np.bincount(numbers)
    means = counts @ errors / counts.sum()
    best = means.argmin()
    spread = np.sqrt(counts @ (errors[:, best] - means[best]) ** 2 / counts.sum() / 4)
    return float(GRID[means <= means[best] + spread].max())


@pytest.mark.parametrize("l1", [0.0, 0.3])
def test_refits_choose_the_same(l1: float) -> None:
    data = TableDataModule(table(), "y", val_fraction=0.2, test_fraction=0.1, batch_size=10)
    data.setup("fit")
    x, y, *_ = map(torch.cat, zip(*data.rows(), strict=True))
    assert len(x) < 60, "held-out rows take no part"
    expected = refitted_choice(x.numpy(), y[:, 0].numpy(), l1)
    model = LinearRegression(8, l2="auto", l1=l1)
    model.choose_l2(data)
    assert model.l2 == pytest.approx(expected)
    assert 1e-6 < model.l2 < 1e3
    assert model.l2 == model.hparams["l2"] == model.hparams_initial["l2"] == model.settings.l2
    assert str(model.l2_choice).startswith(f"l2 {model.l2:.6g} chosen by 5 folds: error ")


def test_streamed_table_gives_the_same_bits() -> None:
    values = []
    for limit, stage in ((1, "fit"), (0, "fit"), (0, "solve")):
        data = TableDataModule(table(), "y", memory_limit=limit)
        data.setup(stage)
        (model := LinearRegression(8, l2="auto")).choose_l2(data)
        values.append(model.l2)
    assert len(set(values)) == 1


def test_python_and_path_agree(capsys: pytest.CaptureFixture[str]) -> None:
    path = linreg_pl.path(str(DIABETES), "progression")
    model = linreg_pl.fit(str(DIABETES), "progression", l2="auto", max_epochs=2)
    solution = linreg_pl.solve(str(DIABETES), "progression", l2="auto")
    assert model.l2 == solution.settings.l2 == path.within_one_standard_error
    assert model.l2_choice in solution.remarks
    flags = f"--data TableDataModule --data.path {DIABETES} --data.target progression --model.l2 auto"
    LinregCLI("solve", flags.split())
    assert f"NOTE     {model.l2_choice}" in capsys.readouterr().err.splitlines()
    expected = linreg_pl.solve(str(DIABETES), "progression", l2=path.within_one_standard_error)
    assert solution.coefficients == expected.coefficients


class Huber(LinearRegression):
    """A model with a loss of its own."""

    def loss(self, residuals: Tensor) -> Tensor:
        return residuals.abs()


def test_choices_that_are_refused() -> None:
    with pytest.raises(InputError, match="l2 is auto, and there are 4 rows for 5 folds"):
        linreg_pl.fit(np.arange(4.0)[:, None], np.arange(4.0), l2="auto")
    with pytest.raises(
        InputError, match=r"^l2 is auto: SyntheticDataModule draws new noise .*: give --model.l2 a number"
    ):
        plain_trainer(1).fit(LinearRegression(l2="auto"), datamodule=SyntheticDataModule())
    loader = DataLoader(TensorDataset(torch.randn(20, 1), torch.randn(20, 1)), batch_size=10)
    with pytest.raises(InputError, match="a loader's rows have no folds"):
        plain_trainer(1).fit(LinearRegression(l2="auto"), loader)
    with pytest.raises(InputError, match="has another loss"):
        plain_trainer(1).fit(Huber(8, l2="auto"), datamodule=TableDataModule(table(), "y"))
    with pytest.raises(InputError, match="needs the rows of a data module"):
        ExactRegressor(l2="auto").fit(np.eye(6), np.arange(6.0))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="finite number, 0 or more, or auto"):
        LinearRegression(l2=-1)
    weighted = table(8).append_column("w", pa.array([1.0, 0, 0, 0] * 2))
    with pytest.raises(InputError, match=r"l2 is auto: 3 of 5 folds have no row of weight above 0: give l2 a number"):
        linreg_pl.solve(weighted, target="y", weights="w", l2="auto")
