"""The command `linreg`: Lightning's CLI over our module and data.

    linreg fit        train; with no flag, the tutorial's job
    linreg validate   loss over the held-out rows, from a checkpoint
    linreg test       loss over all rows, from a checkpoint
    linreg predict    predictions to a file, from a checkpoint

Exit codes: 0 done, 2 bad input or flags, 130 and 143 interrupted by Ctrl-C and SIGTERM.
"""

import argparse
import json
import logging
import os
import shutil
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from linreg_pl import usage
from linreg_pl.data.batches import BatchDataModule
from linreg_pl.data.synthetic import SyntheticDataModule
from linreg_pl.data.table import TableDataModule  # noqa: F401 (makes `--data TableDataModule` known)
from linreg_pl.errors import InputError
from linreg_pl.training.bar import RunBar
from linreg_pl.training.checkpoints import EpochCheckpoints, read_checkpoint, require_same_shape
from linreg_pl.training.curves import Curves
from linreg_pl.training.lines import EpochLines
from linreg_pl.training.module import LinearRegression
from linreg_pl.training.predictions import PredictionFile
from linreg_pl.training.report import Report
from linreg_pl.training.run import CONFIG, checkpoint_to_resume, run_folder, run_logger, run_of, step_of

TUTORIAL_EPOCHS = 2000

UNACTIONABLE_WARNINGS = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # a matter between Lightning and torch
    r"Total length of `list` across ranks is zero",  # there are no validation rows, as intended
    r"The number of training batches .* is smaller than the logging interval",  # ours counts steps, not batches
)


