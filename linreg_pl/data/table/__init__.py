"""Tables: from CSV, Parquet and Arrow files, or a data frame, to batches of numbers."""

from linreg_pl.data.table.module import TableDataModule

__all__ = ["TableDataModule"]
