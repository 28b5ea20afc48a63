"""Linear regression on PyTorch Lightning that knows the answer it is heading for."""

from linreg_pl.data.synthetic import SyntheticDataModule
from linreg_pl.data.table import TableDataModule
from linreg_pl.errors import InputError
from linreg_pl.training.module import LinearRegression

__all__ = ["InputError", "LinearRegression", "SyntheticDataModule", "TableDataModule"]
