"""Tables: CSV, Parquet and Arrow files, DataFrames and arrays, as batches of numbers."""

from importlib import import_module


def __getattr__(name: str) -> object:
    """Returns a data module, which older config files name here; its import takes seconds."""
    if name not in ("ArrayDataModule", "TableDataModule"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("linreg_pl.data.table.module"), name)
