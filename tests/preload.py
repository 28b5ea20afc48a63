"""Imports what the command `linreg` imports, early or late, into the server that forks it (`tests/commands.py`).

It also builds the parsers of the commands, and looks for the libraries that have threads: both serve each fork. It
starts no thread: a fork would lack it.
"""

import gc
import os
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO

gc.disable()  # as in `linreg_pl.__main__`; `main` enables it
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # likewise
for name in (
    *("linreg_pl.cli.main", "linreg_pl.data.table", "linreg_pl.plots.plot"),
    *("pytest", "attrs", "pandas", "pyarrow.csv", "pyarrow.dataset", "pyarrow.parquet"),
):
    import_module(name)

from linreg_pl.cli.command import LinregCLI  # noqa: E402  (after the imports that take long)
from linreg_pl.cli.commands import COMMANDS  # noqa: E402
from linreg_pl.core.parallel import libraries  # noqa: E402

libraries()
for name, command in COMMANDS.items():
    if command.has_settings:
        with redirect_stdout(StringIO()), suppress(SystemExit):
            LinregCLI(name, ["--data=TableDataModule", "--data.path=t.csv", "--data.target=y", "--print_config"])
