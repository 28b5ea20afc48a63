"""The data module of the tutorial's data, for Lightning's Trainer."""

from linreg_pl.data.loaders import Batch, ConsecutiveSlices
from linreg_pl.data.module import BatchDataModule
from linreg_pl.data.synthetic_rows import SyntheticRows


class SyntheticDataModule(SyntheticRows, BatchDataModule):  # noqa: D101 (the one of its rows)
    __doc__ = SyntheticRows.__doc__

    def val_dataloader(self) -> ConsecutiveSlices | list[Batch]:
        """Returns all rows with held-out noise; nothing while fitting."""
        if self.trainer is not None and self.trainer.state.fn == "fit":
            return []
        return self.evaluated(0)

    def test_dataloader(self) -> ConsecutiveSlices:
        """Returns all rows with other held-out noise."""
        return self.evaluated(1)

    def predict_dataloader(self) -> ConsecutiveSlices:
        """Returns x of all rows."""
        return self.to_predict()
