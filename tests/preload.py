"""Imports what the command `linreg` imports, early or late, into the server that forks it (`tests/commands.py`).

It also parses some flags and looks for the libraries that have threads, as their caches serve each fork. It starts no
thread: a fork would lack it.
"""

import gc
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO

gc.disable()  # as in `linreg_pl.__main__`; `main` enables it
for name in (
    *("linreg_pl.cli.main", "linreg_pl.data.table", "linreg_pl.plots.plot"),
    *("pytest", "attrs", "pandas", "pyarrow.csv", "pyarrow.dataset", "pyarrow.parquet"),
):
    import_module(name)

from linreg_pl.cli.command import LinregCLI  # noqa: E402  (after the imports that take long)
from linreg_pl.core.parallel import libraries  # noqa: E402

libraries()
with redirect_stdout(StringIO()), suppress(SystemExit):
    LinregCLI("fit", ["--data=TableDataModule", "--data.path=t.csv", "--data.target=y", "--print_config"])
