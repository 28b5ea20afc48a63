"""Lists the commands of `linreg`, and answers calls that name none, at once: nothing slow is imported."""

import shutil
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from linreg_pl.errors import InputError, nearest


@dataclass(frozen=True)
class Command:
    """A command: what it does, and the settings that have an effect in it."""

    summary: str
    model: frozenset[str] | None = frozenset()  # names; None for all
    trainer: frozenset[str] | None = frozenset()
    has_settings: bool = True  # from flags, config files and the environment
    shares_rows: bool = False  # among several processes
    trains: bool = True  # or evaluates what was trained; needs Lightning

    def uses(self, flag: str) -> bool:
        """Tells whether a flag, given without dashes, has an effect in this command."""
        part, _, name = flag.partition(".")
        used = {"model": self.model, "trainer": self.trainer}.get(part)
        return used is None or name.partition(".")[0] in used  # callbacks.patience is a setting of a callback


def evaluation(summary: str, stage: str) -> Command:
    """Returns the command of an evaluation, which takes the model from a checkpoint."""
    running = {"accelerator", "strategy", "devices", "precision", "plugins", "deterministic", "inference_mode"}
    watching = {"enable_progress_bar", "callbacks", "profiler"}
    return Command(summary, trainer=frozenset({*running, *watching, f"limit_{stage}_batches", "fast_dev_run"}))


SHARING = frozenset({"devices", "num_nodes", "enable_progress_bar"})
"""Trainer's settings of commands that share the rows among several processes."""

COMMANDS = {
    "fit": Command("Train; without flags, the tutorial's job.", model=None, trainer=None, shares_rows=True),
    "validate": evaluation("Print the loss over the held-out rows, from a checkpoint.", "val"),
    "test": evaluation("Print the loss over the rows held out to test, or over all rows, from a checkpoint.", "test"),
    "predict": evaluation("Write predictions to a file, from a checkpoint.", "predict"),
    "solve": Command(
        "Print the exact solution, its standard errors, and how fast gradient descent converges; trains nothing.",
        model=frozenset(
            {"learning_rate", "l2", "l1", "momentum", "fit_intercept", "fold_bias", "standardize", "precondition"}
        ),
        trainer=SHARING,
        shares_rows=True,
        trains=False,
    ),
    "path": Command(
        "Print the error of each l2, or l1, on rows held out (cross-validation), from one pass over a table.",
        model=frozenset({"fit_intercept", "fold_bias", "standardize"}),
        trainer=SHARING,
        shares_rows=True,
        trains=False,
    ),
    "tune": Command(
        "Predict where runs of several settings would end, try the best of them, and compare.", model=None, trainer=None
    ),
    "describe": Command("Show what each column of a table is taken for, and what is left out.", trains=False),
    "runs": Command("List the runs and their states.", has_settings=False),
    "plot": Command("Draw a run: pictures in its folder and in TensorBoard.", has_settings=False),
    "report": Command("Write a finished run as one HTML page, for others to read.", has_settings=False),
    "compare": Command(
        "Print a table of finished runs: learning rate, size, loss, R², RMSE, penalties and steps.", has_settings=False
    ),
    "export": Command("Write a model for other programs: SQL, JSON, ONNX or PyTorch.", has_settings=False),
}
CHOOSING_L1 = "; linreg path --l1 auto chooses l1"


def without_command(args: list[str]) -> None:
    """Prints the help or the version of `linreg`.

    Raises:
        InputError: the arguments ask for neither.
    """
    if not args:
        raise InputError(f"a command is missing: {', '.join(COMMANDS)}; try linreg fit")
    flag = args[0].partition("=")[0]
    if flag in ("-h", "--help"):
        print(help_of_all_commands())
    elif flag == "--version":
        from importlib.metadata import version  # not at the top: slow to import

        print(f"linreg {version('linreg_pl')}")
    elif not flag.startswith("-"):
        known = {name: name for name in COMMANDS}
        raise InputError(f"there is no command {flag}, only {', '.join(COMMANDS)}{suggestion(flag, known, 'linreg')}")
    elif command := next((arg for arg in args if arg in COMMANDS), None):
        raise InputError(f"{flag} belongs to a command: put it behind {command}, as in linreg {command} {flag} …")
    else:
        nearest = suggestion(flag[2:], {"help": "--help", "version": "--version"}, "linreg")
        raise InputError(f"there is no setting {flag}{nearest}")


def help_of_all_commands() -> str:
    """Returns the help of `linreg`, as wide as the terminal."""
    width = shutil.get_terminal_size().columns - 2

    def section(title: str, texts: dict[str, str]) -> str:
        rows = (
            textwrap.fill(f"  {name:12}{text}", width, subsequent_indent=" " * 14, break_on_hyphens=False)
            for name, text in texts.items()
        )
        return "\n".join([f"{title}:", *rows])

    paragraphs = (
        "usage: linreg COMMAND [flags]",
        "Linear regression by gradient descent, with the exact solution computed first.",
        section("commands", {name: command.summary for name, command in COMMANDS.items()}),
        section("options", {"-h, --help": "Print this help, and exit.", "--version": "Print the version, and exit."}),
        "linreg COMMAND --help lists the flags of a command. Each flag is also an environment variable, such as"
        " LINREG_FIT__MODEL__L2 for linreg fit --model.l2, and a setting of a YAML file for --config.",
    )
    return "\n\n".join(text if "\n" in text else textwrap.fill(text, width) for text in paragraphs)


def other_command(setting: str, command: str | None) -> str:
    """Returns a hint to the command that has a setting, if another has."""
    if (command, setting) == ("tune", "tune.l1"):
        return CHOOSING_L1
    other = {"tune": "tune", "folds": "path"}.get(setting.partition(".")[0], command)
    return "" if other == command else f"; linreg {other} has it: leave it out here, or give that command"


def suggestion(word: str, known: dict[str, str], command: str) -> str:
    """Returns a question for the known name that is probably meant, as it is typed; else a hint to the help."""
    meant = nearest(word, known)
    return f"; see {command} --help" if meant is None else f"; did you mean {known[meant]}?"


def typed_names(flags: Iterable[str], command: str | None) -> dict[str, str]:
    """Returns flags, given without dashes, whole and by their last word, each with how it is typed."""
    own_first = sorted(flags, key=lambda flag: not flag.startswith(f"{command}."))  # tune has model's settings, too
    names = {flag: f"--{flag}" for flag in own_first if ".help" not in flag}
    for flag in own_first:
        names.setdefault(flag.rsplit(".")[-1], f"--{flag}")
    return names
