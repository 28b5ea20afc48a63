"""Builds Lightning's trainer, and refuses settings that are not possible here, each with a remedy."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer

from linreg_pl.cli.job import as_list
from linreg_pl.errors import InputError
from linreg_pl.runs.checkpoint_file import CheckpointFile
from linreg_pl.runs.checkpoint_io import DurableCheckpointIO
from linreg_pl.training.possible_settings import impossible_settings
from linreg_pl.tutorial import NUM_EPOCHS

TRAINER_DEFAULTS = {
    "max_epochs": NUM_EPOCHS,
    "devices": 1,  # more would be other processes, which sum in another order
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "default_root_dir": ".",
}
"""Where they differ from Lightning's."""


def build_trainer(
    settings: Namespace,
    parser: ArgumentParser,
    *,
    checkpoint: CheckpointFile | None,
    callbacks: Sequence[Callback],
    **overrides: Any,
) -> Trainer:
    """Builds the trainer of `settings`, with more callbacks and with `overrides`; it is to load `checkpoint`.

    Raises:
        InputError: Lightning refuses the settings.
    """
    plugins = as_list(settings.plugins)
    # Else Lightning takes the variables of SLURM for those of several processes, also in one of sbatch without srun.
    environment = [] if any(isinstance(each, ClusterEnvironment) for each in plugins) else [LightningEnvironment()]
    arguments = {
        **vars(settings),
        **overrides,
        "callbacks": [*as_list(settings.callbacks), *callbacks],
        "plugins": [*plugins, *environment, DurableCheckpointIO(checkpoint)],
    }
    try:
        return Trainer(**arguments)
    except (ValueError, TypeError, ImportError, MisconfigurationException) as error:
        raise InputError(refusal(error, settings, parser.get_defaults().trainer)) from error


def require_possible(trainer: Namespace, shares_rows: bool = False) -> None:
    """Refuses settings of the trainer on which a run would fail, or which a resumed run could not repeat.

    Args:
        trainer: The settings.
        shares_rows: Whether several processes may share the rows.

    Raises:
        InputError: there is one.
    """
    for name, remedy in (*impossible_settings(vars(trainer)), *impossible_for_command(trainer)):
        if shares_rows and name in ("devices", "num_nodes"):
            continue
        raise InputError(f"--trainer.{name} {trainer[name]} is not possible here: {remedy}")


def impossible_for_command(trainer: Namespace) -> Iterator[tuple[str, str]]:
    """Yields the name of each setting that only the command refuses, and what to do about it."""
    later = "leave it out; a rule with more patience stops later"
    is_impossible = {
        "min_epochs": (bool(trainer.min_epochs), later),
        "min_steps": (bool(trainer.min_steps), later),
        "num_sanity_val_steps": (
            bool(trainer.num_sanity_val_steps),
            "leave it out; --trainer.fast_dev_run true tries a step",
        ),
        "enable_checkpointing": (trainer.enable_checkpointing is False, "--trainer.logger false leaves no files"),
        "log_every_n_steps": (
            trainer.log_every_n_steps is not None and trainer.log_every_n_steps < 1,
            "give 1 or more",
        ),
    }
    return ((name, remedy) for name, (is_so, remedy) in is_impossible.items() if is_so)


def require_monitored(callbacks: Sequence[Namespace], holds_out_rows: bool, measures_gap: bool) -> None:
    """Refuses a callback that monitors a value that this run never has, or not at a validation.

    A resumed run repeats validations, and nothing else that a callback could monitor.

    Raises:
        InputError: there is one.
    """
    known = ["val/loss", "val/mse", "val/r2", "train/loss", "train/mse", "train/grad_norm"]
    known += ["gap/objective", "gap/grad_norm"] if measures_gap else []
    for callback in callbacks:
        name, settings = callback.class_path.rpartition(".")[2], callback.get("init_args", {})
        monitor = settings.get("monitor")
        if monitor is not None and monitor not in known:
            names = f"{', '.join(known[:-1])} or {known[-1]}"
            raise InputError(f"--trainer.callbacks.monitor {monitor}: {name} can monitor {names}")
        if monitor is not None and not holds_out_rows:
            if monitor.startswith("gap/"):
                flag = monitor.replace("gap/objective", "gap/gap").replace("gap/", "--stop.")
                raise InputError(
                    f"--trainer.callbacks.monitor {monitor}: {name} checks after each validation, and no rows are held"
                    f" out; {flag} stops a run without them"
                )
            raise InputError(
                f"--trainer.callbacks.monitor {monitor}: {name} checks after each validation, and no rows are held out"
                " to monitor val/loss or others; with TableDataModule, hold some out with --data.val_fraction, or give"
                " others with --data.val_path"
            )
        if settings.get("check_on_train_epoch_end"):
            raise InputError(
                f"--trainer.callbacks.check_on_train_epoch_end true is not possible here: leave it out; {name} checks"
                " after each validation"
            )


def refusal(error: Exception, trainer: Namespace, default: Namespace) -> str:
    """Returns Lightning's complaint with the trainer's settings that may have caused it: those it mentions, or all."""
    words = re.findall(r"[\w.-]+", str(error))
    changed = {name: value for name, value in vars(trainer).items() if value != default.get(name)}
    mentioned = {name: value for name, value in changed.items() if name in words or str(value) in words}
    flags = ", ".join(f"--trainer.{name} {value}" for name, value in (mentioned or changed).items())
    return f"Lightning refuses {flags} ({error}); change it, or leave it out"
