"""Which flags has a command beside those of model, data and trainer, and what are they by default?"""

import os

from lightning.pytorch.cli import LightningArgumentParser

from linreg_pl.callbacks.checkpoints import EpochCheckpoints
from linreg_pl.callbacks.epoch_lines import EpochLines
from linreg_pl.callbacks.exact_answer import StopRule
from linreg_pl.training.executions import Executions

TUTORIAL_EPOCHS = 2000

ON_TABLES = {
    "model.standardize": True,
    "model.learning_rate": "auto",
    "model.momentum": 0.9,
    "model.schedule": "cosine",
    "model.start_at_mean": True,
}
"""Defaults where the data is not the tutorial's: with them a fit arrives, whatever the columns' units."""

ON_TABLES_FIT = {"trainer.max_epochs": None, "display_every_n_epochs": None, "checkpoint_every_n_epochs": None}
"""As many epochs as it takes, and a twentieth of them."""


def mentions_data(args: list[str]) -> bool:
    """Whether a call may have a table; without one, the readers of tables need not be imported."""
    flags = ("--data", "--config", "-c", "--resume", "--ckpt_path", "--print_config", "--help", "-h")
    return any(arg.startswith(flags) for arg in args) or any(name.startswith("LINREG_") for name in os.environ)


def add_flags_of_fit(parser: LightningArgumentParser) -> None:
    """Those of a run, beside model, data and trainer."""
    parser.add_argument(
        "--resume", type=str | None, help="Go on with a run: auto (the newest), its folder, or a checkpoint in it."
    )
    parser.add_argument(
        "--allow_changed_settings",
        type=bool,
        default=False,
        help="Resume with settings that change the mathematics; the new ones take effect.",
    )
    parser.add_class_arguments(EpochLines)
    parser.add_class_arguments(EpochCheckpoints)
    parser.add_class_arguments(Executions)
    parser.add_argument("--exact", type=bool, default=True, help="Solve the problem first, and show how far it is.")
    parser.add_class_arguments(StopRule, "stop")


def add_flags_of_predict(parser: LightningArgumentParser) -> None:
    """What is written, and where."""
    parser.add_argument("--output", type=str, default="predictions.csv", help="File to write: .csv or .parquet.")
    parser.add_argument(
        "--keep_columns",
        type=list[str] | str,
        default=[],
        help="Columns to copy from the table, before the predictions: names, or all.",
    )
    parser.add_argument(
        "--interval",
        type=float | None,
        default=None,
        help="Probability of an interval beside each prediction, such as 0.95.",
    )
