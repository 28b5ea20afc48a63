"""Runs the command `linreg` and turns every end of it into an exit code.

0 done, 2 bad input or flags, 3 diverged, 130 and 143 interrupted by Ctrl-C and SIGTERM, 141 nobody reads the output.
"""

import gc
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from linreg_pl.cli.commands import COMMANDS, without_command
from linreg_pl.cli.error_messages import message_for
from linreg_pl.cli.known_flags import print_completions, require_known_flags
from linreg_pl.cli.parent_process import end_with_parent
from linreg_pl.cli.quiet_libraries import silence_libraries
from linreg_pl.cli.siblings import Siblings, is_awaited
from linreg_pl.data.table.url_secrets import refuse_secrets
from linreg_pl.errors import Diverged, InputError, ToldElsewhere
from linreg_pl.signals import SIGNALS, Interrupted, end_at_signals, leave_at_signals


def main(args: list[str] | None = None) -> int:
    """Runs `linreg`; returns the exit code."""
    given = list(sys.argv[1:] if args is None else args)
    args = [arg for arg in given if arg != "--debug"]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # the reader of a pipe or a log sees each line as it is printed
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # the first process blocks them while it starts this one
    end_with_parent()
    run = imported(args)
    silence_libraries()
    leave_at_signals()
    gc.freeze()  # what the imports made stays until the end; collecting it then would waste a second
    gc.enable()  # `__main__` has disabled it
    try:
        try:
            return exit_code(run, args, has_traceback="--debug" in given)
        finally:
            end_at_signals()
            gc.freeze()  # likewise for what this command made
    except Interrupted as interrupted:
        return interrupted.exit_code


def exit_code(run: Callable[[], object], args: list[str], has_traceback: bool) -> int:
    """Runs a command; prints the message of an error that the user can mend, after its traceback if that is wanted."""
    try:
        run()
    except ToldElsewhere:
        return 2
    except Diverged as error:
        print(f"linreg: {error}", file=sys.stderr)
        return 3
    except BrokenPipeError:  # the reader of our lines has closed the pipe, as in `linreg fit | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        message = message_for(error, args)
        if message is None:
            raise
        if has_traceback:
            traceback.print_exc()
        print(f"linreg: {message}", file=sys.stderr)
        return 2
    return 0


def refuse(error: Exception) -> NoReturn:
    """Raises an error that was found before the command runs."""
    raise error


def imported(args: list[str]) -> Callable[[], object]:
    """Returns the command that is called, ready to run: its imports, which take seconds for some, are done."""
    command = COMMANDS.get(args[0]) if args else None
    if args[:1] == ["complete"] and "COMP_LINE" in os.environ:  # a shell asks
        return print_completions
    if command is None:
        return partial(without_command, args)
    if command.has_settings:
        has_siblings = command.shares_rows and not command.trains
        siblings = Siblings(args)
        try:
            refuse_secrets(args)  # before a message quotes them
            require_known_flags(args[0], args[1:])
            if has_siblings:
                siblings.start_early()
        except InputError as error:
            return partial(refuse, error)
        from linreg_pl.cli.command import function_of, run_command

        function_of(args[0])
        if has_siblings and not is_awaited():
            return partial(refuse, ToldElsewhere())
        return partial(run_command, args[0], args[1:], siblings)
    from linreg_pl.cli.runs_and_plot import run_folder_command

    return partial(run_folder_command, args[0], args[1:])
