"""The commands of `linreg` that have settings: the parser of a command, and its function."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from jsonargparse import Namespace, set_parsing_settings
from jsonargparse._actions import ActionConfigFile

from linreg_pl.callbacks.pass_bar import PassBar
from linreg_pl.cli.commands import COMMANDS
from linreg_pl.cli.error_messages import flags_for, message_for
from linreg_pl.cli.flags import (
    add_own_flags,
    add_parts,
    default_settings,
    import_data,
    mentions_data,
    named_data,
    needs_trainer,
)
from linreg_pl.cli.help import PartHelp
from linreg_pl.cli.job import Job
from linreg_pl.cli.launch import launched, require_agreement, share_downloads, share_rows
from linreg_pl.cli.overlooked import require_known_variables
from linreg_pl.cli.parser import Parser, refused_class
from linreg_pl.cli.saved_settings import with_run_settings
from linreg_pl.cli.siblings import Siblings
from linreg_pl.data.base import Rows
from linreg_pl.errors import InputError, ToldElsewhere
from linreg_pl.signals import Interrupted
from linreg_pl.tuning.study import Study

set_parsing_settings(config_read_mode_fsspec_enabled=True)  # as Lightning's CLI does: a config may be a URL


class LinregCLI:
    """A call of a command: constructing it runs the command.

    The flags of model, data and trainer follow from the signatures of Lightning's classes, as with `LightningCLI`. That
    class is not used, as its import takes seconds, which `solve` and `path` do not need.

    Args:
        command: Name of the command.
        flags: What is typed behind it.
        run: Folder of the run of a trial, which a study runs.
        siblings: The processes that may be started already, beside this one.
    """

    parsers: ClassVar[dict[tuple[str, bool], Parser]] = {}
    """Those that were built in this process, as by `parser_of`: the trials of a study share one."""

    def __init__(
        self, command: str, flags: list[str], run: Path | None = None, siblings: Siblings | None = None
    ) -> None:
        self.command, self.run, self.bar = command, run, bar_of(command)
        if mentions_data(flags):
            import_data(command, flags)
        self.has_trainer = needs_trainer(command, flags)
        self.parser = self._parser()
        self.start, with_settings = with_run_settings(command, flags)
        self.config = self._parse(with_settings)
        self._require_possible()
        self.resume = self.config.pop("resume", None)  # a resumed run writes the same config.yaml
        self.allow_changed_settings = self.config.pop("allow_changed_settings", False)
        self._take_model()
        self.launched = launched(command, self.config, self.start, siblings or Siblings([command, *flags]))
        with self.together():
            self._instantiate()
        with self.together():
            function_of(command)(self._job())
        self.launched.end()

    def _parser(self) -> Parser:
        kind = self.command, self.has_trainer
        if kind not in self.parsers:
            self.parsers[kind] = parser_of(*kind)
        parser = self.parsers[kind]
        parser.restore_defaults()
        parser.default_env = any(name.startswith("LINREG_") for name in os.environ)  # else 7% slower for nothing
        require_known_variables(parser, self.command)
        return parser

    def _parse(self, flags: list[str]) -> Namespace:
        # Data modules share parameter names, and the defaults of one must not become settings of another. So make the
        # one that --data names the default, and parse; if another turns out to be chosen, such as by a config file,
        # make that the default, and parse again.
        parser = self.parser
        if (likely := named_data(flags)) is not None:
            parser.set_defaults(default_settings(self.command, likely))
        without_printing = [flag for flag in flags if not flag.startswith("--print_config")]
        config = parser.parse_args(without_printing)
        chosen = config.data.class_path
        if without_printing == flags and chosen == parser.get_default("data").class_path:
            return config
        parser.set_defaults(default_settings(self.command, chosen))
        return parser.parse_args(flags)

    def _require_possible(self) -> None:
        """Checks everything that can be checked before something is built.

        Raises:
            InputError: a setting can't be used.
        """
        if self.command == "fit" and self.config.get("resume") and self.start.resumption is None:
            raise InputError("resume is set by a config file or the environment: give --resume on the command line")
        if self.run is None and self.start.run is not None:
            from linreg_pl.cli.trials import require_no_trial  # not at the top: multiprocessing is slow to import

            require_no_trial(self.start.run)
        if self.has_trainer:
            from linreg_pl.cli.trainer_settings import require_possible

            require_possible(self.config.trainer, shares_rows=COMMANDS[self.command].shares_rows)
        if self.command in ("validate", "test", "predict") and self.start.checkpoint is None:
            raise InputError(
                f"{self.command} needs a checkpoint: give --ckpt_path a run's folder, or RUN/checkpoints/step=….ckpt"
            )

    def _take_model(self) -> None:
        """Takes the model's settings from the checkpoint to evaluate; a resumed run has them in its config."""
        if self.start.checkpoint is not None and self.start.resumption is None:
            saved = self.start.checkpoint.contents.hyper_parameters
            model = {name: value for name, value in saved.items() if name != "_instantiator"}  # of Lightning's own CLI
            self.config = self.parser.parse_object({"model": model}, self.config)

    # ---- what is run ----

    def _instantiate(self) -> None:
        """Builds the data, the model, and the trainer's callbacks and loggers.

        Raises:
            InputError: one of them can't be built, for example because it needs a package.
        """
        require_agreement(self.launched.world, self.config, self.start)
        if (seed := self.config.seed_everything) is not False:
            from lightning.pytorch import seed_everything

            seed_everything(None if seed is True else seed, workers=True)
        if self.command == "path":
            from linreg_pl.cli import path

            path.require_possible(self.config, self.parser)
        if self.command == "tune" and not self.resume:
            from linreg_pl.cli import tune

            tune.require_possible(self.config)
        try:
            self.settings = self.parser.instantiate(self.config, instantiators=[(self.prepared_data, Rows, True)])
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

    def prepared_data(self, data_class: type[Rows], **settings: Any) -> Rows:
        """Builds the data, and prepares it before the model is built, as the columns of its categories depend on it."""
        share_downloads(self.launched.world)
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

    def _job(self) -> Job:
        return Job(
            settings=self.settings,
            config=self.config,
            parser=self.parser,
            start=self.start,
            allow_changed_settings=self.allow_changed_settings,
            bar=self.bar if self.shows_bar else None,
            run=self.run,
            resume=self.resume,
            world=self.launched.world,
        )


