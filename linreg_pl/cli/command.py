"""The commands of `linreg` that have settings, on Lightning's CLI: the parser of a command, and its function."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from linreg_pl.callbacks.progress_bar import RunBar
from linreg_pl.cli import evaluate, fit, path, tune
from linreg_pl.cli.commands import COMMANDS
from linreg_pl.cli.describe import describe
from linreg_pl.cli.error_messages import flags_for, message_for
from linreg_pl.cli.flags import add_own_flags, data_classes, default_settings, mentions_data, named_data
from linreg_pl.cli.help import PartHelp
from linreg_pl.cli.job import Job, Start
from linreg_pl.cli.launch import Launched, launched, require_agreement, share_rows
from linreg_pl.cli.overlooked import require_known_variables
from linreg_pl.cli.parser import Parser, refused_class
from linreg_pl.cli.saved_settings import with_run_settings
from linreg_pl.cli.trainer_settings import require_possible
from linreg_pl.cli.trials import require_no_trial
from linreg_pl.data.module import BatchDataModule
from linreg_pl.data.synthetic import SyntheticDataModule
from linreg_pl.errors import InputError, ToldElsewhere
from linreg_pl.signals import Interrupted
from linreg_pl.training.module import LinearRegression
from linreg_pl.tuning.study import Study
from linreg_pl.tutorial import NUM_EPOCHS, model_settings


class LinregCLI(LightningCLI):
    """LightningCLI with this project's defaults; constructing it runs the command.

    Args:
        command: Name of the command.
        flags: What is typed behind it.
        run: Folder of the run of a trial, which a study runs.
    """

    launched: Launched
    """The processes of the command; known once its settings are parsed."""

    def __init__(self, command: str, flags: list[str], run: Path | None = None) -> None:
        self.command, self.run = command, run
        if mentions_data(flags):
            data_classes()
        self.start = Start()
        self.bar = RunBar()
        super().__init__(
            LinearRegression,
            BatchDataModule,
            subclass_mode_data=True,
            trainer_defaults={
                "max_epochs": NUM_EPOCHS,
                "devices": 1,  # more would be other processes, which sum in another order
                "enable_model_summary": False,
                "num_sanity_val_steps": 0,
                "default_root_dir": ".",
            },
            parser_class=Parser,
            parser_kwargs={
                "prog": f"linreg {command}",
                "description": COMMANDS[command].summary,
                "add_help": command != "fit",
                "env_prefix": f"LINREG_{command}_",
                "allow_abbrev": False,
            },
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # it would put an importable name into the checkpoint; ours are plain
            seed_everything_default=False,
            run=False,  # else one parser checks all settings, and a second one those of the command again
            args=flags,
        )
        self._run()

    # ---- the parser ----

    parsers: ClassVar[dict[str, Parser]] = {}
    """Those that were built in this process, by command: the trials of a study share one."""

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """Builds the parser of the command, or takes the one that was built before."""
        if self.command not in self.parsers:
            super().setup_parser(add_subcommands, main_kwargs, subparser_kwargs)
            assert isinstance(self.parser, Parser)
            self.parsers[self.command] = self.parser
            self.parser.keep_defaults()
        parser = self.parsers[self.command]
        parser.restore_defaults()
        self.parser: LightningArgumentParser = parser
        parser.default_env = any(name.startswith("LINREG_") for name in os.environ)  # else 7% slower for nothing
        require_known_variables(parser, self.command)

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Builds the parser of the command."""
        parser = super().init_parser(**kwargs)
        assert isinstance(parser, Parser)
        parser.command = self.command
        if self.command == "fit":
            parser.add_argument("-h", "--help", action=PartHelp)
        return parser

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Hides Lightning's `seed_everything`: it seeds global generators, and nothing here draws from them."""
        parser.add_argument("--seed_everything", type=bool | int, default=False, help=argparse.SUPPRESS)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds Lightning's flags, with the few of model and data before the many of the trainer."""
        parser.add_lightning_class_args(LinearRegression, "model")
        parser.add_lightning_class_args(BatchDataModule, "data", subclass_mode=True)
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Makes the tutorial's data the default, and links the model's size to the data."""
        parser.set_defaults({"data": {"class_path": SyntheticDataModule.__name__}})
        parser.set_defaults({f"model.{name}": value for name, value in model_settings().items()})
        is_read = self.command != "describe"  # a table to describe may not be one that a model can be built for
        parser.link_arguments("data", "model.num_features", num_features if is_read else one, apply_on="instantiate")
        parser.link_arguments("data", "model.num_targets", num_targets if is_read else one, apply_on="instantiate")
        add_own_flags(parser, self.command)

    # ---- what is parsed ----

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses, and checks everything that can be checked before something is built.

        Raises:
            InputError: a setting can't be used.
        """
        assert isinstance(args, list)
        self.start, with_settings = with_run_settings(self.command, args)
        self.config = self._parse(parser, with_settings)
        if self.command == "fit" and self.config.get("resume") and self.start.resumption is None:
            raise InputError("resume is set by a config file or the environment: give --resume on the command line")
        if self.run is None and self.start.run is not None:
            require_no_trial(self.start.run)
        require_possible(self.config.trainer, shares_rows=COMMANDS[self.command].shares_rows)
        self.resume = self.config.pop("resume", None)  # a resumed run writes the same config.yaml
        self.allow_changed_settings = self.config.pop("allow_changed_settings", False)
        if self.command in ("validate", "test", "predict") and self.start.checkpoint is None:
            raise InputError(
                f"{self.command} needs a checkpoint: give --ckpt_path a run's folder, or RUN/checkpoints/step=….ckpt"
            )

    def _parse(self, parser: LightningArgumentParser, flags: list[str]) -> Any:
        # Data modules share parameter names, and the defaults of one must not become settings of another. So make the
        # one that --data names the default, and parse; if another turns out to be chosen, such as by a config file,
        # make that the default, and parse again.
        if (likely := named_data(flags)) is not None:
            parser.set_defaults(default_settings(self.command, likely))
        without_printing = [flag for flag in flags if not flag.startswith("--print_config")]
        config = parser.parse_args(without_printing)
        chosen = config.data.class_path
        if without_printing == flags and chosen == parser.get_default("data").class_path:
            return config
        parser.set_defaults(default_settings(self.command, chosen))
        return parser.parse_args(flags)

    def _parse_ckpt_path(self) -> None:
        """Takes the model's settings from the checkpoint to evaluate; a resumed run has them in its config."""
        if self.start.checkpoint is not None and self.start.resumption is None:
            saved = self.start.checkpoint.contents.hyper_parameters
            model = {name: value for name, value in saved.items() if name != "_instantiator"}  # of Lightning's own CLI
            self.config = self.parser.parse_object({"model": model}, self.config)

    # ---- what is run ----

    def instantiate_classes(self) -> None:
        """Builds the data, the model, and the trainer's callbacks and loggers.

        Raises:
            InputError: one of them can't be built, for example because it needs a package.
        """
        self.launched = launched(self.command, self.config, self.start)
        with self.together():
            require_agreement(self.launched.world, self.config, self.start)
            if self.command == "path":
                path.require_possible(self.config, self.parser)
            if self.command == "tune" and not self.resume:
                tune.require_possible(self.config)
            try:
                self.config_init = self.parser.instantiate(
                    self.config, instantiators=[(self.prepared_data, BatchDataModule, True)]
                )
            except ValueError as error:
                if self.study is not None and flags_for(error):  # it takes none, and it has read these rows before
                    raise self.study.changed_rows() from error
                reason = refused_class(str(error))
                if reason is None or message_for(error) is not None:  # a class of ours says it in its own words
                    raise
                raise InputError(reason) from error

    @property
    def study(self) -> Study | None:
        """Returns the study that goes on with this command; None for other commands."""
        folder = self.run.parent.parent if self.run else self.resume if self.command == "tune" else None
        return None if folder is None else Study.read(Path(folder))

    def prepared_data(self, data_class: type[BatchDataModule], **settings: Any) -> BatchDataModule:
        """Builds the data, and prepares it before the model is built, as the columns of its categories depend on it."""
        data = data_class(**settings)
        if self.command == "describe":
            return data
        share_rows(data, self.launched.world, self.command)
        if self.shows_bar:
            data.watch = self.bar.watch  # from here on rows are read
        groups = self.config.get("cluster") or self.config.get("folds.by")
        if groups is not None:
            data.set_aside([groups])
        if self.start.checkpoint is not None:
            data.adopt(self.start.checkpoint.contents.data_state(type(data)) or {})
        return data

    @property
    def shows_bar(self) -> bool:
        """Returns whether there is a progress bar: at a terminal, unless the settings turn it off."""
        wanted = self.config.trainer.enable_progress_bar is not False
        return wanted and sys.stdout.isatty() and self.launched.world.rank == 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Runs the body in all processes of the command; of an error that they share, rank 0 alone tells."""
        world = self.launched.world
        try:
            with world.together():
                yield
        except Interrupted:
            self.launched.mute()
            raise
        except Exception as error:
            self.launched.end()
            if world.rank:
                raise ToldElsewhere from error
            raise

    def _run(self) -> None:
        settings = self.config_init
        job = Job(
            model=settings.model,
            data=settings.data,
            settings=settings,
            config=self.config,
            parser=self.parser,
            start=self.start,
            allow_changed_settings=self.allow_changed_settings,
            bar=self.bar if self.shows_bar else None,
            run=self.run,
            resume=self.resume,
            world=self.launched.world,
        )
        functions: dict[str, Callable[[Job], None]] = {
            "fit": fit.fit,
            "validate": evaluate.validate,
            "test": evaluate.test,
            "predict": evaluate.predict,
            "solve": evaluate.solve,
            "path": path.path,
            "describe": describe,
            "tune": partial(tune.tune, train=train),
        }
        with self.together():
            functions[self.command](job)
        self.launched.end()


def num_features(data: BatchDataModule) -> int:
    """Returns D; a table is read for it, as far as its categories need."""
    return data.num_features


def num_targets(data: BatchDataModule) -> int:
    """Returns K; a table without a target is refused elsewhere once it is read."""
    return max(1, data.num_targets)


def one(data: BatchDataModule) -> int:
    """Returns the size of a model that is not used."""
    return 1


def train(flags: list[str], run: Path) -> None:
    """Runs `linreg fit` as a trial, whose run is in the folder given."""
    LinregCLI("fit", flags, run)
