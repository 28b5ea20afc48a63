"""One line from arrays, frames or files to a fitted model."""

import inspect
import logging
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar

from linreg_pl.arguments import separated, suggestion, table_of
from linreg_pl.data.table.module import TableDataModule
from linreg_pl.errors import InputError, named_arguments
from linreg_pl.training.executions import Executions
from linreg_pl.training.module import LinearRegression
from linreg_pl.training.quiet import quiet


def fit(
    X: Any,
    y: Any = None,
    *,
    weights: Any = None,
    target: str | list[str] | None = None,
    max_epochs: int | None = None,
    trainer: Mapping[str, Any] | None = None,
    **settings: Any,
) -> LinearRegression:
    """Trains a linear regression as `linreg fit` does, and returns it; writes no folder, and prints nothing.

    Batches, learning rate and length follow from the data, so that coefficients end close to the exact ones.

    Args:
        X: Features: an array (N, D), a frame, or the path of a file.
        y: Targets (N,) or (N, K); or their column's name, as `target`.
        weights: Weights (N,), 0 or more: how much each row counts; or their column's name.
        target: Name of the column of a frame or file to predict, or a list of names.
        max_epochs: Epochs to train; by default as many as are needed.
        trainer: Arguments of `lightning.Trainer`, such as `{"logger": True}`, which writes the curves.
        settings: Arguments of `LinearRegression`, such as `l2`, and of `TableDataModule`, such as `missing`.

    Raises:
        InputError: the data or a setting can't be used.

    Example:
        >>> import linreg_pl
        >>> model = linreg_pl.fit([-1, -1, 1, 1], [0, 2, 2, 4])
        >>> round(model.coefficients()["x0"], 3)
        1.0
    """
    with named_arguments():
        model_settings, data_settings = separated(fit, locals())
        chosen = trainer_arguments(trainer)
        data, _ = table_of(TableDataModule, X, y, weights, target, data_settings)
        data.setup("fit")
        model = LinearRegression(data.num_features, data.num_targets, **model_settings)
        if chosen.get("precision") in (64, "64", "64-true"):
            model.double()
        if max_epochs is None and not {"max_steps", "max_epochs"} & chosen.keys():
            max_epochs = model.planned(data).epochs
        defaults = {
            "logger": False,
            "devices": 1,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "plugins": [LightningEnvironment()],  # else it takes the variables of a job of SLURM for several processes
            **({} if data.holds_out_rows else {"limit_val_batches": 0}),
            **({} if max_epochs is None else {"max_epochs": int(max_epochs)}),
        }
        data.group_steps(Executions())
        with quiet():
            Trainer(**{**defaults, **chosen, "callbacks": callbacks_of(chosen)}).fit(model, datamodule=data)
        data.group_steps(None)
        if model.is_far_from(model.problem_of_run()):
            logging.getLogger("linreg_pl").warning(
                "not converged after %d epochs: train for more%s", model.current_epoch, remedy_for_slowness(model)
            )
        return model


def trainer_arguments(trainer: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the arguments of a `lightning.Trainer` as a dict of its own.

    Raises:
        InputError: it is something else, such as a trainer, or there is no argument of such a name.
    """
    if trainer is None:
        return {}
    if not isinstance(trainer, Mapping):
        raise InputError(
            f"trainer is of type {type(trainer).__name__}: give the arguments of lightning.Trainer as a dict, such as"
            " {'logger': True}"
        )
    known = inspect.signature(Trainer).parameters
    for name in trainer:
        if name not in known:
            raise InputError(f"{name} is no argument of lightning.Trainer{suggestion(str(name), list(known))}")
    return dict(trainer)


def callbacks_of(trainer: Mapping[str, Any]) -> list[Callback]:
    """Returns the trainer's callbacks; tqdm's bar in notebooks without ipywidgets, where rich's prints notices."""
    given = trainer.get("callbacks") or []
    callbacks: list[Callback] = [given] if isinstance(given, Callback) else list(given)
    is_plain_notebook = "ipykernel" in sys.modules and find_spec("ipywidgets") is None
    has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if trainer.get("enable_progress_bar") and is_plain_notebook and not has_bar:
        callbacks.append(TQDMProgressBar())
    return callbacks


def remedy_for_slowness(model: LinearRegression) -> str:
    """Returns what else makes a run converge, besides more epochs."""
    if model.settings.learning_rate != "auto":
        return ", or with learning_rate='auto'"
    names = [name for name in ("standardize", "precondition") if not getattr(model.settings, name)]
    return f", or with {' and '.join(f'{name}=True' for name in names)}" if names else ""
