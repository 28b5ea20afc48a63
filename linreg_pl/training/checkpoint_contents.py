"""The contents of a checkpoint, with types; only this file knows its keys.

A checkpoint is Lightning's dict of plain types and tensors, so `torch.load(path, weights_only=True)` opens it:

    state_dict                    W (D, K), b (K,) and the module's buffers             from Lightning
    global_step                   optimizer steps taken
    hyper_parameters              of the module
    datamodule_hyper_parameters   of the data module
    optimizer_states              one for each optimizer, as torch saves them
    TableDataModule               the data module's state, under the name of its class
    loops, callbacks, …           Lightning's counters, and other entries that only Lightning reads

    linreg_pl_format              version of the format                                 from this program
    linreg_pl_version             version of the program that wrote the checkpoint
    descent                       learning rate and momentum in force
    exact                         how the run compares with the exact solution
    progress                      the run's length, its last loss, and what stopped it
    points                        values of the curves at this step
    l2_choice                     how l2 was chosen, in words, if it was `auto`
    loader                        what was learnt of a loader that is no data module's

Format 1 had neither version. Format 2 has them. Format 3 has float64 means and centered targets.
"""

from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from linreg_pl.data.base import Rows
from linreg_pl.data.columns import Columns
from linreg_pl.errors import InputError
from linreg_pl.training.progress import Part, Progress


class NewerFormatError(InputError):
    """Raised for a checkpoint in a format that a later version of this program wrote."""


@dataclass(frozen=True)
class DescentSettings(Part):
    """The settings of SGD that are in force, by torch's names. Where the user says `auto`, `lr` has the number."""

    lr: float
    momentum: float


@dataclass(frozen=True)
class LoaderState(Part):
    """One epoch of a user's own loader, as the first passes over its rows found it."""

    steps_per_epoch: int
    batch_size: float  # mean number of rows in a batch
    mean_weight: float = 1.0  # of the rows


@dataclass(frozen=True, eq=False)
class ExactState(Part):
    """How the run compares with the exact solution θ*; θ is b over W."""

    start: list[list[float]]  # θ - θ* before the first step, (1+D, K), in the user's units
    arrived: dict[str, int]  # by name, the step at which 99% of a coefficient's initial error was gone
    R: Tensor | None = None  # triangle of the rows, on which prediction intervals rest
    num_rows: int | None = None
    total_weight: float | None = None
    center: list[float] | None = None  # of the rows' columns in R, (D+K,); 0 up to format 2


@dataclass(frozen=True, eq=False)
class DataState:
    """The state of the data module, as its own `state_dict` returned it."""

    class_name: str
    values: dict[str, Any]

    @property
    def fingerprint(self) -> str | None:
        """Returns the checksum of the rows; None if the data module saved none."""
        return self.values.get("fingerprint")


