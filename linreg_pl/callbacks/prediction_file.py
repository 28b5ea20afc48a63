"""Writes predictions to a file, batch by batch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from linreg_pl.core.prediction_interval import PredictionInterval
from linreg_pl.core.triangle import Triangle
from linreg_pl.data.module import BatchDataModule
from linreg_pl.data.synthetic import SyntheticDataModule
from linreg_pl.errors import InputError, quoted, repeated
from linreg_pl.runs.checkpoint_file import CheckpointFile
from linreg_pl.runs.durable_files import begin_durably, end_durably
from linreg_pl.training.coefficient_names import column_names
from linreg_pl.training.module import LinearRegression

if TYPE_CHECKING:
    import pyarrow as pa


class PredictionFile(Callback):
    """Writes a row for each row of the data, in its order: the columns to keep, then the prediction of each target.

    A prediction's column is `target_predicted`. With an interval, `target_lower` and `target_upper` follow. Only a
    batch of rows is held at a time. The file gets its name once it is complete.

    Args:
        output: Name of the file.
        keep_columns: Names of the data's columns to copy; None for all.
        interval: Interval of the predictions; None to write none.

    Raises:
        InputError: the name ends in neither .csv nor .parquet.
    """

    def __init__(
        self, output: str, keep_columns: Sequence[str] | None = (), interval: PredictionInterval | None = None
    ) -> None:
        self.path = Path(output)
        self.num_rows = 0
        self.num_empty = 0  # rows without a prediction
        self._file: IO[bytes] | None = None
        if self.path.suffix.lower() not in (".csv", ".parquet"):
            raise InputError(f"{output}: the name must end in .csv or .parquet; see --output")
        self._keep_columns, self._interval = keep_columns, interval

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the file."""
        import pyarrow as pa  # not at the top: no other command writes a table
        from pyarrow.csv import CSVWriter
        from pyarrow.parquet import ParquetWriter

        data, is_csv = trainer.datamodule, self.path.suffix.lower() == ".csv"  # type: ignore[attr-defined]
        assert isinstance(data, BatchDataModule)
        if self.path.exists() and any(self.path.samefile(path) for path in data.paths):
            raise InputError(f"{self.path}: the rows are read from this file; give --output another name")
        keeps = self._keep_columns is None or len(self._keep_columns) > 0
        kept, rows = data.as_written(self._keep_columns) if keeps else (pa.schema([]), iter(()))
        kept = pa.schema([pa.field(field.name, writable(field.type)) for field in kept])
        self._kept = Kept(kept, rows)
        self._schema = self._schema_of(kept, column_names(trainer)[1])
        self._file = begin_durably(self.path)
        try:
            self._writer = (CSVWriter if is_csv else ParquetWriter)(self._file, self._schema)
            self._writer.write_table(self._schema.empty_table())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(
                f"{self.path}: a kept column can't be written there ({error}); see --keep_columns"
            ) from error

    def _schema_of(self, kept: "pa.Schema", targets: Sequence[str]) -> "pa.Schema":
        import pyarrow as pa

        names = list(kept.names)
        for target in targets:
            names.append(f"{target}_predicted")
            names += [f"{target}_lower", f"{target}_upper"] if self._interval else []
        doubled = repeated(names)
        if doubled:
            raise InputError(f"{self.path}: {quoted(doubled)} would name two columns; leave it out of --keep_columns")
        return pa.schema([*kept, *(pa.field(name, pa.float64()) for name in names[len(kept) :])])

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Appends a batch of predictions, shape (N, K)."""
        import pyarrow as pa

        values = outputs.unsqueeze(2).cpu()  # (N, K, 1); with an interval (N, K, 3)
        if self._interval:
            reach = self._interval.reach(batch if isinstance(batch, Tensor) else batch[0]).unsqueeze(2)
            values = torch.cat([values, values - reach, values + reach], dim=2)
        numbers = values.flatten(1).double().T.contiguous().numpy()
        # NaN becomes empty, but in a column of its own: readers of CSV skip a line without anything.
        columns = [pa.array(column, from_pandas=len(self._schema) > 1) for column in numbers]
        self._writer.write_table(pa.table([*self._kept.next(len(outputs)), *columns], schema=self._schema))
        self.num_rows += len(outputs)
        self.num_empty += int(outputs.isnan().any(dim=1).sum())

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Removes the incomplete file."""
        if self._file is not None:
            Path(self._file.name).unlink(missing_ok=True)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes the file, and gives it its name."""
        assert self._file is not None
        self._writer.close()
        end_durably(self._file, self.path)


class Kept:
    """The columns to copy, as many rows at a time as there are predictions."""

    def __init__(self, schema: "pa.Schema", batches: "Iterator[pa.RecordBatch]") -> None:
        self._schema, self._batches = schema, batches
        self._held = schema.empty_table()

    def next(self, num_rows: int) -> "list[pa.ChunkedArray]":
        """Returns the columns of the next rows.

        Raises:
            InputError: there are no more rows.
        """
        import pyarrow as pa

        tables, num_missing = [self._held], num_rows - self._held.num_rows
        while self._schema and num_missing > 0:
            batch = next(self._batches, None)
            if batch is None:
                raise InputError("the data has changed while it was read; start again")
            tables.append(pa.Table.from_batches([batch]).cast(self._schema))
            num_missing -= batch.num_rows
        rows = pa.concat_tables(tables)
        self._held = rows.slice(num_rows)
        columns: list[pa.ChunkedArray] = rows.slice(0, num_rows).columns
        return columns


def writable(kind: "pa.DataType") -> "pa.DataType":
    """Returns the type in which a kept column is written: dictionaries and views have the type of their values."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return writable(kind.value_type)
    return pa.large_string() if pa.types.is_string_view(kind) else kind


def prediction_interval(checkpoint: CheckpointFile, model: LinearRegression, probability: float) -> PredictionInterval:
    """Returns the intervals around a checkpoint's predictions.

    Raises:
        InputError: the checkpoint has no triangle of the rows, or the triangle is not enough for an interval.
    """
    path, contents = checkpoint.path, checkpoint.contents
    if not 0 < probability < 1:
        raise InputError(f"interval is {probability}: give --interval a number between 0 and 1, such as 0.95")
    if model.l1:
        raise InputError(f"{path}: there is no interval, as --model.l1 leaves no standard errors; leave --interval out")
    if contents.data_state(SyntheticDataModule) is not None:
        raise InputError(
            f"{path}: the synthetic data has new noise at every epoch, so an interval can't be computed from a number"
            " of rows; leave --interval out"
        )
    rows = contents.exact
    if rows is None or rows.R is None or rows.num_rows is None or rows.total_weight is None:
        raise InputError(
            f"{path}: --interval needs the exact solution of the run, which --exact false left out; leave --interval"
            " out"
        )
    center = (
        torch.zeros(rows.R.shape[1] - 1, dtype=torch.float64)
        if rows.center is None
        else torch.tensor(rows.center, dtype=torch.float64)
    )
    triangle = Triangle(rows.R, rows.num_rows, len(model.W), rows.total_weight, center)
    try:
        return PredictionInterval(triangle, model.fit_intercept, probability)
    except ValueError as error:
        raise InputError(f"{path}: there is no interval, {error}; leave --interval out") from error
