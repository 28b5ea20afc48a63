"""Writes TensorBoard's event files of a run that may be resumed in the same folder."""

import time
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.summary_pb2 import Summary

EVENTS = "events.out.tfevents"


class RunLogger(TensorBoardLogger):
    """TensorBoard's logger, which writes all scalars of a step as one event."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Writes the scalars of one step."""
        if any(isinstance(value, dict) for value in metrics.values()):
            super().log_metrics(metrics, step)
            return
        values = [Summary.Value(tag=name, simple_value=float(value)) for name, value in metrics.items()]
        self.experiment.file_writer.add_summary(Summary(value=values), step)


def run_logger(run: Path, first_step: int, longest_wait: int = 5) -> TensorBoardLogger:
    """Returns TensorBoard's logger for the folder `run`, which purges the points from `first_step` on.

    A killed run may have written such points; this run writes them again. TensorBoard's readers agree only if every
    start writes a purge, the first start included. They read a folder's files in the order of their names. A name
    begins with the second of the start and goes on with the process's number. If an earlier start has the same second,
    this one waits for the next.

    Args:
        run: Folder of the run.
        first_step: The step at which the run starts or resumes.
        longest_wait: Seconds to wait for at most, in case that the clock was set back.
    """
    for _ in range(40 * longest_wait):
        if int(time.time()) > max((int(path.name.split(".")[3]) for path in run.glob(f"{EVENTS}.*")), default=0):
            break
        time.sleep(1 / 40)
    return RunLogger(
        run.parent.parent, name=run.parent.name, version=run.name, default_hp_metric=False, purge_step=first_step
    )
