"""The command `linreg`: Lightning's CLI over our module and data.

    linreg fit        train; with no flag, the tutorial's job
    linreg validate   loss over the held-out rows, from a checkpoint
    linreg test       loss over the rows held out to test, or over all, from a checkpoint
    linreg predict    predictions to a file, from a checkpoint
    linreg solve      the exact answer, without training

    linreg runs       what runs there are, in which state
    linreg plot       pictures of a run

Exit codes: 0 done, 2 bad input or flags, 3 diverged, 130 and 143 interrupted by Ctrl-C and SIGTERM.
"""

import argparse
import gc
import io
import json
import logging
import os
import shlex
import signal
import sys
import threading
import traceback
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from linreg_pl.callbacks.checkpoints import EpochCheckpoints
from linreg_pl.callbacks.curves import Curves
from linreg_pl.callbacks.epoch_lines import EpochLines
from linreg_pl.callbacks.exact_answer import ExactAnswer
from linreg_pl.callbacks.interruption import Interrupted, Interruption, leave_at_signals
from linreg_pl.callbacks.prediction_file import PredictionFile, prediction_interval
from linreg_pl.callbacks.progress_bar import RunBar
from linreg_pl.callbacks.report import Report
from linreg_pl.cli import parser as usage
from linreg_pl.cli import runs_and_plot as folders
from linreg_pl.cli.error_messages import what_to_say_of, writing
from linreg_pl.cli.flags import (
    ON_TABLES,
    ON_TABLES_FIT,
    TUTORIAL_EPOCHS,
    add_flags_of_fit,
    add_flags_of_predict,
    mentions_data,
)
from linreg_pl.cli.run_length import total_steps, validation
from linreg_pl.cli.runs_and_plot import as_typed
from linreg_pl.cli.saved_settings import COMMANDS, RunConfig, with_run_settings
from linreg_pl.core.prediction_interval import PredictionInterval
from linreg_pl.data.base import BatchDataModule
from linreg_pl.data.synthetic import SyntheticDataModule
from linreg_pl.errors import Diverged, InputError
from linreg_pl.runs.checkpoint_file import CheckpointFile, DurableCheckpointIO
from linreg_pl.runs.compatibility import (
    require_same_columns,
    require_same_length,
    require_same_settings,
    require_same_shape,
    require_same_units,
)
from linreg_pl.runs.folder import checkpoints, new_run, remove_unbegun, run_folder
from linreg_pl.runs.listing import next_step
from linreg_pl.runs.lock import lock
from linreg_pl.runs.resume import Resumption
from linreg_pl.runs.tensorboard_logger import run_logger
from linreg_pl.solve.solution import Solution, solve
from linreg_pl.solve.text import solution_lines
from linreg_pl.training.checkpoint_contents import Progress
from linreg_pl.training.executions import Executions
from linreg_pl.training.module import LinearRegression
from linreg_pl.training.problem import TARGET_GAP

UNACTIONABLE_WARNINGS = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # a matter between Lightning and torch
    r"The number of training batches .* is smaller than the logging interval",  # ours counts steps, not batches
    r"Be aware that when using `ckpt_path`, callbacks used to create",  # left out on purpose
)


class SolvingTrainer(Trainer):
    """Lightning's trainer; its CLI makes a command of each method that it is told of."""

    def solve(self, model: LinearRegression, datamodule: BatchDataModule) -> Solution:
        """Solves the problem exactly, without training."""
        return solve(datamodule, model)


