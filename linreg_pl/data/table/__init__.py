"""Tables: CSV, Parquet and Arrow files, DataFrames and arrays, as batches of numbers."""

from linreg_pl.data.table.arrays import ArrayDataModule
from linreg_pl.data.table.module import TableDataModule

__all__ = ["ArrayDataModule", "TableDataModule"]
