"""Jobs that tests interrupt, and the comparison of an interrupted run with an uninterrupted one."""

from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from linreg_pl.runs.folder import checkpoints, run_state

RUN = Path("lightning_logs") / "version_0"
DIABETES = Path(__file__).parent.parent / "examples" / "diabetes.csv"

PLAIN = (
    *("--model.standardize", "false", "--model.momentum", "0", "--model.schedule", "constant"),
    *("--model.start_at_mean", "false", "--model.precondition", "false", "--model.l2", "1e-10"),
)
"""The tutorial's plain gradient descent for a table, in the units of its columns."""

Curves = dict[str, list[tuple[int, float]]]  # tag: (step, value), …

COMMON = ("--model.momentum", "0.9", "--trainer.log_every_n_steps", "7", "--trainer.max_epochs", "160")
JOBS = {
    "synthetic": (
        *("--data.num_rows", "30", "--data.batch_size", "10", "--model.learning_rate", "1e-4"),
        *("--checkpoint_every_n_epochs", "6", *COMMON),
    ),
    "table": (
        *("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression"),
        *("--data.batch_size", "100", "--data.val_fraction", "0.1", *PLAIN, "--model.learning_rate", "0.01"),
        *("--trainer.check_val_every_n_epoch", "9", "--checkpoint_every_n_epochs", "11", *COMMON),
        *("--trainer.max_epochs", "80"),
    ),
}
JOBS["exact"] = (  # stopped near the exact answer, after 360 steps, at a rate and in units that follow from the data
    *(*JOBS["table"], "--model.learning_rate", "auto", "--model.momentum", "0.5", "--model.standardize", "true"),
    *("--trainer.precision", "64-true", "--trainer.log_every_n_steps", "5", "--stop.gap", "11"),
    *("--trainer.max_epochs", "160"),
)
JOBS["stopped"] = (  # by a rule, at the 16th validation
    *(*JOBS["table"], "--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/loss"),
    *("--trainer.callbacks.patience", "5", "--trainer.max_epochs", "240"),
)
JOBS["scheduled"] = (  # with a schedule, an average, and l1, all of which act on the last step
    *("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression"),
    *("--data.batch_size", "100", "--model.schedule", "one_cycle", "--model.tail_averaging", "0.4", "--model.l1", "5"),
    *("--checkpoint_every_n_epochs", "11", "--trainer.log_every_n_steps", "7", "--trainer.max_epochs", "75"),
)
JOBS["default"] = (  # whose rate, length and l2 follow from the data
    *("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression"),
    *("--data.batch_size", "200", "--data.val_fraction", "0.1", "--trainer.precision", "64-true"),
    *("--model.l2", "auto"),
)


def curves(run: Path) -> Curves:
    """Reads every point of every curve, with TensorBoard's own reader."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def newest(folder: Path) -> dict[str, Any]:
    """Loads the run's newest checkpoint, as anybody could."""
    checkpoint: dict[str, Any] = torch.load(checkpoints(folder / RUN)[-1], weights_only=True)
    return checkpoint


def equal(one: Any, other: Any) -> bool:
    """Returns whether two nests of tensors and plain values have the same bits."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def assert_same_run(untouched: Path, folder: Path) -> None:
    """Compares weights, optimizer, schedule, report and curves, to the bit, of two runs that have one folder each."""
    ours, theirs = newest(folder), newest(untouched)
    for key in (
        "state_dict",
        "optimizer_states",
        "exact",
        "lr_schedulers",
        "global_step",
        "hyper_parameters",
        "progress",
    ):
        assert equal(ours[key], theirs[key]), key
    assert (folder / RUN / "report.json").read_bytes() == (untouched / RUN / "report.json").read_bytes()
    assert curves(folder / RUN) == curves(untouched / RUN)
    assert [path.name for path in (folder / "lightning_logs").iterdir()] == ["version_0"]
    assert run_state(folder / RUN) == "finished"


def assert_same_end(untouched: Path, folder: Path) -> None:
    """Compares two runs and the names of their checkpoints; no other files may be there."""
    assert_same_run(untouched, folder)
    names = [path.name for path in (folder / RUN / "checkpoints").iterdir()]
    assert sorted(names) == sorted(path.name for path in (untouched / RUN / "checkpoints").iterdir())
