"""Predictions, written to a file as they are made."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from lightning.pytorch import Callback, LightningModule, Trainer

from linreg_pl.errors import InputError
from linreg_pl.training.coefficients import column_names

WRITERS = {".csv": pyarrow.csv.CSVWriter, ".parquet": pyarrow.parquet.ParquetWriter}


class PredictionFile(Callback):
    """One row for each row of the data, in its order; one column for each target.

    The file appears under its name when it is whole.

    Raises:
        InputError: the name ends in neither .csv nor .parquet.
    """

    def __init__(self, output: str) -> None:
        self.path = Path(output)
        self.num_rows = 0
        if self.path.suffix.lower() not in WRITERS:
            raise InputError(f"{output}: the name must end in .csv or .parquet; see --output")
        self._unfinished = self.path.with_name(self.path.name + ".tmp")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the file."""
        _, targets = column_names(trainer)
        self._schema = pa.schema([(target, pa.float32()) for target in targets])
        self._writer = WRITERS[self.path.suffix.lower()](self._unfinished, self._schema)

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
        columns = [pa.array(column.contiguous().cpu().numpy()) for column in outputs.T]
        self._writer.write_table(pa.table(columns, schema=self._schema))
        self.num_rows += len(outputs)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves no part of a file."""
        self._unfinished.unlink(missing_ok=True)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the file its name."""
        self._writer.close()
        os.replace(self._unfinished, self.path)
