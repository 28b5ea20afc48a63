"""Linear regression on PyTorch Lightning that knows the answer it is heading for."""

from importlib import import_module
from typing import TYPE_CHECKING

from linreg_pl.errors import InputError

__all__ = ["InputError", "LinearRegression", "SyntheticDataModule", "TableDataModule"]

if TYPE_CHECKING:
    from linreg_pl.data.synthetic import SyntheticDataModule
    from linreg_pl.data.table import TableDataModule
    from linreg_pl.training.module import LinearRegression
else:
    # Imported when they are asked for: Lightning takes seconds, in which the command has to answer a Ctrl-C.
    HOMES = {
        "LinearRegression": "linreg_pl.training.module",
        "SyntheticDataModule": "linreg_pl.data.synthetic",
        "TableDataModule": "linreg_pl.data.table",
    }

    def __getattr__(name: str) -> type:
        if name not in HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(HOMES[name]), name)

    def __dir__() -> list[str]:
        return __all__