class LinregCLI(LightningCLI):
    """LightningCLI with our defaults; constructing it runs the subcommand."""

    def __init__(self, args: list[str]) -> None:
        self.checkpoint: Path | None = None
        super().__init__(
            LinearRegression,
            BatchDataModule,
            subclass_mode_data=True,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={
                "max_epochs": TUTORIAL_EPOCHS,
                "enable_model_summary": False,
                "num_sanity_val_steps": 0,
                "default_root_dir": ".",
            },
            parser_class=usage.Parser,
            parser_kwargs={"prog": "linreg", "default_env": True, "env_prefix": "LINREG", "allow_abbrev": False},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # it would put an importable name into the checkpoint; ours are plain
            seed_everything_default=False,  # it seeds global generators, and nothing here draws from them
            args=args,
        )

    # ---- flags ----

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's, without the flags whose answer is always the same here."""
        always = {"weights_only", "return_predictions", "verbose"}
        skipped = {name: skip | always for name, skip in LightningCLI.subcommands().items()}
        skipped["fit"].add("ckpt_path")  # --resume, which takes the run's settings along
        return skipped

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The tutorial's data by default; the data tells the model its size."""
        parser.set_defaults({"data": {"class_path": SyntheticDataModule.__name__}})
        parser.link_arguments("data.num_features", "model.num_features", apply_on="instantiate")
        parser.link_arguments("data.num_targets", "model.num_targets", apply_on="instantiate")

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        """Adds the flags of single subcommands."""
        super().setup_parser(*args, **kwargs)
        fit, predict = self._subcommand_parsers["fit"], self._subcommand_parsers["predict"]
        fit.add_argument(
            "--resume", type=str | None, help="Go on with a run: auto (the newest), its folder, or a checkpoint in it."
        )
        fit.add_class_arguments(EpochLines)
        fit.add_class_arguments(EpochCheckpoints)
        predict.add_argument("--output", type=str, default="predictions.csv", help="File to write: .csv or .parquet.")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses, and checks all that can be checked before something is built."""
        assert isinstance(args, list)
        self.checkpoint, args = with_run_settings(args)
        # The defaults of one data module must not become settings of another that has parameters of the same name:
        # see which one is meant, make it the default, and parse again.
        config = parser.parse_args([arg for arg in args if not arg.startswith("--print_config")])
        chosen = config[config.subcommand].data.class_path
        self._subcommand_parsers[config.subcommand].set_defaults({"data": {"class_path": chosen}})
        self.config = parser.parse_args(args)
        settings = self.config[self.config.subcommand]
        if settings.get("resume") and self.checkpoint is None:
            raise InputError("resume is set by a config file or the environment: give --resume on the command line")
        settings.pop("resume", None)  # the saved config.yaml is of a run, however often it was interrupted
        if self.config.subcommand != "fit" and self.checkpoint is None:
            raise InputError(
                f"linreg {self.config.subcommand}: give --ckpt_path a checkpoint, RUN/checkpoints/step=….ckpt"
            )

    # ---- what is built ----

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer; the data is read first, so that nothing is written for a run that can't begin."""
        self.datamodule.setup(self.subcommand)
        settings = self.config_init[self.subcommand]
        if self.checkpoint is not None:
            require_same_shape(self.checkpoint, read_checkpoint(self.checkpoint), self.model)
        kwargs = self._fit_trainer(settings) if self.subcommand == "fit" else self._evaluation_trainer(settings)
        kwargs["callbacks"] = [*(settings.trainer.callbacks or []), *kwargs["callbacks"]]
        if kwargs["logger"] is False:
            self.save_config_callback = None  # there is no run's folder to save it in
        return super().instantiate_trainer(**kwargs)

    def _fit_trainer(self, settings: Any) -> dict[str, Any]:
        shows_bar = settings.trainer.enable_progress_bar is not False and sys.stdout.isatty()
        logger = settings.trainer.logger
        if logger is not False:
            more = [logger] if isinstance(logger, Logger) else logger if isinstance(logger, list) else []
            logger = [run_logger(Path(settings.trainer.default_root_dir), self.checkpoint), *more]
        self.report = Report()
        callbacks = [
            EpochLines(settings.display_every_n_epochs),
            Curves(),
            self.report,
            EpochCheckpoints(settings.checkpoint_every_n_epochs),
        ]
        # Steps, not epochs: Lightning's count of epochs is off by one after some resumes, and trains one too many.
        return {
            "max_epochs": -1,
            "max_steps": self._total_steps(settings.trainer),
            "logger": logger,
            "enable_progress_bar": shows_bar,
            "callbacks": [*callbacks, *([RunBar()] if shows_bar else [])],
        }

    def _evaluation_trainer(self, settings: Any) -> dict[str, Any]:
        callbacks = []
        if self.subcommand == "predict":
            self.predictions = PredictionFile(settings.output)
            callbacks = [self.predictions]
        return {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "callbacks": callbacks}

    def _total_steps(self, settings: Any) -> int:
        """The run's length in optimizer steps.

        Raises:
            InputError: it has none, or the checkpoint to resume stands at its end.
        """
        if settings.max_epochs is None or settings.max_epochs < 1:
            raise InputError(
                f"max_epochs is {settings.max_epochs}: give --trainer.max_epochs a whole number, 1 or more"
            )
        steps_per_epoch = self.datamodule.steps_per_epoch
        total: int = settings.max_epochs * steps_per_epoch
        limit = "--trainer.max_epochs"
        if settings.max_steps != -1:
            if settings.max_steps < 1:
                raise InputError(
                    f"max_steps is {settings.max_steps}: give --trainer.max_steps 1 or more, or -1 for none"
                )
            if settings.max_steps < total:
                total, limit = settings.max_steps, "--trainer.max_steps"
        done = step_of(self.checkpoint) if self.checkpoint else 0
        if done is not None and done >= total:
            raise InputError(
                f"{self.checkpoint}: nothing is left to do, the run has taken {done} of {total} steps"
                f" ({done // steps_per_epoch} epochs); to train on, give {limit} a larger number"
            )
        return total

    # ---- what is run ----

    def fit(self, model: LinearRegression, **kwargs: Any) -> None:
        """Trains, from the checkpoint to resume if there is one."""
        data = self.datamodule
        resumed = f", from step {step_of(self.checkpoint)} of {run_of(self.checkpoint)}" if self.checkpoint else ""
        rows, features, targets = (
            f"{count} {name}{'' if count == 1 else 's'}"
            for count, name in (
                (data.num_rows_to_fit, "row"),
                (data.num_features, "feature"),
                (data.num_targets, "target"),
            )
        )
        steps = f"{self.trainer.max_steps} steps, {data.steps_per_epoch} an epoch"
        print(f"fitting {rows}, {features}, {targets}: {steps}{resumed}")
        self.trainer.fit(model, ckpt_path=self.checkpoint, weights_only=True, **kwargs)

    def after_fit(self) -> None:
        """Says what came out, and where to go from here."""
        print(*self.report.lines(), sep="\n")
        run = run_folder(self.trainer)
        if run is not None:
            epochs = 2 * self.config.fit.trainer.max_epochs
            print(f"run      {run}")
            print(f"curves   {command('tensorboard')} --logdir {run.parent} --host 127.0.0.1")
            print(f"go on    {command('linreg')} fit --resume {run} --trainer.max_epochs {epochs}")

    def validate(self, model: LinearRegression, **kwargs: Any) -> None:
        """Prints the loss over the held-out rows."""
        self.trainer.validate(model, verbose=False, weights_only=True, **kwargs)
        self._print_results()

    def test(self, model: LinearRegression, **kwargs: Any) -> None:
        """Prints the loss over all rows."""
        self.trainer.test(model, verbose=False, weights_only=True, **kwargs)
        self._print_results()

    def predict(self, model: LinearRegression, **kwargs: Any) -> None:
        """Writes the predictions."""
        self.trainer.predict(model, return_predictions=False, weights_only=True, **kwargs)
        print(f"{self.predictions.num_rows} predictions in {self.predictions.path}")

    def _print_results(self) -> None:
        for name, value in self.trainer.callback_metrics.items():
            print(f"{name:10} {value.item():.6g}")


