"""Linear regression on PyTorch Lightning, with the exact solution computed first."""

from importlib import import_module
from typing import TYPE_CHECKING

from linreg_pl.errors import InputError

__all__ = [
    "ArrayDataModule",
    "InputError",
    "LinearRegression",
    "Solution",
    "SyntheticDataModule",
    "TableDataModule",
    "fit",
    "path",
    "solve",
    "subsets",
]

if TYPE_CHECKING:
    from linreg_pl.data.synthetic import SyntheticDataModule
    from linreg_pl.data.table.module import ArrayDataModule, TableDataModule
    from linreg_pl.exact.solution import Solution
    from linreg_pl.fit_shortcut import fit
    from linreg_pl.shortcuts import path, solve, subsets
    from linreg_pl.training.module import LinearRegression
else:
    # Imported at first use: Lightning takes seconds to import, and the command must answer a Ctrl-C meanwhile.
    _modules = {
        "ArrayDataModule": "linreg_pl.data.table.module",
        "LinearRegression": "linreg_pl.training.module",
        "Solution": "linreg_pl.exact.solution",
        "SyntheticDataModule": "linreg_pl.data.synthetic",
        "TableDataModule": "linreg_pl.data.table.module",
        "fit": "linreg_pl.fit_shortcut",
        "path": "linreg_pl.shortcuts",
        "solve": "linreg_pl.shortcuts",
        "subsets": "linreg_pl.shortcuts",
    }

    def __getattr__(name: str) -> object:
        if name not in _modules:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_modules[name]), name)

    def __dir__() -> list[str]:
        return __all__