@dataclass(frozen=True, eq=False)
class CheckpointContents:
    """The contents of a checkpoint. Its dicts are those of Lightning's dict: a change to one changes both."""

    state_dict: dict[str, Tensor]
    global_step: int
    hyper_parameters: dict[str, Any]
    lightning_version: str
    datamodule_hyper_parameters: dict[str, Any] = field(default_factory=dict)
    optimizer_states: list[dict[str, Any]] = field(default_factory=list)
    data: DataState | None = None
    format_version: int = 1
    program_version: str | None = None  # unknown for format 1
    descent: DescentSettings | None = None
    exact: ExactState | None = None
    loader: LoaderState | None = None
    l2_choice: str | None = None
    progress: Progress = field(default_factory=Progress)
    points: dict[str, float] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)
    """The entries that only Lightning reads."""

    newest_format: ClassVar[int] = 3

    @classmethod
    def from_dict(cls, checkpoint: Any) -> Self:
        """Gives the entries of Lightning's dict their types.

        Raises:
            NewerFormatError: a later version of this program wrote it.
            InputError: it is no checkpoint of a linear regression.
        """
        required = {"state_dict", "global_step", "hyper_parameters", "pytorch-lightning_version"}
        foreign = "this is no checkpoint of a linear regression; another program saved it"
        if (
            not isinstance(checkpoint, dict)
            or not required <= checkpoint.keys()
            or not is_linear_regression(checkpoint["state_dict"])
        ):
            raise InputError(foreign)
        try:
            return cls._from_entries(dict(checkpoint))
        except (TypeError, AttributeError) as error:  # another program may use our keys for entries of other types
            raise InputError(foreign) from error

    @classmethod
    def _from_entries(cls, entries: dict[str, Any]) -> Self:
        format_version, program_version = entries.pop("linreg_pl_format", 1), entries.pop("linreg_pl_version", None)
        if format_version > cls.newest_format:
            raise NewerFormatError(
                f"linreg_pl {program_version} wrote this checkpoint in format {format_version}, and this version,"
                f" {own_version()}, reads formats up to {cls.newest_format}: install linreg_pl {program_version} or"
                " later"
            )
        if format_version < 3:  # their gradients were not preconditioned
            entries["hyper_parameters"] = {"precondition": False, **entries["hyper_parameters"]}
            weights = entries["state_dict"]
            if "x_mean" in weights:  # their targets were not centered
                weights.setdefault("y_mean", torch.zeros_like(weights["b"], dtype=torch.float64))
        contents = cls(
            state_dict=entries.pop("state_dict"),
            global_step=entries.pop("global_step"),
            hyper_parameters=entries.pop("hyper_parameters"),
            lightning_version=entries.pop("pytorch-lightning_version"),
            datamodule_hyper_parameters=entries.pop("datamodule_hyper_parameters", {}),
            optimizer_states=entries.pop("optimizer_states", []),
            format_version=format_version,
            program_version=program_version,
            descent=DescentSettings.from_dict(entries.pop("descent")) if "descent" in entries else None,
            exact=ExactState.from_dict(entries.pop("exact")) if "exact" in entries else None,
            loader=LoaderState.from_dict(entries.pop("loader")) if "loader" in entries else None,
            l2_choice=entries.pop("l2_choice", None),
            progress=Progress.from_dict(entries.pop("progress", {})),
            points=entries.pop("points", {}),
        )
        # Looked for last: a data module's hyper-parameters may have the names of columns too.
        data = next((DataState(name, values) for name, values in entries.items() if is_data_state(values)), None)
        if data is not None:
            del entries[data.class_name]
        return replace(contents, data=data, others=entries)

    @property
    def seconds_trained(self) -> float:
        """Returns how long the run has trained, as Lightning's timer of `max_time` counts; 0 without one."""
        timer = self.others.get("callbacks", {}).get("Timer", {})
        return float(timer.get("time_elapsed", {}).get("train", 0))

    def to_dict(self) -> dict[str, Any]:
        """Returns Lightning's dict, for Lightning to load. Entries that are empty are left out."""
        entries = {
            "datamodule_hyper_parameters": self.datamodule_hyper_parameters,
            "optimizer_states": self.optimizer_states,
            "linreg_pl_version": self.program_version,
            "descent": self.descent and self.descent.to_dict(),
            "exact": self.exact and self.exact.to_dict(),
            "loader": self.loader and self.loader.to_dict(),
            "l2_choice": self.l2_choice,
            "progress": self.progress.to_dict(),
            "points": self.points,
        }
        return {
            **self.others,
            "state_dict": self.state_dict,
            "global_step": self.global_step,
            "hyper_parameters": self.hyper_parameters,
            "pytorch-lightning_version": self.lightning_version,
            "linreg_pl_format": self.format_version,
            **({} if self.data is None else {self.data.class_name: self.data.values}),
            **{key: value for key, value in entries.items() if value},
        }

    def data_state(self, data_class: type[Rows]) -> dict[str, Any] | None:
        """Returns what a data module of this class saved; None if the run was fitted on data of another class."""
        is_same = self.data is not None and self.data.class_name == data_class.module_name()
        return self.data.values if self.data is not None and is_same else None

    @property
    def columns(self) -> Columns | None:
        """Returns the columns of the fit; None if its data had no names for them."""
        if self.data is None:
            return None
        values = self.data.values
        settings = {name: value for name, value in self.datamodule_hyper_parameters.items() if name[:1] != "_"}
        if "design" not in values:
            return Columns(list(values["feature_names"]), list(values["target_names"]))
        return Columns.of_table(values["feature_names"], values["target_names"], settings, values["design"])

    def change_descent(self, settings: DescentSettings) -> None:
        """Puts the settings that differ from the saved ones into the optimizers' states."""
        saved = {} if self.descent is None else self.descent.to_dict()
        changed = {key: value for key, value in settings.to_dict().items() if key in saved and saved[key] != value}
        for state in self.optimizer_states:
            for group in state["param_groups"]:
                group.update(changed)


def add_to_checkpoint(
    checkpoint: dict[str, Any],
    *,
    descent: DescentSettings | None = None,
    exact: ExactState | None = None,
    loader: LoaderState | None = None,
    l2_choice: str | None = None,
    progress: Progress | None = None,
    points: dict[str, float] | None = None,
) -> None:
    """Adds parts to the dict that Lightning is about to save, and the versions of format and program."""
    checkpoint["linreg_pl_format"] = CheckpointContents.newest_format
    checkpoint["linreg_pl_version"] = own_version()
    parts: dict[str, Part | None] = {"descent": descent, "exact": exact, "loader": loader, "progress": progress}
    checkpoint |= {key: part.to_dict() for key, part in parts.items() if part is not None}
    if l2_choice is not None:
        checkpoint["l2_choice"] = l2_choice
    if points is not None:
        checkpoint["points"] = points


@cache
def own_version() -> str:
    """Returns the version of this program."""
    return version("linreg_pl")


def is_linear_regression(state_dict: Any) -> bool:
    """Returns whether a `state_dict` holds W (D, K) and b (K,)."""
    W, b = (state_dict.get(name) if isinstance(state_dict, dict) else None for name in ("W", "b"))
    return isinstance(W, Tensor) and isinstance(b, Tensor) and W.ndim == 2 and b.shape == W.shape[1:]


def is_data_state(values: Any) -> bool:
    """Returns whether an entry is the state of a data module, which has the names of the columns."""
    return isinstance(values, dict) and {"feature_names", "target_names"} <= values.keys()
