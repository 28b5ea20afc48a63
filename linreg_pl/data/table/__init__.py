"""Tables: CSV, Parquet and Arrow files, or a DataFrame, as batches of numbers."""

from linreg_pl.data.table.module import TableDataModule

__all__ = ["TableDataModule"]
