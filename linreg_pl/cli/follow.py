"""Takes the steps of a run in the processes beside the first one, which has the run's folder, curves and rules."""

import os
import signal
from contextlib import redirect_stdout
from pathlib import Path
from types import FrameType

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer

from linreg_pl.callbacks.curves import Curves
from linreg_pl.callbacks.epoch_lines import EpochLines
from linreg_pl.callbacks.exact_answer import ExactAnswer, StopRule
from linreg_pl.cli.job import Job
from linreg_pl.cli.trainer_settings import build_trainer
from linreg_pl.exact.epochs_in_words import counted
from linreg_pl.signals import SIGNALS, leave_at_signals
from linreg_pl.training.executions import Executions
from linreg_pl.training.shared_steps import SharedSteps

MOST_FOR_ONE = 4_000_000
"""Rows times features times targets of a batch below which one process is likely to be faster: several wait for each
other at each step. An estimate, for a sum that takes a millisecond."""


def of_one_process(trainer: Namespace) -> Namespace:
    """Returns the trainer's settings for one of several processes: Lightning itself need not know of the others."""
    copy = trainer.clone()
    copy.accelerator, copy.strategy, copy.devices, copy.num_nodes = "cpu", "auto", 1, 1
    return copy


def follow(job: Job, settings: Namespace, steps: int) -> None:
    """Takes the same steps as the first process, until that says that the run is over. Prints and writes nothing.

    A signal is passed on to the first process with the next step; that saves the run.

    Args:
        job: The run.
        settings: Of the trainer.
        steps: Length of the run; -1 for one without an end.
    """
    shared = job.model.shared_steps
    assert shared is not None
    copy = settings.clone()
    copy.callbacks, copy.max_time, copy.profiler = None, None, None
    exact = ExactAnswer(StopRule()) if job.settings.exact else None
    passed = PassedSignals(shared)
    trainer = build_trainer(
        copy,
        job.parser,
        checkpoint=job.start.checkpoint,
        # The lines, which nobody sees, end executions, also in a run without an end.
        callbacks=[
            *([exact] if exact else []),
            EpochLines(job.settings.display_every_n_epochs),
            Curves(exact),
            passed,
        ],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        max_epochs=-1,
        max_steps=steps,
        limit_val_batches=0,
    )
    job.data.group_steps(Executions())
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), shared.followed():
        trainer.fit(job.model, datamodule=job.data, ckpt_path=job.start.path, weights_only=True)
        passed.take_over()  # Lightning has given them back, and the first process may still be busy with the end
    leave_at_signals()


class PassedSignals(Callback):
    """Passes signals on to the first process, with the next step."""

    def __init__(self, steps: SharedSteps) -> None:
        self._steps = steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes over the signals from Lightning."""
        self.take_over()

    def take_over(self) -> None:
        """Lets signals end the run after the step under way, not this process."""
        for number in SIGNALS:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._steps.signal = number


def print_processes(job: Job) -> None:
    """Prints in how many processes the run goes on, and whether steps are too short for that."""
    checkpoint, size = job.start.checkpoint, job.world.size
    before = size if checkpoint is None else checkpoint.contents.progress.num_processes or 1
    if before != size:
        print(f"note      processes: {before} before, now {size}, so that the last digits will differ")
    elif size > 1:
        print(f"note      {size} processes share each batch")
    products = job.data.batch_size * job.data.num_features * job.data.num_targets
    if size > 1 and products < MOST_FOR_ONE:
        rows = f"batches of {counted(job.data.batch_size, 'row')} are faster in one process"
        print(f"WARNING   {rows}: leave --trainer.devices out, or give a larger --data.batch_size")
