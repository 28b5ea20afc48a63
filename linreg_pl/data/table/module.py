"""The data modules of tables and arrays, for Lightning's Trainer."""

from collections.abc import Iterable
from typing import Any, ClassVar

from linreg_pl.data.loaders import Summary
from linreg_pl.data.module import BatchDataModule
from linreg_pl.data.table.arrays import joined
from linreg_pl.data.table.rows import RowsLoader
from linreg_pl.data.table.table_rows import TableRows
from linreg_pl.errors import InputError


class TableDataModule(TableRows, BatchDataModule):  # noqa: D101 (the one of its rows)
    __doc__ = TableRows.__doc__

    def val_dataloader(self) -> Iterable[Any]:
        """Returns the held-out rows; while fitting, their summary, or nothing if no rows are held out."""
        if self.trainer is not None and self.trainer.state.fn == "fit":
            return [] if self.held_out is None else Summary(self.held_out)
        return self.opened

    def test_dataloader(self) -> RowsLoader:
        """Returns the rows held out for the test, or all rows."""
        return self.opened

    def predict_dataloader(self) -> RowsLoader:
        """Returns the features of all rows."""
        return self.opened


class ArrayDataModule(TableDataModule):
    """Rows from arrays in memory: NumPy, torch, pandas, polars, Arrow, or lists.

    Columns of a frame keep their names; others are named as in scikit-learn, x0, x1, and so on. The target has its
    series' or column's name, or else y, or y0, y1, and so on.

    Args:
        X: Features (N, D), or (N,) for a single one.
        y: Targets (N,), or (N, K).
        weights: Weights (N,), 0 or more: how much each row counts in J. For standard errors, a weight is the inverse
            noise variance.
        settings: Further arguments of `TableDataModule`, such as `batch_size`, `val_fraction` or `missing`.

    Raises:
        InputError: the shapes do not fit, or the values can't be used.

    Example:
        >>> data = linreg_pl.ArrayDataModule(np.eye(3), [1.0, 2.0, 4.0])
        >>> data.feature_names, data.target_names
        (['x0', 'x1', 'x2'], ['y'])
    """

    arrays: ClassVar[tuple[str, ...]] = ("X", "y", "weights")

    def __init__(self, X: Any, y: Any, weights: Any = None, **settings: Any) -> None:
        for name in ("path", "target", "weight", "val_path", "test_path"):
            if name in settings:
                raise InputError(f"ArrayDataModule takes no {name}: use TableDataModule for files")
        table, columns = joined(X, y=y, weights=weights)
        weight = columns["weights"][0] if columns["weights"] else None
        super().__init__(table, target=columns["y"], weight=weight, **settings)