def parser_of(command: str, has_trainer: bool) -> Parser:
    """Builds the parser of a command, with all settings of Lightning's trainer or with those that are used."""
    parser = Parser(
        prog=f"linreg {command}",
        description=COMMANDS[command].summary,
        add_help=command != "fit",
        env_prefix=f"LINREG_{command}_",
        allow_abbrev=False,
        dump_header=[f"lightning.pytorch=={version('lightning')}"],
    )
    parser.command = command
    parser.add_argument("-c", "--config", action=ActionConfigFile)
    if command == "fit":
        parser.add_argument("-h", "--help", action=PartHelp)
    # Lightning's flag for classes of the user's that draw from global generators; nothing of ours does.
    parser.add_argument("--seed_everything", type=bool | int, default=False, help=argparse.SUPPRESS)
    add_parts(parser, command, has_trainer)
    add_own_flags(parser, command)
    parser.keep_defaults()
    return parser


def bar_of(command: str) -> PassBar:
    """Returns the progress bar of a command."""
    if not COMMANDS[command].trains:
        return PassBar()
    from linreg_pl.callbacks.progress_bar import RunBar

    return RunBar()


def function_of(command: str) -> Callable[[Job], None]:
    """Returns the function of a command; what it needs is imported."""
    functions: dict[str, Callable[[Job], None]]
    if not COMMANDS[command].trains:
        from linreg_pl.cli import describe, path, solve

        functions = {"solve": solve.solve, "path": path.path, "describe": describe.describe}
        return functions[command]
    from linreg_pl.cli import evaluate, fit, tune

    functions = {
        "fit": fit.fit,
        "validate": evaluate.validate,
        "test": evaluate.test,
        "predict": evaluate.predict,
        "tune": partial(tune.tune, train=train),
    }
    return functions[command]


def run_command(command: str, flags: list[str], siblings: Siblings) -> None:
    """Runs a command, and ends the processes that still wait for it when it fails."""
    try:
        LinregCLI(command, flags, siblings=siblings)
    finally:
        siblings.end()


def train(flags: list[str], run: Path) -> None:
    """Runs `linreg fit` as a trial, whose run is in the folder given."""
    LinregCLI("fit", flags, run)
