"""Times the training of `linreg fit`, without its start and its end.

In: from before the first callback of training (the bar, the curves) to after the last (last point, report, last
checkpoint) and the strategy's teardown. Out: imports, flags, the run's `config.yaml`, the closing of the event file.

    linreg fit --trainer.callbacks+=benchmarks.loop_timer.LoopTimer
"""

import time

from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks import job
from linreg_pl.training.coefficient_names import trained_module


class LoopTimer(Callback):
    """Prints the weight and the seconds of the loop.

    Callbacks from the command line come before linreg's own, so this one sees the start first; `on_fit_end` comes after
    every callback's `on_train_end`, where `EpochCheckpoints`, which Lightning puts last, saves the end.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.monotonic()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        job.print_result(trained_module(trainer).W.flatten()[0].item(), time.monotonic() - self._start)