def with_run_settings(args: list[str]) -> tuple[Path | None, list[str]]:
    """The checkpoint that the flags name, read and found good, and the flags with its run's settings before them.

    So `--resume RUN` needs no other flag, and those given beside it still win. `validate`, `test` and `predict` take
    the data's settings along; the model's come from the checkpoint.
    """
    scanner = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--resume", "--ckpt_path", "--trainer.default_root_dir"):
        scanner.add_argument(flag, nargs="?")
    flags = vars(scanner.parse_known_args(args)[0])
    if flags["resume"]:
        checkpoint = checkpoint_to_resume(flags["resume"], Path(flags["trainer.default_root_dir"] or "."))
    elif flags["ckpt_path"]:
        checkpoint = Path(flags["ckpt_path"])
    else:
        return None, args
    read_checkpoint(checkpoint)
    run = run_of(checkpoint)
    if args[0] == "fit":
        if run is None:
            raise InputError(f"{checkpoint}: no {CONFIG} lies in its run's folder: --resume needs the whole folder")
        return checkpoint, ["fit", "--config", str(run / CONFIG), *args[1:]]
    if run is None:
        return checkpoint, args
    settings = yaml.safe_load((run / CONFIG).read_text())
    return checkpoint, [args[0], "--data", json.dumps(settings["data"]), *args[1:]]


def command(name: str) -> str:
    """How to type a command of this environment, from here."""
    typed = Path(sys.argv[0])
    there = (typed if typed.name == "linreg" else Path(sys.executable)).with_name(name)
    on_path = shutil.which(name)
    return name if on_path and Path(on_path).absolute() == there.absolute() else os.path.relpath(there)


def what_to_say_of(error: BaseException) -> str | None:
    """One paragraph for an error that its input explains; None for one that is a mistake of ours."""
    chain: BaseException | None = error
    while chain is not None:  # jsonargparse wraps what a constructor raises
        if isinstance(chain, InputError | MisconfigurationException | OSError):
            return " ".join(str(chain).split())
        chain = chain.__cause__
    return None


def main(args: list[str] | None = None) -> int:
    """Runs `linreg`; returns the exit code."""
    args = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in args
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for warning in UNACTIONABLE_WARNINGS:
        warnings.filterwarnings("ignore", warning)
    try:
        LinregCLI([arg for arg in args if arg != "--debug"])
    except Exception as error:
        message = what_to_say_of(error)
        if message is None:
            raise
        if debug:
            traceback.print_exc()
        print(f"linreg: {message}", file=sys.stderr)
        return 2
    except SIGTERMException:
        return 128 + 15
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning's own exit code for Ctrl-C is 1
            return 128 + 2
        raise
    return 0
