"""Imports what the command `linreg` imports, early or late, into the server that forks it (`tests/commands.py`).

It also builds the parsers of the commands, and looks for the libraries that have threads and for the packages that
extend Lightning: all serve each fork. It starts no thread: a fork would lack it.
"""

import ctypes
import gc
import os
from contextlib import redirect_stdout, suppress
from importlib import import_module
from importlib.metadata import entry_points
from io import StringIO
from pathlib import Path

gc.disable()  # as in `linreg_pl.__main__`; `main` enables it
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # likewise
for name in (
    *("linreg_pl.cli.main", "linreg_pl.data.table.module", "linreg_pl.plots.plot", "linreg_pl.callbacks.progress_bar"),
    *(f"linreg_pl.cli.{command}" for command in ("describe", "evaluate", "fit", "path", "solve", "tune")),
    *("pytest", "attrs", "pandas", "pyarrow.csv", "pyarrow.dataset", "pyarrow.parquet"),
):
    import_module(name)

from linreg_pl.cli.command import LinregCLI, parser_of  # noqa: E402  (after the imports that take long)
from linreg_pl.cli.commands import COMMANDS  # noqa: E402
from linreg_pl.core.parallel import libraries  # noqa: E402

libraries()
entry_points(group="lightning.pytorch.callbacks_factory")
for name, command in COMMANDS.items():
    if command.has_settings:
        with redirect_stdout(StringIO()), suppress(SystemExit):
            LinregCLI(name, ["--data=TableDataModule", "--data.path=t.csv", "--data.target=y", "--print_config"])
        if not command.trains:
            LinregCLI.parsers[name, False] = parser_of(name, has_trainer=False)


def gather_memory() -> None:
    """Asks Linux to gather the memory of this process in huge pages.

    A fork lists each page anew, and forgets it at its end. That is most of the time of a short command.
    """
    maps, collapse, size = Path("/proc/self/maps"), 25, 2**21
    if maps.exists():
        for line in maps.read_text().splitlines():
            addresses, access, *_, inode = line.split()[:5]
            if access == "rw-p" and inode == "0":
                start, end = (int(address, 16) for address in addresses.split("-"))
                start, end = -(-start // size) * size, end // size * size
                if start < end:  # an error changes nothing: older kernels have no such call
                    ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), collapse)


gather_memory()
