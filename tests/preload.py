"""Imports what the command `linreg` imports, early or late, into the server that forks it (`tests/commands.py`)."""

import gc
from importlib import import_module

gc.disable()  # as in `linreg_pl.__main__`; `main` enables it
for name in (
    *("linreg_pl.cli.main", "linreg_pl.data.table", "linreg_pl.plots.plot"),
    *("attrs", "pandas", "pyarrow.csv", "pyarrow.dataset", "pyarrow.parquet"),
):
    import_module(name)