class LinregCLI(LightningCLI):
    """LightningCLI with our defaults; constructing it runs the subcommand."""

    trainer: SolvingTrainer

    def __init__(self, args: list[str]) -> None:
        self.resumption: Resumption | None = None
        self.checkpoint: CheckpointFile | None = None
        self.run: Path | None = None
        self.plan: dict[str, int] = {}
        self.bar = RunBar()
        try:
            self._construct(args)
        except BaseException:
            remove_unbegun(self.run)
            raise

    def _construct(self, args: list[str]) -> None:
        if mentions_data(args):
            usage.data_classes()
        self._called = args[:1] if args[:1] and args[0] in COMMANDS else list(COMMANDS)
        super().__init__(
            LinearRegression,
            BatchDataModule,
            trainer_class=SolvingTrainer,
            subclass_mode_data=True,
            save_config_callback=RunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            trainer_defaults={
                "max_epochs": TUTORIAL_EPOCHS,
                "devices": 1,  # more would be other processes, which sum in another order
                "enable_model_summary": False,
                "num_sanity_val_steps": 0,
                "default_root_dir": ".",
            },
            parser_class=usage.Parser,
            parser_kwargs={
                "prog": "linreg",
                "version": version("linreg_pl"),
                "description": "Linear regression by gradient descent. linreg runs lists the runs there are, linreg"
                " plot draws one.",
                "default_env": True,
                "env_prefix": "LINREG",
                "allow_abbrev": False,
                **{name: {"description": COMMANDS[name], "usage": f"linreg {name} [flags]"} for name in self._called},
            },
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # it would put an importable name into the checkpoint; ours are plain
            seed_everything_default=False,
            args=args,
        )

    @property
    def done(self) -> int:
        """Steps that are behind the run, at its start or resumption."""
        return self.checkpoint.contents.global_step if self.checkpoint else 0

    # ---- flags ----

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # Lightning's is static; it asks `self`
        """The one that is called, as each takes a tenth of a second; all of them where none is.

        Lightning's, without the flags whose answer is always the same here.
        """
        always = {"weights_only", "return_predictions", "verbose"}
        skipped = {name: skip | always for name, skip in LightningCLI.subcommands().items()}
        skipped["solve"] = {"model", "datamodule"}
        skipped["fit"].add("ckpt_path")  # --resume, which takes the run's settings along
        return {name: skip for name, skip in skipped.items() if name in self._called}

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Hides Lightning's `seed_everything`: it seeds global generators, and nothing here draws from them."""
        parser.add_argument("--seed_everything", type=bool | int, default=False, help=argparse.SUPPRESS)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Lightning's, with the few flags of model and data before the many of the trainer."""
        parser.add_lightning_class_args(LinearRegression, "model")
        parser.add_lightning_class_args(BatchDataModule, "data", subclass_mode=True)
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The tutorial's data by default; the data tells the model its size."""
        parser.set_defaults({"data": {"class_path": SyntheticDataModule.__name__}})
        parser.link_arguments("data", "model.num_features", compute_fn=self._num_features, apply_on="instantiate")
        parser.link_arguments("data.num_targets", "model.num_targets", apply_on="instantiate")

    @property
    def _shows_bar(self) -> bool:
        wanted = self.config[self.config.subcommand].trainer.enable_progress_bar is not False
        return wanted and sys.stdout.isatty()

    def _num_features(self, data: BatchDataModule) -> int:
        """D of data that knows what the checkpoint's has learnt: its categories are columns."""
        if self._shows_bar:
            data.watch = self.bar.watch  # from here on rows are read
        if self.checkpoint is not None:
            data.adopt(self.checkpoint.contents.data_state(type(data)) or {})
        return data.num_features

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        """Says what each subcommand does, and adds the flags that only it has."""
        super().setup_parser(*args, **kwargs)
        assert self.parser._subcommands_action is not None
        for command in self.parser._subcommands_action._choices_actions:
            command.help = COMMANDS[command.dest]
        parsers = self._subcommand_parsers
        if "fit" in parsers:
            add_flags_of_fit(parsers["fit"])
        if "solve" in parsers:
            parsers["solve"].add_argument("--json", action="store_true", help="Print all of it as JSON.")
        if "predict" in parsers:
            add_flags_of_predict(parsers["predict"])

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses, and checks all that can be checked before something is built."""
        assert isinstance(args, list)
        self.resumption, self.checkpoint, args = with_run_settings(args)
        # The defaults of one data module must not become settings of another that has parameters of the same name:
        # see which one is meant, and where it is another, make it the default, and parse again.
        asked = [arg for arg in args if not arg.startswith("--print_config")]
        self.config = parser.parse_args(asked)
        command = self.config.subcommand
        chosen = self.config[command].data.class_path
        called = self._subcommand_parsers[command]
        if asked != args or chosen != called.get_default("data").class_path:
            called.set_defaults({"data": {"class_path": chosen}})
            if command in ("fit", "solve") and not chosen.endswith(SyntheticDataModule.__name__):
                called.set_defaults({**ON_TABLES, **(ON_TABLES_FIT if command == "fit" else {})})
            self.config = parser.parse_args(args)
        settings = self.config[self.config.subcommand]
        if settings.get("resume") and self.resumption is None:
            raise InputError("resume is set by a config file or the environment: give --resume on the command line")
        usage.require_possible(settings.trainer)
        settings.pop("resume", None)  # the saved config.yaml is of a run, however often it was interrupted
        self.allow_changed_settings = settings.pop("allow_changed_settings", False)
        if self.config.subcommand not in ("fit", "solve") and self.checkpoint is None:
            raise InputError(
                f"linreg {self.config.subcommand}: give --ckpt_path a checkpoint, RUN/checkpoints/step=….ckpt"
            )

    # ---- what is built ----

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer; the data is read first, so that nothing is written for a run that can't begin."""
        self.datamodule.setup(self.subcommand)
        settings = self.config_init[self.subcommand]
        if self.checkpoint is not None:
            self._require_matching(self.checkpoint)
        kwargs = self._fit_trainer(settings) if self.subcommand == "fit" else self._evaluation_trainer(settings)
        kwargs["plugins"] = [*as_list(settings.trainer.plugins), DurableCheckpointIO(self.checkpoint)]
        kwargs["callbacks"] = [*as_list(settings.trainer.callbacks), *kwargs["callbacks"]]
        if kwargs["logger"] is False:
            self.save_config_callback = None  # there is no run's folder to save it in
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError, ImportError, MisconfigurationException) as error:
            default = self._subcommand_parsers[self.config.subcommand].get_defaults().trainer
            raise InputError(usage.refusal(error, settings.trainer, default)) from error

    def _require_matching(self, checkpoint: CheckpointFile) -> None:
        require_same_shape(checkpoint, self.model)
        require_same_columns(checkpoint, self.datamodule)
        require_same_units(checkpoint, self.model)
        if self.subcommand == "fit" and not self.allow_changed_settings:
            precision = self.config.fit.trainer.precision
            require_same_settings(checkpoint, self.model, self.datamodule, precision)

    def _fit_trainer(self, settings: Any) -> dict[str, Any]:
        steps_per_epoch = self.datamodule.steps_per_epoch
        usage.require_monitored(as_list(self.config.fit.trainer.callbacks), self.datamodule.holds_out_rows)
        if settings.trainer.max_epochs is None and settings.trainer.max_steps == -1:
            self._plan(settings.trainer)
        steps = total_steps(settings.trainer, steps_per_epoch, self.done, self.resumption and self.resumption.run)
        if self.checkpoint is not None and not self.allow_changed_settings:
            require_same_length(self.checkpoint, self.model, steps)
        logger = settings.trainer.logger
        if logger is not False and not settings.trainer.fast_dev_run:
            more = as_list(None if logger is True else logger)
            root = Path(settings.trainer.default_root_dir)
            with writing(root, "--trainer.default_root_dir"):
                self.run = self.resumption.run if self.resumption else new_run(root)
                self.lock = lock(self.run)
            if self.resumption and checkpoints(self.run) != self.resumption.checkpoint_paths:
                raise InputError(f"{self.run}: another process has just trained in this folder; see linreg runs")
            logger = [run_logger(self.run, self.done), *more]
        if settings.stop.limits and not settings.exact:
            raise InputError("--stop asks how far the exact answer is, and --exact is false: leave one of them out")
        exact = ExactAnswer(settings.stop) if settings.exact else None
        self.report, saving = Report(exact), EpochCheckpoints(settings.checkpoint_every_n_epochs)
        saving.saves_start = self.allow_changed_settings
        executions = Executions(settings.steps_per_execution)
        self.datamodule.group_steps(executions)
        interruption = Interruption(saving, executions)
        lines, curves = EpochLines(settings.display_every_n_epochs), Curves(exact)
        callbacks = [*as_list(exact), lines, curves, saving, interruption, self.report]
        validates = self.datamodule.holds_out_rows
        return {
            "max_epochs": -1,
            "max_steps": steps,
            **(validation(settings.trainer, steps_per_epoch) if validates else {"limit_val_batches": 0}),
            "logger": logger,
            "enable_progress_bar": self._shows_bar,
            "callbacks": [*callbacks, *([self.bar] if self._shows_bar else [])],
        }

    def _plan(self, trainer: Any) -> None:
        """Settles the run's length, and how often it is drawn, from the exact answer and the forecast."""
        model: LinearRegression = self.model
        model.learn_from(self.datamodule)
        problem = model.problem(self.datamodule)
        epochs = problem.epochs_to_the_optimum(model.W, model.b, model.learning_rate, model.momentum, model.schedule)
        points = trainer.log_every_n_steps or max(1, min(50, epochs * problem.steps_per_epoch // 100))
        self.plan = {"max_epochs": epochs, "log_every_n_steps": points}
        for name, value in self.plan.items():
            trainer[name] = self.config.fit.trainer[name] = value  # what config.yaml keeps, a resumed run takes

    def _evaluation_trainer(self, settings: Any) -> dict[str, Any]:
        callbacks = []
        if self.subcommand == "predict":
            kept = None if settings.keep_columns == "all" else as_list(settings.keep_columns)
            interval = self._interval(settings.interval) if settings.interval is not None else None
            self.predictions = PredictionFile(settings.output, kept, interval)
            callbacks = [self.predictions]
        return {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "callbacks": callbacks}

    def _interval(self, probability: float) -> PredictionInterval:
        assert self.checkpoint is not None
        return prediction_interval(self.checkpoint, self.model, probability)

    # ---- what is run ----

    def fit(self, model: LinearRegression, **kwargs: Any) -> None:
        """Trains, from the checkpoint to resume if there is one."""
        data = self.datamodule
        resumed = f", from step {self.done} of {self.run}" if self.resumption else ""
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
        if self.plan:
            length = f"{self.plan['max_epochs']} epoch{'' if self.plan['max_epochs'] == 1 else 's'}"
            print(f"length    {length}, to end within {100 * TARGET_GAP:g}% of the variance explained")
        try:
            place = self.run or Path(self.config.fit.trainer.default_root_dir)
            with writing(place, "--trainer.default_root_dir"):
                ckpt_path = None if self.checkpoint is None else self.checkpoint.path
                self.trainer.fit(model, ckpt_path=ckpt_path, weights_only=True, **kwargs)
        except Interrupted:
            if self.run is not None and not self.report.contents:
                step = f"step {self.trainer.global_step} of {self.trainer.max_steps}"
                onward = f"{as_typed('linreg')} fit --resume {shlex.quote(str(self.run))}"
                print(f"interrupted at {step}; to go on: {onward}", file=sys.stderr)
            raise
        except Diverged as error:
            saved = checkpoints(self.run) if self.run else []
            last = f"the last good checkpoint is {saved[-1]}" if saved else "no checkpoint was saved before"
            raise Diverged(f"{error}; {last}; take a smaller --model.learning_rate") from error

    def after_fit(self) -> None:
        """Says what came out, and where to go from here."""
        if not self.report.contents:
            raise InputError("no step was taken: --trainer.max_time is used up; give it more, or null")
        print(*self.report.lines(), sep="\n")
        share = self.report.contents.get("gap_of_variance_explained")
        if self.plan and share is not None and share > TARGET_GAP:
            print(f"WARNING  that is more than {100 * TARGET_GAP:g}%: give --trainer.max_epochs more")
        run = run_folder(self.trainer)
        if run is not None:
            print(f"run      {run}")
            print(f"curves   {as_typed('tensorboard')} --logdir {shlex.quote(str(run.parent))} --host 127.0.0.1")
            progress = Progress.from_dict(self.report.contents)
            label, typed = next_step(run, self.report.contents["state"], progress, as_typed("linreg"))
            print(f"{label:8} {typed}")

    def validate(self, model: LinearRegression, **kwargs: Any) -> None:
        """Prints the loss over the held-out rows."""
        self.trainer.validate(model, verbose=False, weights_only=True, **kwargs)
        self._print_results()

    def test(self, model: LinearRegression, **kwargs: Any) -> None:
        """Prints the loss over the rows held out to test, or over all."""
        self.trainer.test(model, verbose=False, weights_only=True, **kwargs)
        self._print_results()

    def predict(self, model: LinearRegression, **kwargs: Any) -> None:
        """Writes the predictions."""
        with writing(self.predictions.path, "--output"):
            self.trainer.predict(model, return_predictions=False, weights_only=True, **kwargs)
        print(f"{self.predictions.num_rows} predictions in {self.predictions.path}")

    def solve(self, model: LinearRegression, datamodule: BatchDataModule) -> None:
        """Prints the exact answer."""
        solution = self.trainer.solve(model, datamodule)
        if self.config.solve.json:
            print(json.dumps(solution.as_json(), indent=2))
        else:
            print(*solution_lines(solution), sep="\n")

    def _print_results(self) -> None:
        print(f"{'rows':10} {self.datamodule.evaluated_rows}")
        for name, value in self.trainer.callback_metrics.items():
            print(f"{name:10} {'unknown' if value.isnan() else f'{value.item():.6g}'}")


def as_list(setting: Any) -> list[Any]:
    """A setting that may be one, several or none."""
    return [] if setting is None else list(setting) if isinstance(setting, list | tuple) else [setting]


def leave_disks_to_the_main_thread(error: Any) -> None:
    """TensorBoard's writing thread dies of a full disk with a traceback; the next point says it in a sentence."""
    if not isinstance(error.exc_value, OSError):
        threading.__excepthook__(error)


def main(args: list[str] | None = None) -> int:
    """Runs `linreg`; returns the exit code."""
    given = list(sys.argv[1:] if args is None else args)
    args = [arg for arg in given if arg != "--debug"]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # who reads a pipe or a log wants each line when it is said
    threading.excepthook = leave_disks_to_the_main_thread
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # its reader warns of every resumption in a run's curves
    for warning in UNACTIONABLE_WARNINGS:
        warnings.filterwarnings("ignore", warning)
    leave_at_signals()
    gc.freeze()  # what the imports left is here to stay: a second of collecting it at the end is wasted
    gc.enable()  # see `__main__`
    try:
        commands = {"runs": folders.runs, "plot": folders.plot}
        if args and args[0] in commands:
            commands[args[0]](args[1:])
        else:
            LinregCLI(args)
    except Interrupted as interrupted:
        return interrupted.exit_code
    except Diverged as error:
        print(f"linreg: {error}", file=sys.stderr)
        return 3
    except BrokenPipeError:  # whoever read our lines has left: `linreg fit | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        message = what_to_say_of(error)
        if message is None:
            raise
        if "--debug" in given:
            traceback.print_exc()
        print(f"linreg: {message}", file=sys.stderr)
        return 2
    finally:
        gc.freeze()  # and so is what this command leaves
    return 0
